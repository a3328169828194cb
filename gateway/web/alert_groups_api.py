"""The alerts as the console lists them: groups with their first members, searched and paged, whatever their number.

    GET /api/v1/alerts/groups?q=&state=&group=&offset=&limit=&each=

    {"total": groups, "alerts": alerts in them, "groups": [{"id", "labels", "receiver", "total", "worst", "started",
       "alerts": [{"fingerprint", "labels", "annotations", "startsAt", "generatorURL", "origin", "state",
                   "acknowledgedBy", "snoozedUntil", "silencedBy", "inhibitedBy", "muted"}]}]}

q: words that must all occur in a label or annotation. state: active (nothing mutes it), suppressed, acknowledged,
unacknowledged. group: this group alone, `offset` and `each` then page through its members. Groups are in order of
severity, then the newest first; so are members.

`/api/v2/alerts/groups` gives everything at once, as Alertmanager does; with ten thousand alerts that is megabytes for
each look. Here the loop copies references, a thread filters, sorts and cuts, and only what is shown is encoded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from gateway.alerting.alert import Alert
from gateway.alerting.matcher import all_match
from gateway.alerting.moments import format_moment
from gateway.alerting.router import AlertRouter
from gateway.alerting.silence import Silence
from gateway.errors import RequestError
from gateway.telemetry.anomaly import SEVERITIES
from gateway.web.json_api import json_response
from gateway.web.query_parameters import one_of, whole_number

MAX_GROUPS: Final = 100
MAX_EACH: Final = 200
MAX_OFFSET: Final = 1_000_000
MAX_QUERY: Final = 200
STATES: Final = ("active", "suppressed", "acknowledged", "unacknowledged")
_WARNING: Final = {"warning": "medium", "error": "high", "page": "critical", "info": "low"}
"""Severities of others' rules, placed among ours."""


@dataclass(frozen=True, slots=True)
class _Group:
    id: str
    labels: dict[str, str]
    receiver: str
    members: list[Alert]
    muted: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Moment:
    """What a look needs of the router, copied on the loop."""

    now: int
    groups: list[_Group]
    silences: list[Silence]
    acknowledged: Callable[[str], bool]


class AlertGroupsApi:
    """The handler."""

    def __init__(self, router: AlertRouter) -> None:
        self._router = router
        self._texts: dict[str, tuple[Alert, str]] = {}

    async def groups(self, request: web.Request) -> web.Response:
        """Groups of alerts with their first members, filtered and paged."""
        query = request.query.get("q", "")
        if len(query) > MAX_QUERY:
            raise RequestError(f"q is longer than {MAX_QUERY} characters", reason="parameter")
        state = one_of(request, "state", STATES)
        wanted = request.query.get("group", "")
        offset = whole_number(request, "offset", 0, MAX_OFFSET, least=0)
        limit = whole_number(request, "limit", 20, MAX_GROUPS)
        each = whole_number(request, "each", 10, MAX_EACH)
        moment = self._look(wanted)
        words = query.lower().split()
        chosen = await asyncio.to_thread(self._choose, moment, words, state)
        total, alerts = len(chosen), sum(len(group.members) for group in chosen)
        first = offset if wanted else 0
        shown = chosen if wanted else chosen[offset : offset + limit]
        return json_response(
            {
                "total": total,
                "alerts": alerts,
                "groups": [self._shown_group(group, moment, first, each) for group in shown],
            }
        )

    def _look(self, wanted: str) -> _Moment:
        router, now = self._router, self._router.clock.time_ns()
        groups = [
            _Group(group.id, group.labels, group.route.receiver, list(group.members.values()), group.muted)
            for group in router.engine.groups.values()
            if group.members and wanted in ("", group.id)
        ]
        return _Moment(now, groups, router.engine.silences.active(now), router.people.acknowledged)

    def _choose(self, moment: _Moment, words: list[str], state: str) -> list[_Group]:
        """Runs in a thread; reads only what `_look` copied, and immutable alerts."""
        found = []
        for group in moment.groups:
            members = [
                alert
                for alert in group.members
                if alert.ends > moment.now and self._meets(alert, words) and _is(alert, group, moment, state)
            ]
            if members:
                members.sort(key=_rank)
                found.append(_Group(group.id, group.labels, group.receiver, members, group.muted))
        found.sort(key=lambda group: (*_rank(group.members[0]), group.id))
        if len(self._texts) > 4 * sum(len(group.members) for group in moment.groups) + 1000:
            self._texts = {}
        return found

    def _meets(self, alert: Alert, words: Iterable[str]) -> bool:
        if not words:
            return True
        known = self._texts.get(alert.fingerprint)
        if known is None or known[0] is not alert:
            parts = [f"{k}={v}" for k, v in alert.labels.items()] + list(alert.annotations.values())
            known = self._texts[alert.fingerprint] = (alert, " ".join(parts).lower())
        return all(word in known[1] for word in words)

    def _shown_group(self, group: _Group, moment: _Moment, offset: int, each: int) -> dict[str, Any]:
        return {
            "id": group.id,
            "labels": group.labels,
            "receiver": group.receiver,
            "total": len(group.members),
            "worst": group.members[0].labels.get("severity", "none"),
            "started": format_moment(min(alert.starts for alert in group.members)),
            "alerts": [self._shown(alert, group, moment) for alert in group.members[offset : offset + each]],
        }

    def _shown(self, alert: Alert, group: _Group, moment: _Moment) -> dict[str, Any]:
        handling = self._router.people.get(alert.fingerprint)
        silenced = silenced_by(moment.silences, alert.labels)
        inhibitor = self._router.engine.inhibitor
        inhibited = inhibitor.inhibitors(alert.labels, alert.fingerprint, moment.now) if inhibitor.rules else []
        muted = group.muted.get(alert.fingerprint, "")
        return {
            "fingerprint": alert.fingerprint,
            "labels": alert.labels,
            "annotations": alert.annotations,
            "startsAt": format_moment(alert.starts),
            "generatorURL": alert.generator_url,
            "origin": alert.origin,
            "state": "suppressed" if silenced or inhibited or muted else "active",
            "acknowledgedBy": handling.acknowledged_by if handling else "",
            "snoozedUntil": format_moment(handling.snoozed_until) if handling and handling.snoozed_until else None,
            "silencedBy": silenced,
            "inhibitedBy": inhibited,
            "muted": muted,
        }


def silenced_by(silences: Iterable[Silence], labels: Mapping[str, str]) -> list[str]:
    """Sorted ids of those among `silences` that match."""
    return sorted(silence.id for silence in silences if all_match(silence.matchers, labels))


def _is(alert: Alert, group: _Group, moment: _Moment, state: str) -> bool:
    if not state:
        return True
    if state in ("acknowledged", "unacknowledged"):
        return moment.acknowledged(alert.fingerprint) == (state == "acknowledged")
    suppressed = alert.fingerprint in group.muted or bool(silenced_by(moment.silences, alert.labels))
    return suppressed == (state == "suppressed")


def _rank(alert: Alert) -> tuple[int, int]:
    severity = alert.labels.get("severity", "none")
    severity = _WARNING.get(severity, severity)
    return -(SEVERITIES.index(severity) if severity in SEVERITIES else 0), -alert.starts


def register_routes(app: web.Application, router: AlertRouter) -> None:
    """Adds the address; to be called before addresses that begin with /api/v1/alerts/{fingerprint}."""
    app.router.add_get("/api/v1/alerts/groups", AlertGroupsApi(router).groups)
