"""The members of a group that no stage mutes, and which of them fire at a moment."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.alerting.alert import Alert


class Passing:
    """In notification order. Made while a flush goes through the members, so that the decision at its end need not."""

    __slots__ = ("alerts", "firing", "firing_names", "names", "now", "resolved_names", "severities")

    def __init__(self, now: int, alerts: Iterable[Alert] = ()) -> None:
        self.now = now
        self.alerts: list[Alert] = []
        self.firing: list[Alert] = []
        self.names: list[str] = []
        """Fingerprints of those that fire, in order."""
        self.firing_names: set[str] = set()
        self.severities: set[str] = set()
        """Of those that fire."""
        self.resolved_names: set[str] = set()
        self.add(alerts)

    def add(self, alerts: Iterable[Alert]) -> None:
        """The next ones."""
        for alert in alerts:
            self.alerts.append(alert)
            if alert.active(self.now):
                self.firing.append(alert)
                self.names.append(alert.fingerprint)
                self.firing_names.add(alert.fingerprint)
                self.severities.add(alert.labels.get("severity", ""))
            else:
                self.resolved_names.add(alert.fingerprint)
