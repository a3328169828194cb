"""Anomalies become alerts: which alert an anomaly is now, and what is remembered so that none is opened twice."""

from __future__ import annotations

from typing import Final

import msgspec

from gateway.alerting.alert import Alert
from gateway.alerting.anomaly_alert import KnownAnomaly, alert_of, higher
from gateway.alerting.context import AnomalyContext, ServiceAlerts
from gateway.alerting.engine import Engine
from gateway.alerting.moments import SECOND
from gateway.alerting.store import ANOMALY, Store, decoded
from gateway.telemetry.anomaly import Anomaly

CLOSED_RETENTION: Final = 3 * 86400 * SECOND
"""Resolved anomalies are remembered this long, so that reading their log again does not open them again."""


class AnomalyReports:
    """Every anomaly that was reported, by id. What changes goes to the engine's journal."""

    def __init__(
        self, engine: Engine, context: AnomalyContext, service_alerts: ServiceAlerts, external_url: str
    ) -> None:
        self._engine, self._context, self._service_alerts = engine, context, service_alerts
        self._external_url = external_url
        self._known: dict[str, KnownAnomaly] = {}

    def load(self, store: Store) -> None:
        """At start; waits for the disk."""
        self._known.update(decoded(store, ANOMALY, KnownAnomaly))

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def reports(self, anomaly: Anomaly, now: int) -> list[Alert]:
        """What an anomaly that opened, changed or ended has to say; nothing if it has said that it ended."""
        known = self._known.get(anomaly.id)
        resolved = anomaly.state == "resolved"
        if (known is not None and known.closed) or (known is None and resolved):
            return []
        severity = anomaly.severity if known is None else higher(known.severity, anomaly.severity)
        judgement = self._context.judge(anomaly, severity, first=known is None)
        alert = alert_of(anomaly, judgement.severity, now, self._external_url, judgement.annotations)
        self._service_alerts.take(alert)
        reports = [alert]
        if known is not None and known.fingerprint != alert.fingerprint:
            old = self._engine.alerts.get(known.fingerprint)
            if old is not None and old.active(now):
                reports.insert(0, msgspec.structs.replace(old, ends=now, updated=now))
        remembered = KnownAnomaly(alert.fingerprint, severity, closed=now if resolved else 0)
        self._known[anomaly.id] = remembered
        self._engine.journal.put(ANOMALY, anomaly.id, remembered)
        return reports

    def context_of(self, anomaly: Anomaly) -> dict[str, str]:
        """What surrounds an anomaly: `severity` and `muted` of its alert, and why; for people to see."""
        known = self._known.get(anomaly.id)
        severity = anomaly.severity if known is None else higher(known.severity, anomaly.severity)
        judgement = self._context.judge(anomaly, severity)
        shown = {"alert_severity": judgement.severity, **judgement.annotations}
        if known is None:
            return shown
        shown["fingerprint"] = known.fingerprint
        holders = self._engine.membership.get(known.fingerprint, ())
        muted = {self._engine.groups[name].muted.get(known.fingerprint, "") for name in holders} - {""}
        if muted and anomaly.state == "firing":
            shown["muted"] = "; ".join(sorted(muted))
        return shown

    def prune(self, now: int) -> None:
        """Forgets those that ended long ago."""
        for key, known in list(self._known.items()):
            if known.closed and known.closed < now - CLOSED_RETENTION:
                del self._known[key]
                self._engine.journal.drop(ANOMALY, key)
