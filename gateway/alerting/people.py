"""What people say about alerts: acknowledge, snooze, comment, resolve by hand.

Rules of the subject:
  * An acknowledgement belongs to one occurrence of an alert: it ends when the alert ends. While every firing alert of a
    group is acknowledged, the group is not repeated and escalations stop; new alerts of the group are told as ever.
  * A snooze mutes one alert until a moment; when it ends and the alert still fires, it is told again.
  * Resolving by hand ends the alert now. A sender that reports it again opens it again.
  * Comments stay with the history, not with the state.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from gateway.alerting.alert import Alert
from gateway.alerting.engine import Engine
from gateway.alerting.route import Route
from gateway.alerting.store import PEOPLE
from gateway.errors import Conflict, NotFound, RequestError


class Handling(msgspec.Struct, frozen=True, kw_only=True):
    """What is said about one alert that is open. Moments in nanoseconds."""

    fingerprint: str
    acknowledged_by: str = ""
    acknowledged_at: int = 0
    snoozed_until: int = 0
    snoozed_by: str = ""


class People:
    """The state of handling, wired into an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._handling: dict[str, Handling] = {}
        self.act_watchers: list[Callable[[str, int, str], None]] = []
        """Told of every act on an alert: fingerprint, moment, who."""
        engine.hooks.stages.append(self.stage)
        engine.hooks.quiets.append(self.quiet)
        engine.hooks.noters.append(lambda _group, firing, now: self.quiet(firing, now))
        engine.hooks.watchers.append(self._on_change)

    def load(self, handling: Handling) -> None:
        """At start."""
        self._handling[handling.fingerprint] = handling

    def get(self, fingerprint: str) -> Handling | None:
        """What is said about an alert, if anything."""
        return self._handling.get(fingerprint)

    def acknowledge(self, fingerprint: str, who: str, now: int, note: str = "") -> None:
        """Somebody works on it. Raises NotFound, Conflict if it is not firing."""
        self._firing(fingerprint, now)
        old = self._handling.get(fingerprint) or Handling(fingerprint=fingerprint)
        self._store(msgspec.structs.replace(old, acknowledged_by=who, acknowledged_at=now))
        self._acted(now, "acknowledged", fingerprint, by=who, note=note)

    def unacknowledge(self, fingerprint: str, who: str, now: int) -> None:
        """Nobody works on it any more. Raises NotFound, Conflict."""
        self._firing(fingerprint, now)
        old = self._handling.get(fingerprint)
        if old is not None and old.acknowledged_at:
            self._store(msgspec.structs.replace(old, acknowledged_by="", acknowledged_at=0))
            self._event(now, "unacknowledged", fingerprint, by=who)

    def snooze(self, fingerprint: str, who: str, until: int, now: int, note: str = "") -> None:
        """Mutes one alert for a while. Raises NotFound, Conflict, RequestError for a moment that has passed."""
        self._firing(fingerprint, now)
        if until <= now:
            raise RequestError("a snooze must end in the future")
        old = self._handling.get(fingerprint) or Handling(fingerprint=fingerprint)
        self._store(msgspec.structs.replace(old, snoozed_until=until, snoozed_by=who))
        self._acted(now, "snoozed", fingerprint, by=who, until=until, note=note)

    def unsnooze(self, fingerprint: str, who: str, now: int) -> None:
        """Ends a snooze; what fires is told at the next flush. Raises NotFound, Conflict."""
        alert = self._firing(fingerprint, now)
        old = self._handling.get(fingerprint)
        if old is not None and old.snoozed_until:
            self._store(msgspec.structs.replace(old, snoozed_until=0, snoozed_by=""))
            self._event(now, "snooze ended", fingerprint, by=who)
            self._engine.forget_told(alert)

    def resolve(self, fingerprint: str, who: str, now: int, note: str = "") -> None:
        """Ends the alert by hand. Raises NotFound, Conflict."""
        alert = self._firing(fingerprint, now)
        self._acted(now, "resolved by hand", fingerprint, by=who, note=note)
        self._engine.receive([msgspec.structs.replace(alert, ends=now, updated=now, assumed_end=False)], now)

    def comment(self, fingerprint: str, who: str, text: str, now: int) -> None:
        """A line for the history; also for alerts that have ended. Raises RequestError for an empty one."""
        if not text.strip():
            raise RequestError("a comment needs a text")
        self._acted(now, "comment", fingerprint, by=who, text=text)

    def stage(self, _route: Route, alert: Alert, now: int) -> str:
        """See stages."""
        handling = self._handling.get(alert.fingerprint)
        if handling is None or not handling.snoozed_until:
            return ""
        if now < handling.snoozed_until:
            return f"snoozed by {handling.snoozed_by}"
        self._store(msgspec.structs.replace(handling, snoozed_until=0, snoozed_by=""))
        self._event(now, "snooze ended", alert.fingerprint)
        self._engine.forget_told(alert)
        return ""

    def quiet(self, firing: list[Alert], _now: int) -> str:
        """Why a mere repetition is not told: every firing alert is acknowledged."""
        if not firing or not all(self.acknowledged(alert.fingerprint) for alert in firing):
            return ""
        names = {self._handling[alert.fingerprint].acknowledged_by for alert in firing}
        return f"acknowledged by {', '.join(sorted(names))}"

    def acknowledged(self, fingerprint: str) -> bool:
        """Whether somebody has said that they work on it."""
        handling = self._handling.get(fingerprint)
        return handling is not None and handling.acknowledged_at > 0

    def _on_change(self, kind: str, alert: Alert, _now: int) -> None:
        if kind == "ended" and self._handling.pop(alert.fingerprint, None) is not None:
            self._engine.journal.drop(PEOPLE, alert.fingerprint)

    def _firing(self, fingerprint: str, now: int) -> Alert:
        alert = self._engine.alerts.get(fingerprint)
        if alert is None:
            raise NotFound(f"no alert {fingerprint}")
        if not alert.active(now):
            raise Conflict(f"alert {fingerprint} has ended")
        return alert

    def _store(self, handling: Handling) -> None:
        self._handling[handling.fingerprint] = handling
        self._engine.journal.put(PEOPLE, handling.fingerprint, handling)

    def _acted(self, now: int, kind: str, fingerprint: str, *, by: str, **detail: Any) -> None:
        self._event(now, kind, fingerprint, by=by, **detail)
        for watcher in self.act_watchers:
            watcher(fingerprint, now, by)

    def _event(self, now: int, kind: str, fingerprint: str, **detail: Any) -> None:
        self._engine.journal.event(now, kind, fingerprint=fingerprint, **detail)
