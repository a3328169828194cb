"""Incident groups in notifications: what they say, and whether an alert that joins a told group is told anew.

Rules of the subject:
  * A route that groups by `incident_group` (the built-in one does) tells about an incident group as one: one group key,
    one dedup_key, one Slack message that is updated. An alert stays with the group it was first put into, whatever
    people merge or split later.
  * On such a route, an alert that joins a group of which the integration has been told waits to be told for at most
    `joining_delay`, unless it is more severe than what was told. So does the end of one that was never told. Nothing
    is lost: what waits is told with the next notification, and its history says that it waits and why.
  * Every other route works as in Alertmanager.
With `adds_context`, every notification carries what is known of the incident as short facts (`Notification.context`).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Final

from gateway.alerting.alert import Alert
from gateway.alerting.correlation import Correlator
from gateway.alerting.engine import Engine
from gateway.alerting.group import Group, group_id
from gateway.alerting.hooks import Telling
from gateway.alerting.incident_group import INCIDENT_LABEL, IncidentGroup, rank_of
from gateway.alerting.likely_cause import Cause, likely_causes
from gateway.alerting.markers import Markers
from gateway.alerting.notification_log import LogEntry
from gateway.alerting.route import Route
from gateway.selfmetrics import counter

MAX_FACT: Final = 300
"""Characters of one fact in a notification."""

LOOKED_AT: Final = 500
"""Alerts of a notification whose incidents are looked for."""
_HELD: Final = counter("alerting_joining_alerts_held", "Alerts that joined a told incident group and wait to be told.")


class IncidentNotices:
    """Wired into an engine. `joining_delay` is nanoseconds, 0 for none."""

    def __init__(
        self, correlator: Correlator, markers: Markers, joining_delay: int, *, adds_context: bool = True
    ) -> None:
        self._correlator, self._markers, self._delay = correlator, markers, joining_delay
        self._engine: Engine = correlator.engine
        self._causes: dict[str, tuple[tuple[int, int, int], list[Cause]]] = {}
        self._held: set[str] = set()
        hooks = self._engine.hooks
        hooks.labellers.append(self.labels)
        if adds_context:
            hooks.describers.append(self.describe)
        hooks.watchers.append(self._on_change)
        if joining_delay:
            hooks.holds.append(self.hold)

    def causes(self, group: IncidentGroup) -> list[Cause]:
        """The likely causes of a group, kept until something changes."""
        version = (group.version, self._correlator.topology.version, self._markers.version)
        known = self._causes.get(group.id)
        if known is None or known[0] != version:
            if len(self._causes) > 1000:
                self._causes.clear()
            found = likely_causes(group.members.values(), self._correlator.topology, self._markers)
            known = self._causes[group.id] = (version, found)
        return known[1]

    def labels(self, route: Route, alert: Alert, now: int) -> Mapping[str, str]:
        """The incident group as a label, for routes that group by it; see Labeller."""
        if INCIDENT_LABEL not in route.group_by or INCIDENT_LABEL in alert.labels:
            return {}
        known = self._correlator.member(alert.fingerprint)
        if known is None:
            known = self._correlator.assign(alert, now)
        return {INCIDENT_LABEL: known.thread}

    # What a notification says

    def describe(self, group: Group, firing: list[Alert], _now: int) -> Mapping[str, str]:
        """The incident groups of these alerts, with the likely cause of the largest; see Describer."""
        found: dict[str, IncidentGroup] = {}
        for alert in firing[:LOOKED_AT] or itertools.islice(group.members.values(), LOOKED_AT):
            incident = self._correlator.group_of(alert.fingerprint)
            if incident is not None:
                found[incident.id] = incident
        if not found:
            return {}
        largest = max(found.values(), key=lambda incident: (incident.active, len(incident.members)))
        if max(len(firing), len(largest.members)) <= LOOKED_AT:
            shown = {alert.fingerprint for alert in firing}
            related = sum(1 for m in largest.members.values() if m.active and m.fingerprint not in shown)
        else:
            related = max(largest.active - len(firing), 0)
        facts = {INCIDENT_LABEL: ", ".join(sorted(found))}
        causes = self.causes(largest)
        if causes and len(largest.members) > 1:
            facts["likely_cause"] = causes[0].words
            facts["likely_cause_reasons"] = "; ".join(causes[0].reasons)
        elif causes and causes[0].deploy is not None:
            facts["likely_cause_reasons"] = "; ".join(causes[0].reasons)
        if related:
            facts["related_alerts"] = str(related)
        if self._engine.external_url:
            facts["incident_url"] = f"{self._engine.external_url}/api/v1/incident-groups/{largest.id}"
        return {name: fact[:MAX_FACT] for name, fact in facts.items()}

    # Whether it is told

    def hold(self, telling: Telling, now: int) -> str:
        """Why alerts that joined a told incident wait; see Hold."""
        thread = telling.group.labels.get(INCIDENT_LABEL, "")
        if INCIDENT_LABEL not in telling.group.route.group_by or telling.why not in ("first", "changed", "resolved"):
            return ""
        if not telling.firing and telling.entry is not None and (telling.entry.firing or telling.entry.doubtful):
            return ""
        told, highest = self._told(telling, thread)
        if not told:
            return ""
        if telling.entry is not None:
            ended = telling.resolved.difference(telling.entry.resolved) if telling.resolved else set()
            owed = ended & telling.told or ended.intersection(telling.entry.doubtful)
            if owed or telling.entry.at < now - telling.group.route.repeat_interval:
                return ""
        alerts = self._engine.alerts
        doubtful = set(telling.entry.doubtful) if telling.entry is not None else set()
        joining = [alerts[name] for name in telling.firing_names - telling.told if name in alerts]
        if not all(alert.fingerprint not in doubtful and self._waits(alert, highest, now) for alert in joining):
            return ""
        reason = f"joined incident group {thread}, of which {telling.integration} was told"
        for alert in joining:
            self._note(alert, telling.group, reason, now)
        return reason

    def _note(self, alert: Alert, group: Group, reason: str, now: int) -> None:
        member = self._correlator.member(alert.fingerprint)
        if member is None or alert.fingerprint in self._held:
            return
        self._held.add(alert.fingerprint)
        _HELD.inc()
        self._engine.journal.event(
            now,
            "held",
            fingerprint=alert.fingerprint,
            group=group.id,
            reason=reason,
            until=member.joined + self._delay,
        )

    def held(self, fingerprint: str) -> bool:
        """Whether an alert waits, or has waited, because it joined a told group."""
        return fingerprint in self._held

    def _waits(self, alert: Alert, highest: int, now: int) -> bool:
        member = self._correlator.member(alert.fingerprint)
        return (
            member is not None
            and now < member.joined + self._delay
            and rank_of(alert.labels.get("severity", "")) <= highest
        )

    def _told(self, telling: Telling, thread: str) -> tuple[bool, int]:
        """Whether the integration believes that something of the thread fires, and the highest severity of it."""
        told, highest = False, 0
        for route in self._engine.configuration.route.walk():
            if INCIDENT_LABEL not in route.group_by or route.receiver != telling.group.route.receiver:
                continue
            others = self._engine.groups.get(group_id(route.receiver, route.group_key({INCIDENT_LABEL: thread})))
            entry = self._engine.log.get(others.key, telling.integration) if others is not None else None
            if entry is not None and entry.firing:
                some, rank = self._ranked(entry)
                told, highest = told or some, max(highest, rank)
        return told, highest

    def _ranked(self, entry: LogEntry) -> tuple[bool, int]:
        """Whether one of an entry's alerts is still known, and the highest severity of those it told."""
        alerts = self._engine.alerts
        if not any(fingerprint in alerts for fingerprint in entry.firing):
            return False, 0
        severities = self._engine.log.severities(entry, self._severity_of)
        return True, max((rank_of(severity) for severity in severities), default=0)

    def _severity_of(self, fingerprint: str) -> str | None:
        alert = self._engine.alerts.get(fingerprint)
        return None if alert is None else alert.labels.get("severity", "")

    def _on_change(self, kind: str, alert: Alert, _now: int) -> None:
        if kind == "ended":
            self._held.discard(alert.fingerprint)
