"""Storm mode: when new groups arrive far faster than usual, one summary is told instead of each of them.

Rules of the subject:
  * The rate is the number of groups that began within the last minute. Usual is its mean over minutes outside of
    storms, weighted over about the last hour. A storm begins when the rate reaches `groups` and `factor` times usual.
  * While it lasts, groups of which a receiver has never heard go into the storm's digest: one notification with the
    number of alerts by service, updated every `INTERVAL`. Alerts that match `exempt` are told as ever, and so is every
    change of a group that was told before.
  * It ends when the rate has been below half of what began it for `CALM`. If then at most `release` of the held groups
    still fire, they are told one by one; otherwise they stay with the summary until they end or a person releases them.
"""

from __future__ import annotations

from collections import deque
from typing import Final

import msgspec

from gateway.alerting.alert import Alert
from gateway.alerting.configuration import Integration
from gateway.alerting.digest import Digests
from gateway.alerting.engine import Engine
from gateway.alerting.group import Group
from gateway.alerting.matcher import Matcher, all_match
from gateway.alerting.moments import NEVER, SECOND, format_moment
from gateway.alerting.store import RUNTIME

KEY: Final = "storm"
"""Runtime record of the storm."""
MINUTE: Final = 60 * SECOND
CALM: Final = 5 * MINUTE
WAIT: Final = 10 * SECOND
"""From the first held group to the first summary."""
INTERVAL: Final = 5 * MINUTE
LOOK: Final = 10 * SECOND
MEMORY: Final = 60
"""Minutes over which usual is weighted."""


class StormOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`groups` per minute, 0 for no storm mode."""

    groups: int
    factor: float
    release: int
    exempt: tuple[Matcher, ...] = ()


class StormRecord(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept on disk. `since` is 0 outside of a storm."""

    since: int = 0
    threshold: float = 0.0
    usual: float = 0.0


class Storm:
    """The rate of beginnings, and whether it is a storm. A source of digests and a timer of the engine."""

    kind = "storm"
    title = "AlertStorm"

    def __init__(self, engine: Engine, options: StormOptions) -> None:
        self._engine, self._options = engine, options
        self.state = StormRecord()
        self._seconds: deque[tuple[int, int]] = deque()
        """(second, groups begun in it) of the last minute."""
        self._minute, self._in_minute = 0, 0
        self._calm_since = 0
        self._next_look = NEVER
        self.digests: Digests | None = None
        if options.groups:
            engine.hooks.group_watchers.append(self._on_group)
            engine.hooks.timers.append(self)

    def load(self, record: StormRecord, now: int) -> None:
        """At start; a storm that was on gets its time to be calm anew."""
        self.state = record
        if record.since:
            self._calm_since, self._next_look = 0, now

    def rate(self, now: int) -> int:
        """Groups begun within the last minute."""
        while self._seconds and self._seconds[0][0] <= now // SECOND - 60:
            self._seconds.popleft()
        return sum(count for _, count in self._seconds)

    def _on_group(self, _group: Group, now: int) -> None:
        second = now // SECOND
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1] = (second, self._seconds[-1][1] + 1)
        else:
            self._seconds.append((second, 1))
        self._count(now)
        if self.state.since:
            return
        threshold = max(float(self._options.groups), self._options.factor * self.state.usual)
        rate = self.rate(now)
        if rate >= threshold:
            self._calm_since, self._next_look = 0, now + LOOK
            self._set(StormRecord(since=now, threshold=threshold, usual=self.state.usual))
            self._engine.journal.event(now, "storm began", rate=rate, threshold=threshold, usual=self.state.usual)

    def _count(self, now: int) -> None:
        minute = now // MINUTE
        if minute != self._minute:
            if self._minute and not self.state.since:
                usual = self.state.usual + (self._in_minute - self.state.usual) / MEMORY
                usual *= (1 - 1 / MEMORY) ** min(minute - self._minute - 1, 10_000)
                self._set(msgspec.structs.replace(self.state, usual=usual))
            self._minute, self._in_minute = minute, 0
        self._in_minute += 1

    def _set(self, record: StormRecord) -> None:
        self.state = record
        self._engine.journal.put(RUNTIME, KEY, record)

    def next_due(self) -> int:
        """See Timer."""
        return self._next_look

    def tick(self, now: int) -> None:
        """Looks whether it is calm."""
        if self._next_look > now or not self.state.since:
            return
        self._next_look = now + LOOK
        if self.rate(now) >= self.state.threshold / 2:
            self._calm_since = 0
        elif not self._calm_since:
            self._calm_since = now
        elif now - self._calm_since >= CALM:
            self.end(now, "calm")

    def end(self, now: int, why: str) -> None:
        """Ends the storm; few held groups are released."""
        if not self.state.since:
            return
        self._next_look = NEVER
        self._seconds.clear()
        self._set(StormRecord(usual=self.state.usual))
        left = self.digests.firing_groups(self.kind, now) if self.digests is not None else 0
        release = self.digests is not None and left <= self._options.release
        self._engine.journal.event(now, "storm ended", why=why, held=left, released=release)
        if release and self.digests is not None:
            self.digests.release_kind(self.kind, "the end of the storm", now)

    def reason(self, _integration: Integration, firing: list[Alert], first: bool, _now: int) -> str:
        """See Source."""
        if not self.state.since or not first:
            return ""
        if self._options.exempt and any(all_match(self._options.exempt, alert.labels) for alert in firing):
            return ""
        return f"storm since {format_moment(self.state.since, 0)}"

    def intervals(self, _integration: Integration) -> tuple[int, int]:
        """See Source."""
        return WAIT, INTERVAL

    def headline(self, _integration: Integration, now: int) -> str:
        """See Source."""
        if not self.state.since:
            return "after an alert storm"
        since = format_moment(self.state.since, 0)
        return (
            f"alert storm since {since}, {self.rate(now)} new groups in the last minute, usually {self.state.usual:.1f}"
        )
