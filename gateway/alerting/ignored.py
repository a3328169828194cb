"""Alerts that are told again and again and that nobody touches.

Rules of the subject:
  * Counted is how often an alert was told as firing, over all its occurrences, since somebody last acted on it
    (acknowledge, snooze, comment, resolve by hand). An alert not told for `FORGOTTEN` is counted anew.
  * From `threshold` on it is lowered: its notifications say so, they are repeated only every `repeat`, and PagerDuty,
    which knows severities, is given the next lower one. Beginnings, changes and ends are told as ever.
  * Alerts that match `exempt` are never lowered. Acting on an alert raises it again, and so does a release.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from gateway.alerting.alert import Alert
from gateway.alerting.engine import Engine
from gateway.alerting.group import Group
from gateway.alerting.matcher import Matcher, all_match
from gateway.alerting.moments import SECOND, format_duration
from gateway.alerting.notification import Delivered, Outcome
from gateway.alerting.outbox import Slot
from gateway.alerting.store import IGNORED
from gateway.errors import NotFound

FORGOTTEN: Final = 30 * 86400 * SECOND


class Untouched(msgspec.Struct, frozen=True, kw_only=True):
    """How often an alert was told since somebody last touched it. Moments in nanoseconds."""

    fingerprint: str
    name: str
    times: int = 0
    since: int = 0
    last: int = 0


class IgnoredOptions(msgspec.Struct, frozen=True, kw_only=True):
    """`threshold` 0: nothing is lowered. `repeat` in nanoseconds."""

    threshold: int
    repeat: int
    exempt: tuple[Matcher, ...] = ()


class Ignored:
    """The counts, wired into an engine."""

    def __init__(self, engine: Engine, options: IgnoredOptions) -> None:
        self._engine, self._options = engine, options
        self._all: dict[str, Untouched] = {}
        self._suppressed: dict[str, int] = {}
        if options.threshold:
            engine.hooks.attempt_watchers.append(self._on_attempt)
            engine.hooks.quiets.append(self.quiet)
            engine.hooks.noters.append(self.note)
            engine.hooks.lowers.append(self.lowered)

    def load(self, untouched: Untouched) -> None:
        """At start."""
        self._all[untouched.fingerprint] = untouched

    def __iter__(self) -> Iterator[Untouched]:
        """Those that are lowered."""
        return (one for one in self._all.values() if 0 < self._options.threshold <= one.times)

    def lowered(self, alert: Alert) -> Untouched | None:
        """Its count if it is lowered."""
        found = self._all.get(alert.fingerprint)
        if found is None or found.times < self._options.threshold:
            return None
        return None if self._options.exempt and all_match(self._options.exempt, alert.labels) else found

    def touched(self, fingerprint: str, now: int, by: str) -> None:
        """Somebody acted on the alert."""
        found = self._all.pop(fingerprint, None)
        if found is not None:
            self._engine.journal.drop(IGNORED, fingerprint)
            if 0 < self._options.threshold <= found.times:
                self._engine.journal.event(now, "raised again", fingerprint=fingerprint, by=by)

    def release(self, fingerprint: str, who: str, now: int) -> None:
        """Raises it again. Raises NotFound."""
        if all(one.fingerprint != fingerprint for one in self):
            raise NotFound(f"{fingerprint} is not lowered")
        self.touched(fingerprint, now, who)

    def quiet(self, firing: list[Alert], now: int) -> str:
        """See hooks: a mere repetition for lowered alerts waits until `repeat` has passed."""
        found = [self.lowered(alert) for alert in firing]
        if firing and all(one is not None and now < one.last + self._options.repeat for one in found):
            self._engine.hooks.suppressed("lowered")
            return f"repeated and ignored, repeated every {format_duration(self._options.repeat)} only"
        return ""

    def note(self, _group: Group, firing: list[Alert], _now: int) -> str:
        """See hooks."""
        if not self._all:
            return ""
        found = [one for alert in firing if (one := self.lowered(alert)) is not None]
        if not found:
            return ""
        most = max(found, key=lambda one: one.times)
        more = f", and {len(found) - 1} more alerts" if len(found) > 1 else ""
        return f"lowered: {most.name} was told {most.times} times and nobody acted on it{more}"

    def _on_attempt(self, slot: Slot, outcome: Outcome, _stale: bool, now: int) -> None:
        group = self._engine.groups.get(slot.group_id)
        if not isinstance(outcome, Delivered) or group is None:
            return
        if next((i.key for i in self._engine.dispatcher.integrations_of(group)), "") != slot.integration:
            return  # one count per notification, however many channels told it
        for fingerprint in slot.firing:
            alert = self._engine.alerts.get(fingerprint)
            if alert is None or (self._options.exempt and all_match(self._options.exempt, alert.labels)):
                continue
            old = self._all.get(fingerprint)
            if old is None or old.last < now - FORGOTTEN:
                old = Untouched(fingerprint=fingerprint, name=alert.name, since=now)
            counted = msgspec.structs.replace(old, times=old.times + 1, last=now)
            self._all[fingerprint] = counted
            self._engine.journal.put(IGNORED, fingerprint, counted)
            if counted.times == self._options.threshold:
                self._engine.journal.event(now, "lowered", fingerprint=fingerprint, times=counted.times)

    def prune(self, now: int) -> None:
        """Forgets what was not told for long."""
        for one in [one for one in self._all.values() if one.last < now - FORGOTTEN]:
            del self._all[one.fingerprint]
            self._engine.journal.drop(IGNORED, one.fingerprint)
