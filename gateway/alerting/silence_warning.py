"""The warning before a silence ends.

A silence that still mutes active alerts is announced as the alert `SilenceEnding` a while before its end, so that
people can prolong it or look; the announcement ends with the silence. Silences shorter than twice that while are not
announced.
"""

from __future__ import annotations

from typing import Final

from gateway.alerting.alert import ALERT_NAME, Alert, fingerprint
from gateway.alerting.engine import Engine
from gateway.alerting.matcher import all_match, render
from gateway.alerting.moments import NEVER, format_moment
from gateway.alerting.silence import Silence

NAME: Final = "SilenceEnding"


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
