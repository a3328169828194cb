"""Against fatigue, without taking anything away: ending silences are announced, flapping alerts are named.

* A silence that still mutes active alerts is announced as the alert `SilenceEnding` a while before its end, so that
  people can prolong it or look; the announcement ends with the silence. Silences shorter than twice that while are not.
* An alert that began often within the last hour is flapping: its notifications say so, and how often.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from gateway.alerting.alert import ALERT_NAME, Alert, fingerprint
from gateway.alerting.engine import Engine
from gateway.alerting.group import Group
from gateway.alerting.matcher import all_match, render
from gateway.alerting.moments import NEVER, SECOND, format_moment
from gateway.alerting.silence import Silence

NAME: Final = "SilenceEnding"
FLAPPING_SPAN: Final = 3600 * SECOND


class SilenceWarnings:
    """Announces silences; wired into an engine. `lead` is nanoseconds before the end, 0 for never."""

    def __init__(self, engine: Engine, lead: int) -> None:
        self._engine, self._lead = engine, lead
        self._looked_at: dict[str, int] = {}
        """Silence id → its end, once it was looked at."""
        if lead:
            engine.hooks.timers.append(self)

    def next_due(self) -> int:
        """See Timer."""
        return min((s.ends - self._lead for s in self._engine.silences if self._waiting(s)), default=NEVER)

    def tick(self, now: int) -> None:
        """See Timer."""
        for silence in [s for s in self._engine.silences if self._waiting(s) and s.ends - self._lead <= now]:
            self._looked_at[silence.id] = silence.ends
            if silence.starts <= now < silence.ends:
                muted = [
                    a for a in self._engine.alerts.values() if a.active(now) and all_match(silence.matchers, a.labels)
                ]
                if muted:
                    self._engine.receive([self._announcement(silence, muted, now)], now)

    def _waiting(self, silence: Silence) -> bool:
        long_enough = silence.ends - silence.starts >= 2 * self._lead
        return long_enough and self._looked_at.get(silence.id) != silence.ends

    def _announcement(self, silence: Silence, muted: list[Alert], now: int) -> Alert:
        labels = {ALERT_NAME: NAME, "severity": "low", "silence_id": silence.id}
        names = sorted({alert.name for alert in muted})
        return Alert(
            fingerprint=fingerprint(labels),
            labels=labels,
            annotations={
                "summary": f"a silence that mutes {len(muted)} active alerts ends at {format_moment(silence.ends, 0)}",
                "matchers": render(silence.matchers),
                "alerts": ", ".join(names[:20]),
                "created_by": silence.created_by,
                "comment": silence.comment,
            },
            starts=now,
            ends=silence.ends,
            updated=now,
            origin="gateway",
        )


class Flapping:
    """Counts how often alerts begin; wired into an engine as its noter."""

    def __init__(self, engine: Engine, threshold: int) -> None:
        self._threshold = threshold
        self._begun: dict[str, deque[int]] = {}
        if threshold:
            engine.hooks.watchers.append(self._on_change)
            engine.hooks.noters.append(self.note)

    def _on_change(self, kind: str, alert: Alert, now: int) -> None:
        if kind != "firing":
            return
        if len(self._begun) > 10_000:
            self._begun = {name: times for name, times in self._begun.items() if times[-1] > now - FLAPPING_SPAN}
        self._begun.setdefault(alert.fingerprint, deque(maxlen=1000)).append(now)

    def times(self, name: str, now: int) -> int:
        """How often an alert began within the last hour."""
        begun = self._begun.get(name, deque())
        while begun and begun[0] <= now - FLAPPING_SPAN:
            begun.popleft()
        if not begun:
            self._begun.pop(name, None)
        return len(begun)

    def note(self, _group: Group, firing: list[Alert], now: int) -> str:
        """A line about the most restless alert of a notification, or ""."""
        most, name = max(((self.times(a.fingerprint, now), a.name) for a in firing), default=(0, ""))
        return f"flapping: {name} began {most} times in the last hour" if most >= self._threshold else ""
