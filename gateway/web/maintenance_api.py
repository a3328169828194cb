"""Maintenance windows and suppressions over HTTP.

    GET    /api/v1/maintenance
    POST   /api/v1/maintenance                {"name", "by", "matchers", "start"?, "end"?, "recurring"?, "comment"?}
    GET    /api/v1/maintenance/{id}
    PUT    /api/v1/maintenance/{id}           the same body: replaces the window
    DELETE /api/v1/maintenance/{id}           ends it now; idempotent
    GET    /api/v1/suppressions?limit=
    POST   /api/v1/suppressions/{id}/release  {"by"}

`recurring` is a list of parts of a time interval as alertmanager.yml writes them (times, weekdays, days_of_month,
months, years, location). Errors of the tree are answered by the application's middleware.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.alerting.document import read_document
from gateway.alerting.maintenance import Window
from gateway.alerting.matcher import Matcher, parse_matchers
from gateway.alerting.moments import NEVER, format_moment, parse_moment
from gateway.alerting.mute_interval import IntervalPart, read_part, shown_part
from gateway.alerting.router import AlertRouter
from gateway.alerting.suppressions import present_suppressions
from gateway.errors import ConfigError, RequestError
from gateway.web.json_api import json_response
from gateway.web.posted import said

MAX_LIMIT: Final = 10_000
MAX_RECURRING: Final = 16 * 1024


class PostedWindow(msgspec.Struct, forbid_unknown_fields=True):
    """A maintenance window as people send it."""

    name: str
    by: str
    matchers: list[str]
    start: str = ""
    end: str = ""
    recurring: list[dict[str, Any]] = []
    comment: str = ""


class Release(msgspec.Struct, forbid_unknown_fields=True):
    """Who takes a suppression back."""

    by: str


def register_routes(app: web.Application, router: AlertRouter, prefix: str = "") -> None:
    """Adds `prefix`/api/v1/maintenance… and /api/v1/suppressions…"""
    api = MaintenanceApi(router)
    base = f"{prefix}/api/v1/maintenance"
    app.router.add_get(base, api.windows)
    app.router.add_post(base, api.create)
    app.router.add_get(f"{base}/{{id}}", api.window)
    app.router.add_put(f"{base}/{{id}}", api.replace)
    app.router.add_delete(f"{base}/{{id}}", api.expire)
    app.router.add_get(f"{prefix}/api/v1/suppressions", api.suppressions)
    app.router.add_post(f"{prefix}/api/v1/suppressions/{{id}}/release", api.release)


class MaintenanceApi:
    """The handlers."""

    def __init__(self, router: AlertRouter) -> None:
        self._router = router

    async def windows(self, _request: web.Request) -> web.Response:
        """GET /maintenance: the windows, with their state."""
        now = self._router.clock.time_ns()
        windows = sorted(self._router.maintenance, key=lambda window: (window.ends <= now, window.starts, window.id))
        return json_response([_shown(window, now) for window in windows])

    async def create(self, request: web.Request) -> web.Response:
        """POST /maintenance: a new maintenance window."""
        return await self._set(request, "", 201)

    async def window(self, request: web.Request) -> web.Response:
        """GET /maintenance/{id}: one window."""
        window = self._router.maintenance.get(request.match_info["id"])
        return json_response(_shown(window, self._router.clock.time_ns()))

    async def replace(self, request: web.Request) -> web.Response:
        """PUT /maintenance/{id}: changes a window as a whole."""
        return await self._set(request, request.match_info["id"], 200)

    async def _set(self, request: web.Request, window_id: str, status: int) -> web.Response:
        now = self._router.clock.time_ns()
        window = await said(request, PostedWindow)
        try:
            wanted = Window(
                id=window_id,
                name=window.name,
                matchers=_matchers(window.matchers),
                starts=(parse_moment(window.start) if window.start else 0) or now,
                ends=(parse_moment(window.end) if window.end else 0) or NEVER,
                recurring=_parts(window.recurring),
                created_by=window.by,
                comment=window.comment,
            )
        except ValueError as error:
            raise RequestError(str(error)) from error
        window_id = await self._router.acts.set_maintenance(wanted)
        return json_response(_shown(self._router.maintenance.get(window_id), now), status)

    async def expire(self, request: web.Request) -> web.Response:
        """DELETE /maintenance/{id}: ends a window now."""
        window_id = request.match_info["id"]
        await self._router.acts.expire_maintenance(window_id)
        return json_response(_shown(self._router.maintenance.get(window_id), self._router.clock.time_ns()))

    async def suppressions(self, request: web.Request) -> web.Response:
        """GET /suppressions: what fires and is not told, and why."""
        try:
            limit = min(max(int(request.query.get("limit", "1000")), 0), MAX_LIMIT)
        except ValueError as error:
            raise RequestError("limit must be a whole number") from error
        router = self._router
        return json_response(await present_suppressions(router.engine, router.fatigue, router.clock.time_ns(), limit))

    async def release(self, request: web.Request) -> web.Response:
        """POST /suppressions/{id}/release: tells it at once; "storm" and "budget" release all of these."""
        wanted = await said(request, Release)
        return json_response({"released": await self._router.acts.release(request.match_info["id"], wanted.by)})


def _matchers(texts: list[str]) -> tuple[Matcher, ...]:
    return tuple(matcher for text in texts for matcher in parse_matchers(text))


def _parts(items: list[dict[str, Any]]) -> tuple[IntervalPart, ...]:
    # Before it is read, which takes a hundred times as long: what recurs has a bounded number of spans.
    if len(msgspec.json.encode(items)) > MAX_RECURRING:
        raise RequestError(f'"recurring" has more than {MAX_RECURRING} bytes')
    try:
        # JSON is YAML; numbers and texts are read alike.
        return tuple(
            read_part(read_document(msgspec.json.encode(item).decode(), "recurring").section()) for item in items
        )
    except ConfigError as error:
        raise RequestError(str(error)) from error


def _shown(window: Window, now: int) -> dict[str, Any]:
    return {
        "id": window.id,
        "name": window.name,
        "state": window.state(now),
        "matchers": [str(matcher) for matcher in window.matchers],
        "start": format_moment(window.starts),
        "end": None if window.ends == NEVER else format_moment(window.ends),
        "recurring": [shown_part(part) for part in window.recurring],
        "by": window.created_by,
        "comment": window.comment,
        "declared": None if window.declared is None else {"sender": window.declared.sender, "id": window.declared.id},
        "updatedAt": format_moment(window.updated),
    }
