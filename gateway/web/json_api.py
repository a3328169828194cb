"""The JSON API of the control plane that is our own: health, status, anomalies, series, history, metrics, reload."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, cast, get_args

import msgspec
from aiohttp import web

from gateway import selfmetrics
from gateway.errors import GatewayError, NotFound, RequestError, Unavailable
from gateway.telemetry.anomaly import SEVERITIES, Anomaly
from gateway.telemetry.selector import parse_selector
from gateway.web.anomaly_feed import AnomalyFeed
from gateway.web.complete_status import StatusSource
from gateway.web.data_plane_client import DataPlaneClient
from gateway.web.exposition import merge_expositions
from gateway.web.history import MAX_SERIES, Bands, HistorySource
from gateway.web.query_parameters import one_of, parse_time, whole_number

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_LIMIT = 10_000


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> web.Response:
    """A JSON answer; NaN and infinities become null, as JSON has neither."""
    return web.Response(
        body=msgspec.json.encode(value), status=status, headers=headers, content_type="application/json"
    )


@web.middleware
async def declared_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Errors of our tree as JSON with their status; everything else is aiohttp's."""
    try:
        return await handler(request)
    except GatewayError as error:
        headers = {}
        if error.http_status in (429, 503):
            headers["Retry-After"] = str(max(1, round(getattr(error, "retry_after", 1.0))))
        return json_response({"error": str(error), "reason": error.reason}, error.http_status, headers)


class JsonApi:
    """Handlers and what they need; `routes` puts them on an application."""

    def __init__(
        self,
        data_plane: DataPlaneClient,
        anomalies: AnomalyFeed,
        history: HistorySource,
        *,
        status: StatusSource,
        version: str,
        surroundings: Callable[[Anomaly], dict[str, Any]] = lambda _: {},
    ) -> None:
        """status: of the whole program; surroundings: what else there is to show of an anomaly (its context, people's
        verdicts)."""
        self._data_plane = data_plane
        self._anomalies = anomalies
        self._history = history
        self._status = status
        self._version = version
        self._surroundings = surroundings

    def routes(self) -> list[web.RouteDef]:
        """All routes of this API."""
        return [
            web.get("/-/healthy", self.healthy),
            web.get("/-/ready", self.ready),
            web.get("/metrics", self.metrics),
            web.get("/api/v1/status", self.status),
            web.get("/api/v1/anomalies", self.anomalies),
            web.get("/api/v1/anomalies/{id}", self.anomaly),
            web.get("/api/v1/series", self.series),
            web.get("/api/v1/history", self.history),
        ]

    async def healthy(self, _: web.Request) -> web.Response:
        """200 while this process answers."""
        return web.Response(text="ok\n")

    async def ready(self, _: web.Request) -> web.Response:
        """200 while the data plane makes progress and can accept."""
        problem = await self._data_plane.ready()
        return web.Response(text=problem or "ready", status=503 if problem else 200)

    async def metrics(self, _: web.Request) -> web.Response:
        """Own metrics of both planes, one OpenMetrics exposition; the data plane's part is absent while it is down."""
        own = selfmetrics.exposition().removesuffix(b"# EOF\n")
        try:
            other = await self._data_plane.metrics()
            up = 1
        except Unavailable:
            other, up = b"# EOF\n", 0
        body = merge_expositions(own, other.removesuffix(b"# EOF\n"))
        body += b"# HELP gateway_data_plane_up Whether the data plane answers.\n# TYPE gateway_data_plane_up gauge\n"
        body += f"gateway_data_plane_up {up}\n# EOF\n".encode()
        return web.Response(
            body=body, headers={"Content-Type": "application/openmetrics-text; version=1.0.0; charset=utf-8"}
        )

    async def status(self, _: web.Request) -> web.Response:
        """Counts, asked for now."""
        status = await self._status.status()
        status["version"] = self._version
        status["open_anomalies"] = self._anomalies.open_count
        return json_response(status)

    async def anomalies(self, request: web.Request) -> web.Response:
        """Newest first."""
        severity = one_of(request, "severity", SEVERITIES) or None
        state = one_of(request, "state", ("firing", "resolved")) or None
        since = request.query.get("since", "")
        found = self._anomalies.newest(
            since=parse_time(since, "since") if since else 0.0,
            limit=whole_number(request, "limit", 100, MAX_LIMIT),
            severity=severity,
            state=state,
        )
        return json_response([self._shown(anomaly) for anomaly in found])

    async def anomaly(self, request: web.Request) -> web.Response:
        """One anomaly."""
        found: Anomaly | None = self._anomalies.get(request.match_info["id"])
        if found is None:
            raise NotFound(f"no anomaly {request.match_info['id']}")
        return json_response(self._shown(found))

    def _shown(self, anomaly: Anomaly) -> dict[str, Any]:
        shown: dict[str, Any] = msgspec.to_builtins(anomaly)
        return shown | self._surroundings(anomaly)

    async def series(self, request: web.Request) -> web.Response:
        """Active series with id and labels."""
        match = request.query.get("match", "")
        parse_selector(match)
        return json_response(await self._data_plane.series(match, whole_number(request, "limit", 1000, 100_000)))

    async def history(self, request: web.Request) -> web.Response:
        """Samples with expected, lower, upper and score."""
        match = request.query.get("match", "")
        parse_selector(match)
        end = parse_time(request.query.get("end") or "now", "end")
        start = parse_time(request.query.get("start") or str(end - 3600), "start")
        if start >= end:
            raise RequestError("start is not before end", reason="parameter")
        limit = whole_number(request, "limit", 20, MAX_SERIES)
        bands = cast(Bands, one_of(request, "bands", get_args(Bands), "recorded"))
        found = await self._history.history(match, round(start * 1000), round(end * 1000), limit, bands)
        return json_response(found)
