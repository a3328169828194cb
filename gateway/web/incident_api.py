"""Incident groups over HTTP: the alerts that probably have one cause, and what people say about that.

    GET  /api/v1/incident-groups?state=open|closed&limit=
    GET  /api/v1/incident-groups/{id}
    POST /api/v1/incident-groups/{id}/merge   {"by", "groups": [id, …], "note"?}
    POST /api/v1/incident-groups/{id}/split   {"by", "fingerprints": […], "note"?}
    POST /api/v1/incident-groups/{id}/undo    {"by"}
    GET  /api/v1/topology                     calls between services, as seen in traces

A change answers with the groups it left, and is on disk then. An id that was merged away stands for the group it went
into.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.alerting.moments import format_moment
from gateway.alerting.router import AlertRouter
from gateway.errors import RequestError
from gateway.web.json_api import json_response
from gateway.web.posted import said

MAX_LIMIT: Final = 1000
DEFAULT_LIMIT: Final = 100
_STATES: Final = ("", "open", "closed")


class GroupMerge(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a merge."""

    by: str
    groups: list[str]
    note: str = ""


class GroupSplit(msgspec.Struct, forbid_unknown_fields=True):
    """Body of a split."""

    by: str
    fingerprints: list[str]
    note: str = ""


class GroupUndo(msgspec.Struct, forbid_unknown_fields=True):
    """Body of an undo."""

    by: str


def register_routes(app: web.Application, router: AlertRouter) -> None:
    """Adds the addresses."""
    api = IncidentApi(router)
    one = "/api/v1/incident-groups/{id}"
    app.router.add_get("/api/v1/incident-groups", api.groups)
    app.router.add_get(one, api.group)
    app.router.add_post(f"{one}/merge", api.merge)
    app.router.add_post(f"{one}/split", api.split)
    app.router.add_post(f"{one}/undo", api.undo)
    app.router.add_get("/api/v1/topology", api.topology)


class IncidentApi:
    """The handlers."""

    def __init__(self, router: AlertRouter) -> None:
        self._router = router

    async def groups(self, request: web.Request) -> web.Response:
        """Incident groups, newest change first, each with its likely cause."""
        state = request.query.get("state", "open")
        state = "" if state == "all" else state
        if state not in _STATES:
            raise RequestError('state must be "open", "closed" or "all"', reason="parameter")
        try:
            limit = int(request.query.get("limit", str(DEFAULT_LIMIT)))
        except ValueError as error:
            raise RequestError("limit must be a whole number", reason="parameter") from error
        return json_response(self._router.incidents.list_groups(state, min(max(limit, 1), MAX_LIMIT)))

    async def group(self, request: web.Request) -> web.Response:
        """One incident group: alerts, likely causes with reasons, what people did to it."""
        return json_response(self._router.incidents.show(request.match_info["id"]))

    async def merge(self, request: web.Request) -> web.Response:
        """Puts the alerts of other groups into this one, and teaches the correlation."""
        what = await said(request, GroupMerge)
        act = await self._router.acts.merge_incidents(request.match_info["id"], what.groups, what.by, what.note)
        return json_response(self._after(act.id, [act.target]))

    async def split(self, request: web.Request) -> web.Response:
        """Takes alerts out of this group into one of their own, and teaches the correlation."""
        what = await said(request, GroupSplit)
        act = await self._router.acts.split_incident(request.match_info["id"], what.fingerprints, what.by, what.note)
        return json_response(self._after(act.id, [*act.sources, act.target]))

    async def undo(self, request: web.Request) -> web.Response:
        """Takes back the last merge or split of this group, and what it taught."""
        what = await said(request, GroupUndo)
        act = await self._router.acts.undo_incident(request.match_info["id"], what.by)
        return json_response(self._after(act.id, [act.target, *act.sources]))

    async def topology(self, _request: web.Request) -> web.Response:
        """Calls between services as seen in traces."""
        edges = sorted(self._router.incidents.topology.edges, key=lambda edge: (edge.caller, edge.callee))
        return json_response(
            [
                {"caller": e.caller, "callee": e.callee, "calls": e.calls, "lastSeen": format_moment(e.last_seen)}
                for e in edges
            ]
        )

    def _after(self, act: str, names: list[str]) -> dict[str, Any]:
        incidents = self._router.incidents
        shown = [incidents.show(name) for name in dict.fromkeys(names) if incidents.correlator.find(name) is not None]
        return {"act": act, "groups": [group for group in shown if group["total"]]}
