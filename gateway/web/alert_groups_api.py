"""The alerts as the console lists them: groups with their first members, searched and paged, whatever their number.

    GET /api/v1/alerts/groups?q=&state=&group=&offset=&limit=&each=

    {"total": groups, "alerts": alerts in them, "groups": [{"id", "labels", "receiver", "total", "worst", "started",
       "alerts": [{"fingerprint", "labels", "annotations", "startsAt", "generatorURL", "origin", "state",
                   "acknowledgedBy", "snoozedUntil", "silencedBy", "inhibitedBy", "muted"}]}]}

q: words that must all occur in a label or annotation. state: active (nothing mutes it), suppressed, acknowledged,
unacknowledged. group: this group alone, `offset` and `each` then page through its members. Groups are in order of
severity, then the newest first; so are members.

`/api/v2/alerts/groups` gives everything at once, as Alertmanager does; with ten thousand alerts that is megabytes for
each look. Here the loop copies references, a thread filters and sorts, and only what is shown is encoded. What a group
counts without words is kept until one of its members comes, changes, ends or goes, or something else mutes.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from aiohttp import web

from gateway.alerting.alert import Alert
from gateway.alerting.matcher import all_match
from gateway.alerting.moments import NEVER, format_moment
from gateway.alerting.router import AlertRouter
from gateway.alerting.sieve import SieveIndex
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
_RANKS: Final = {name: -SEVERITIES.index(_WARNING.get(name, name)) for name in (*SEVERITIES, *_WARNING)}
"""The worst first."""
COPIED_AT_ONCE: Final = 10_000
"""Members copied before the loop has its turn."""


_Rank = tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Group:
    id: str
    labels: dict[str, str]
    receiver: str
    version: int
    members: list[Alert]
    muted: dict[str, str]


class _Count(NamedTuple):
    """What is shown of a group beside its members."""

    total: int
    first: _Rank
    started: int
    ends: int
    """The first end among them."""


@dataclass(frozen=True, slots=True)
class _Chosen:
    """A group that has something to show. `members` in order, or None where nothing was filtered."""

    group: _Group
    count: _Count
    members: list[Alert] | None


@dataclass(frozen=True, slots=True)
class _Moment:
    """What a look needs of the router, copied on the loop."""

    now: int
    groups: list[_Group]
    silences: list[Silence]
    silenced: SieveIndex
    """The same; another object whenever they are others."""
    acknowledged: Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class _Part:
    """Members of a group in one state."""

    count: _Count
    members: list[Alert]


@dataclass(frozen=True, slots=True)
class _Parted:
    """Members of a group by whether something mutes them."""

    version: int
    muted: dict[str, str]
    silenced: SieveIndex
    good_until: int
    active: _Part
    suppressed: _Part

    def holds(self, group: _Group, moment: _Moment) -> bool:
        """Whether nothing has changed since."""
        return (
            self.version == group.version
            and self.muted is group.muted
            and self.silenced is moment.silenced
            and moment.now < self.good_until
        )


_PARTS: Final = ("active", "suppressed")
_NOTHING: Final = _Count(0, (0, 0), 0, NEVER)


class AlertGroupsApi:
    """The handler."""

    def __init__(self, router: AlertRouter) -> None:
        self._router = router
        self._texts: dict[str, tuple[Alert, str]] = {}
        self._counts: dict[str, tuple[int, _Count]] = {}
        """Group id → the version that was counted, and what was."""
        self._suppressed: dict[str, _Parted] = {}
        """Group id → its members by whether something mutes them."""

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
        moment = await self._look(wanted)
        first = offset if wanted else 0
        page = slice(0, limit) if wanted else slice(offset, offset + limit)
        words = query.lower().split()
        total, alerts, shown = await asyncio.to_thread(self._choose, moment, words, state, page, first + each)
        return json_response(
            {
                "total": total,
                "alerts": alerts,
                "groups": [self._shown_group(chosen, moment, first, each) for chosen in shown],
            }
        )

    async def _look(self, wanted: str) -> _Moment:
        router, now = self._router, self._router.clock.time_ns()
        groups, copied = [], 0
        for group in list(router.engine.groups.values()):
            if group.members and wanted in ("", group.id):
                members = list(group.members.values())
                receiver = group.route.receiver
                groups.append(_Group(group.id, group.labels, receiver, group.version, members, group.muted))
                copied += len(members) + 10
                if copied > COPIED_AT_ONCE:
                    copied = 0
                    await asyncio.sleep(0)
        silences = router.engine.silences
        return _Moment(now, groups, silences.active(now), silences.index(now), router.people.acknowledged)

    def _choose(
        self, moment: _Moment, words: list[str], state: str, page: slice, most: int
    ) -> tuple[int, int, list[_Chosen]]:
        """Number of groups, of alerts in them, and the page with `most` members in order. Runs in a thread; reads only
        what `_look` copied, and immutable alerts."""
        found: list[_Chosen] = []
        for group in moment.groups:
            members: list[Alert] | None = None
            if not words and not state:
                count = self._counted(group, moment.now)
            elif not words and state in _PARTS:
                part = self._part(group, moment, state)
                count, members = part.count, part.members
            else:
                members = [alert for alert in self._among(group, moment, state) if self._meets(alert, words)]
                count = _count(members)
            if count.total:
                found.append(_Chosen(group, count, members))
        found.sort(key=lambda chosen: (*chosen.count.first, chosen.group.id))
        if len(self._texts) > 4 * sum(len(group.members) for group in moment.groups) + 1000:
            self._texts = {}
        if len(self._counts) + len(self._suppressed) > 8 * len(moment.groups) + 1000:
            self._counts, self._suppressed = {}, {}
        shown = []
        for chosen in found[page]:
            left = chosen.members
            if left is None:
                left = [alert for alert in chosen.group.members if alert.ends > moment.now]
            shown.append(_Chosen(chosen.group, chosen.count, heapq.nsmallest(most, left, key=_rank)))
        return len(found), sum(chosen.count.total for chosen in found), shown

    def _counted(self, group: _Group, now: int) -> _Count:
        version, count = self._counts.get(group.id, (-1, _NOTHING))
        if version != group.version or count.ends <= now:
            count = _count([alert for alert in group.members if alert.ends > now])
            self._counts[group.id] = group.version, count
        return count

    def _part(self, group: _Group, moment: _Moment, state: str) -> _Part:
        known = self._suppressed.get(group.id)
        if known is None or not known.holds(group, moment):
            muted, meets, now = group.muted, moment.silenced.meets, moment.now
            active: list[Alert] = []
            suppressed: list[Alert] = []
            for alert in group.members:
                if alert.ends > now:
                    (suppressed if alert.fingerprint in muted or meets(alert.labels) else active).append(alert)
            parts = _Part(_count(active), active), _Part(_count(suppressed), suppressed)
            good_until = min((part.count.ends for part in parts if part.members), default=NEVER)
            known = self._suppressed[group.id] = _Parted(
                group.version, group.muted, moment.silenced, good_until, *parts
            )
        return known.active if state == "active" else known.suppressed

    def _among(self, group: _Group, moment: _Moment, state: str) -> list[Alert]:
        """Members in a state; "" for all that fire."""
        if state in _PARTS:
            return self._part(group, moment, state).members
        firing = [alert for alert in group.members if alert.ends > moment.now]
        if not state:
            return firing
        wanted = state == "acknowledged"
        return [alert for alert in firing if moment.acknowledged(alert.fingerprint) == wanted]

    def _meets(self, alert: Alert, words: Iterable[str]) -> bool:
        if not words:
            return True
        known = self._texts.get(alert.fingerprint)
        # One fingerprint has one label set; a repeated report mostly says the same words.
        if known is None or (known[0] is not alert and known[0].annotations != alert.annotations):
            parts = [f"{k}={v}" for k, v in alert.labels.items()] + list(alert.annotations.values())
            known = self._texts[alert.fingerprint] = (alert, " ".join(parts).lower())
        return all(word in known[1] for word in words)

    def _shown_group(self, chosen: _Chosen, moment: _Moment, offset: int, each: int) -> dict[str, Any]:
        group, members = chosen.group, chosen.members or []
        return {
            "id": group.id,
            "labels": group.labels,
            "receiver": group.receiver,
            "total": chosen.count.total,
            "worst": members[0].labels.get("severity", "none"),
            "started": format_moment(chosen.count.started),
            "alerts": [self._shown(alert, group, moment) for alert in members[offset : offset + each]],
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


def _count(alerts: list[Alert]) -> _Count:
    if not alerts:
        return _NOTHING
    worst, newest, started, ends = 0, -NEVER, NEVER, NEVER
    for alert in alerts:
        rank, starts = _RANKS.get(alert.labels.get("severity", "none"), 0), alert.starts
        if rank < worst or (rank == worst and starts > newest):
            worst, newest = rank, starts
        started, ends = min(started, starts), min(ends, alert.ends)
    return _Count(len(alerts), (worst, -newest), started, ends)


def _rank(alert: Alert) -> _Rank:
    return _RANKS.get(alert.labels.get("severity", "none"), 0), -alert.starts


def register_routes(app: web.Application, router: AlertRouter) -> None:
    """Adds the address; to be called before addresses that begin with /api/v1/alerts/{fingerprint}."""
    app.router.add_get("/api/v1/alerts/groups", AlertGroupsApi(router).groups)
