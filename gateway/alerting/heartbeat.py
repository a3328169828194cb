"""Heartbeats: what should report regularly, and an alert when it does not.

Rules of the subject (Opsgenie's heartbeats):
  * A heartbeat waits for its first ping. From then on it expires when no ping came for its interval, which fires the
    alert `HeartbeatExpired`; the next ping ends the alert.
  * While it is disabled, it does not expire. A change or the removal of an expired one ends its alert.
  * Pings could not arrive while the gateway was down: after a start none expires before the grace is over.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from gateway.alerting.alert import ALERT_NAME, Alert, fingerprint
from gateway.alerting.engine import Engine
from gateway.alerting.moments import NEVER, format_duration, format_moment
from gateway.alerting.store import HEARTBEAT
from gateway.errors import Conflict, NotFound

NAME = "HeartbeatExpired"


class Heartbeat(msgspec.Struct, frozen=True, kw_only=True):
    """One heartbeat; `interval` in nanoseconds, `last` is 0 before the first ping."""

    name: str
    interval: int
    description: str = ""
    enabled: bool = True
    last: int = 0
    expired: bool = False


class Heartbeats:
    """All of them, wired into an engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._all: dict[str, Heartbeat] = {}
        self._not_before = 0
        engine.hooks.timers.append(self)

    def load(self, heartbeat: Heartbeat, not_before: int) -> None:
        """At start; nothing expires before that moment."""
        self._all[heartbeat.name] = heartbeat
        self._not_before = not_before

    def __iter__(self) -> Iterator[Heartbeat]:
        return iter(self._all.values())

    def get(self, name: str) -> Heartbeat:
        """Raises NotFound."""
        found = self._all.get(name)
        if found is None:
            raise NotFound(f"no heartbeat {name}")
        return found

    def add(self, heartbeat: Heartbeat) -> None:
        """A new one. Raises Conflict."""
        if heartbeat.name in self._all:
            raise Conflict(f"there is a heartbeat {heartbeat.name} already")
        self._store(heartbeat)

    def change(self, heartbeat: Heartbeat, now: int) -> None:
        """Another interval, description or state; keeps its last ping. Raises NotFound."""
        old = self.get(heartbeat.name)
        self._end(old, now)
        self._store(msgspec.structs.replace(heartbeat, last=old.last, expired=False))

    def remove(self, name: str, now: int) -> None:
        """Raises NotFound."""
        self._end(self.get(name), now)
        del self._all[name]
        self._engine.journal.drop(HEARTBEAT, name)

    def ping(self, name: str, now: int) -> None:
        """It is alive. Pings of unknown names change nothing."""
        found = self._all.get(name)
        if found is not None:
            self._end(found, now)
            self._store(msgspec.structs.replace(found, last=now, expired=False))

    def next_due(self) -> int:
        """See Timer."""
        return min((self._due(heartbeat) for heartbeat in self._all.values()), default=NEVER)

    def tick(self, now: int) -> None:
        """See Timer."""
        for heartbeat in [one for one in self._all.values() if self._due(one) <= now]:
            self._store(msgspec.structs.replace(heartbeat, expired=True))
            self._engine.receive([self._alert(heartbeat, now, NEVER)], now)

    def _due(self, heartbeat: Heartbeat) -> int:
        if not heartbeat.enabled or heartbeat.expired or not heartbeat.last:
            return NEVER
        return max(heartbeat.last + heartbeat.interval, self._not_before)

    def _end(self, heartbeat: Heartbeat, now: int) -> None:
        if heartbeat.expired:
            self._engine.receive([self._alert(heartbeat, now, now)], now)

    def _alert(self, heartbeat: Heartbeat, now: int, ends: int) -> Alert:
        labels = {ALERT_NAME: NAME, "heartbeat": heartbeat.name, "severity": "high"}
        known = self._engine.alerts.get(fingerprint(labels))
        summary = f"no ping of {heartbeat.name} within {format_duration(heartbeat.interval)}"
        annotations = {"last_ping": format_moment(heartbeat.last, 0), "summary": summary}
        if heartbeat.description:
            annotations["description"] = heartbeat.description
        return Alert(
            fingerprint=fingerprint(labels),
            labels=labels,
            annotations=annotations,
            starts=known.starts if known is not None and ends == now else now,
            ends=ends,
            updated=now,
            origin="opsgenie",
        )

    def _store(self, heartbeat: Heartbeat) -> None:
        self._all[heartbeat.name] = heartbeat
        self._engine.journal.put(HEARTBEAT, heartbeat.name, heartbeat)
