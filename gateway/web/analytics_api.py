"""The analytics over HTTP.

    GET /api/v1/alerting/analytics?from=&to=&timezone=                      JSON
    GET /api/v1/alerting/report?from=&to=&timezone=&format=markdown|html    for people

`from` and `to` are Unix seconds, ISO 8601 or relative as `-7d`; without them the last seven days. Answers are computed
in a thread, one at a time. Errors of the tree are answered by the application's middleware.
"""

from __future__ import annotations

import asyncio
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from aiohttp import web

from gateway.alerting.analytics import Analytics, analyse
from gateway.alerting.analytics_report import markdown, page
from gateway.alerting.moments import SECOND
from gateway.alerting.router import AlertRouter
from gateway.errors import RequestError
from gateway.web.json_api import json_response
from gateway.web.query_parameters import parse_time

DEFAULT_DAYS: Final = 7
_POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'"
"""The report runs nothing and fetches nothing, whatever stands in a label."""
_LATEST: Final = 4102444800.0  # 2100: later moments are slips, and nanoseconds must fit into 64 bits


def register_routes(app: web.Application, router: AlertRouter) -> None:
    """Adds the two addresses."""
    api = AnalyticsApi(router)
    app.router.add_get("/api/v1/alerting/analytics", api.analytics)
    app.router.add_get("/api/v1/alerting/report", api.report)


class AnalyticsApi:
    """The handlers."""

    def __init__(self, router: AlertRouter) -> None:
        self._router = router
        self._one = asyncio.Lock()

    async def analytics(self, request: web.Request) -> web.Response:
        """GET …/analytics"""
        return json_response(await self._analyse(request))

    async def report(self, request: web.Request) -> web.Response:
        """GET …/report"""
        wanted = request.query.get("format", "html")
        if wanted not in ("markdown", "html"):
            raise RequestError(f"format={wanted!r}: expected markdown or html", reason="parameter")
        found = await self._analyse(request)
        if wanted == "markdown":
            return web.Response(text=markdown(found), content_type="text/markdown")
        return web.Response(text=page(found), content_type="text/html", headers={"Content-Security-Policy": _POLICY})

    async def _analyse(self, request: web.Request) -> Analytics:
        now = self._router.clock.time_ns()
        until = _moment(request, "to", now)
        since = _moment(request, "from", until - DEFAULT_DAYS * 86400 * SECOND)
        name = request.query.get("timezone", "UTC")
        try:
            zone = ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise RequestError(f"timezone={name!r} is not known", reason="parameter") from None
        await self._router.commit()
        async with self._one:
            return await asyncio.to_thread(analyse, self._router.store, since, until, zone=zone, zone_name=name)


def _moment(request: web.Request, name: str, default: int) -> int:
    text = request.query.get(name, "")
    if not text:
        return default
    seconds = parse_time(text, name)
    if not 0 <= seconds <= _LATEST:
        raise RequestError(f"{name}={text!r} is out of range", reason="parameter")
    return round(seconds * SECOND)
