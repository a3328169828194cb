"""Incident groups, all of it wired together: the correlation, what people do to it, what notifications say of it.

`load` before the engine loads its alerts, `after_load` after; everything else belongs to the loop that owns the engine.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from gateway.alerting.cooccurrence import KeyCount, PairCount
from gateway.alerting.correlation import Correlator
from gateway.alerting.engine import Engine
from gateway.alerting.incident_group import Act, GroupState, IncidentGroup, Member, rank_of
from gateway.alerting.incident_notices import IncidentNotices
from gateway.alerting.likely_cause import Cause
from gateway.alerting.markers import Markers
from gateway.alerting.moments import SECOND, format_moment
from gateway.alerting.regrouping import Regrouping
from gateway.alerting.settings import AlertingSettings
from gateway.alerting.store import (
    COOCCURRENCE_KEY,
    COOCCURRENCE_PAIR,
    INCIDENT_ACT,
    INCIDENT_GROUP,
    INCIDENT_MEMBER,
    TOPOLOGY,
    Store,
    decoded,
)
from gateway.alerting.topology import Place
from gateway.errors import NotFound
from gateway.telemetry.call_edge import CallEdge

CALLS = "calls"
MAX_SHOWN = 500
"""Members of a group in one answer."""
_SAVE_EDGES = 300 * SECOND


class Incidents:
    """See the head of the file."""

    def __init__(self, engine: Engine, settings: AlertingSettings, markers: Markers) -> None:
        self._engine, self.markers = engine, markers
        self.correlator = Correlator(
            engine,
            window=round(settings.correlation_window * SECOND),
            linger=round(settings.incident_linger * SECOND),
        )
        self.topology = self.correlator.topology
        self.regrouping = Regrouping(self.correlator)
        self.notices = IncidentNotices(
            self.correlator,
            self.markers,
            round(settings.joining_delay * SECOND),
            adds_context=settings.adds_context,
        )
        self._edges_saved = 0

    # Start

    def load(self, store: Store, now: int) -> None:
        """Everything that the store holds of it; waits for the disk. Raises StateError."""
        for _, edges in decoded(store, TOPOLOGY, list[CallEdge]):
            self.topology.see_calls(edges, now)
        self.correlator.load(
            [group for _, group in decoded(store, INCIDENT_GROUP, GroupState)],
            [member for _, member in decoded(store, INCIDENT_MEMBER, Member)],
            list(decoded(store, COOCCURRENCE_KEY, KeyCount)),
            list(decoded(store, COOCCURRENCE_PAIR, PairCount)),
            now,
        )
        for _, act in decoded(store, INCIDENT_ACT, Act):
            self.regrouping.load(act)

    def after_load(self, now: int) -> None:
        """Once the engine has its alerts."""
        self.correlator.after_load(now)

    # Topology

    def see_topology(self, edges: Iterable[CallEdge], places: Iterable[Place], now: int) -> None:
        """What telemetry shows now. It is kept over restarts."""
        changed = self.topology.see_calls(edges, now)
        self.topology.see_places(places, now)
        if self.topology.edges and (changed or now - self._edges_saved > _SAVE_EDGES):
            self._edges_saved = now
            self._engine.journal.put(TOPOLOGY, CALLS, self.topology.edges)

    # Showing

    def list_groups(self, state: str, limit: int) -> list[dict[str, Any]]:
        """Groups of a state ("open", "closed", "" for both), newest change first, without their members."""
        groups = [
            group
            for group in self.correlator.groups.values()
            if not group.state.merged_into and group.members and state in ("", "open" if group.open else "closed")
        ]
        groups.sort(key=lambda group: (-group.state.changed, group.id))
        return [self._head(group) for group in groups[:limit]]

    def show(self, name: str) -> dict[str, Any]:
        """One group with its members, causes and what people did to it; raises NotFound."""
        group = self.correlator.find(name)
        if group is None:
            raise NotFound(f"no incident group {name}")
        members = sorted(group.members.values(), key=lambda member: (member.starts, member.fingerprint))
        return {
            **self._head(group),
            "likelyCauses": [_cause(cause) for cause in self.notices.causes(group)],
            "alerts": [self._member(member) for member in members[:MAX_SHOWN]],
            "calls": self._calls(group),
            "separatedFrom": group.state.apart,
            "acts": [_act(act) for act in self.regrouping.acts_of(group.id)],
        }

    def of_alert(self, fingerprint: str) -> dict[str, Any] | None:
        """The open group of an alert in short, with why it is there."""
        member = self.correlator.member(fingerprint)
        if member is None:
            return None
        group = self.correlator.groups[member.group]
        return {**self._head(group), "why": member.why, "score": member.score, "thread": member.thread}

    def _head(self, group: IncidentGroup) -> dict[str, Any]:
        causes = self.notices.causes(group)
        places = Counter(m.place.service or m.place.host for m in group.members.values())
        severities = [m.severity for m in group.members.values() if m.severity and m.active]
        return {
            "id": group.id,
            "state": "open" if group.open else "closed",
            "title": causes[0].words if causes else "",
            "openedAt": format_moment(group.state.opened),
            "changedAt": format_moment(group.state.changed),
            "closedAt": format_moment(group.state.closed) if group.state.closed else None,
            "active": group.active,
            "total": len(group.members),
            "severity": max(severities, key=rank_of, default=""),
            "places": [place for place in sorted(places, key=lambda p: (-places[p], p)) if place][:20],
            "likelyCause": _cause(causes[0]) if causes else None,
        }

    def _member(self, member: Member) -> dict[str, Any]:
        alert = self._engine.alerts.get(member.fingerprint)
        return {
            "fingerprint": member.fingerprint,
            "name": member.name,
            "service": member.place.service,
            "host": member.place.host,
            "severity": member.severity,
            "summary": member.summary,
            "state": "firing" if member.active else "resolved",
            "startsAt": format_moment(member.starts),
            "endedAt": format_moment(member.ended) if member.ended else None,
            "joinedAt": format_moment(member.joined),
            "times": member.times,
            "why": member.why,
            "score": member.score,
            "labels": alert.labels if alert is not None else None,
        }

    def _calls(self, group: IncidentGroup) -> list[dict[str, str]]:
        """Calls between the group's own services."""
        services = sorted({m.place.service for m in group.members.values() if m.place.service})[:50]
        return [
            {"caller": caller, "callee": callee}
            for caller in services
            for callee in services
            if callee in self.topology.callees(caller)
        ]


def _cause(cause: Cause) -> dict[str, Any]:
    return {
        "fingerprint": cause.fingerprint,
        "name": cause.name,
        "service": cause.place.service,
        "host": cause.place.host,
        "score": cause.score,
        "reasons": cause.reasons,
        "deploy": None
        if cause.deploy is None
        else {
            "id": cause.deploy.id,
            "title": cause.deploy.title,
            "version": cause.deploy.version,
            "time": format_moment(cause.deploy.time),
            "url": cause.deploy.url,
        },
    }


def _act(act: Act) -> dict[str, Any]:
    return {
        "id": act.id,
        "kind": act.kind,
        "target": act.target,
        "sources": act.sources,
        "time": format_moment(act.at),
        "by": act.by,
        "note": act.note,
        "taught": [{"pair": [one, other], "change": change} for one, other, change in act.taught],
        "undoneAt": format_moment(act.undone_at) if act.undone_at else None,
        "undoneBy": act.undone_by,
    }
