"""The JSON API of the control plane that is our own: health, status, anomalies, series, history, metrics, reload."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any

import msgspec
from aiohttp import web

from gateway import selfmetrics
from gateway.errors import GatewayError, NotFound, RequestError, Unavailable
from gateway.telemetry.anomaly import SEVERITIES, Anomaly
from gateway.telemetry.selector import parse_selector
from gateway.web.anomaly_feed import AnomalyFeed
from gateway.web.data_plane_client import DataPlaneClient
from gateway.web.history import MAX_SERIES, HistorySource

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

MAX_LIMIT = 10_000
_MAX_DIGITS = 18
_MAX_TIME = 253_402_300_800.0
"""The end of the year 9999, in Unix seconds."""


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


def parse_time(text: str, name: str) -> float:
    """Unix seconds from Unix seconds, ISO 8601, or a relative `-15m` / `now`. Raises RequestError."""
    try:
        found = _time_of(text)
    except (ValueError, OverflowError, OSError):
        found = math.nan
    if not math.isfinite(found) or abs(found) > _MAX_TIME:
        raise RequestError(
            f'{name}={text[:100]!r} is not a time; expected Unix seconds, ISO 8601, or "-15m"', reason="parameter"
        )
    return found


def _time_of(text: str) -> float:
    if text == "now":
        return time.time()
    if text.startswith("-") and text[-1:] in "smhd" and _is_whole(text[1:-1]):
        return time.time() - int(text[1:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[text[-1]]
    try:
        return float(text)
    except ValueError:
        return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS


def _whole(request: web.Request, name: str, default: int, most: int) -> int:
    text = request.query.get(name, "")
    if not text:
        return default
    if not _is_whole(text) or int(text) < 1:
        raise RequestError(f"{name}={text[:100]!r}: expected a whole number from 1", reason="parameter")
    return min(int(text), most)


class JsonApi:
    """Handlers and what they need; `routes` puts them on an application."""

    def __init__(
        self,
        data_plane: DataPlaneClient,
        anomalies: AnomalyFeed,
        history: HistorySource,
        *,
        version: str,
        reload: Callable[[], Awaitable[dict[str, Any]]],
        configuration: Callable[[], dict[str, Any]],
    ) -> None:
        self._data_plane = data_plane
        self._anomalies = anomalies
        self._history = history
        self._version = version
        self._reload = reload
        self._configuration = configuration

    def routes(self) -> list[web.RouteDef]:
        """All routes of this API."""
        return [
            web.get("/-/healthy", self.healthy),
            web.get("/-/ready", self.ready),
            web.post("/-/reload", self.reload),
            web.get("/metrics", self.metrics),
            web.get("/api/v1/status", self.status),
            web.get("/api/v1/anomalies", self.anomalies),
            web.get("/api/v1/anomalies/{id}", self.anomaly),
            web.get("/api/v1/series", self.series),
            web.get("/api/v1/history", self.history),
            web.get("/api/v1/configuration", self.configuration),
        ]

    async def healthy(self, _: web.Request) -> web.Response:
        """200 while this process answers."""
        return web.Response(text="ok\n")

    async def ready(self, _: web.Request) -> web.Response:
        """200 while the data plane makes progress and can accept."""
        problem = await self._data_plane.ready()
        return web.Response(text=problem or "ready", status=503 if problem else 200)

    async def reload(self, _: web.Request) -> web.Response:
        """Read the configuration again; what can change without a restart does."""
        return json_response(await self._reload())

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
        """The data plane's counts, asked for now."""
        status = await self._data_plane.status()
        status["version"] = self._version
        status["open_anomalies"] = len(self._anomalies.newest(limit=MAX_LIMIT, state="firing"))
        return json_response(status)

    async def anomalies(self, request: web.Request) -> web.Response:
        """Newest first."""
        severity = request.query.get("severity") or None
        if severity is not None and severity not in SEVERITIES:
            raise RequestError(f"severity={severity!r}: expected one of {', '.join(SEVERITIES)}", reason="parameter")
        state = request.query.get("state") or None
        if state not in (None, "firing", "resolved"):
            raise RequestError(f"state={state!r}: expected firing or resolved", reason="parameter")
        since = request.query.get("since", "")
        found = self._anomalies.newest(
            since=parse_time(since, "since") if since else 0.0,
            limit=_whole(request, "limit", 100, MAX_LIMIT),
            severity=severity,
            state=state,
        )
        return json_response(found)

    async def anomaly(self, request: web.Request) -> web.Response:
        """One anomaly."""
        found: Anomaly | None = self._anomalies.get(request.match_info["id"])
        if found is None:
            raise NotFound(f"no anomaly {request.match_info['id']}")
        return json_response(found)

    async def series(self, request: web.Request) -> web.Response:
        """Active series with id and labels."""
        match = request.query.get("match", "")
        parse_selector(match)
        return json_response(await self._data_plane.series(match, _whole(request, "limit", 1000, 100_000)))

    async def history(self, request: web.Request) -> web.Response:
        """Samples with expected, lower, upper and score."""
        match = request.query.get("match", "")
        parse_selector(match)
        end = parse_time(request.query.get("end") or "now", "end")
        start = parse_time(request.query.get("start") or str(end - 3600), "start")
        if start >= end:
            raise RequestError("start is not before end", reason="parameter")
        limit = _whole(request, "limit", 20, MAX_SERIES)
        bands = request.query.get("bands") or "recorded"
        if bands not in ("recorded", "recomputed"):
            raise RequestError(f"bands={bands!r}: expected recorded or recomputed", reason="parameter")
        found = await self._history.history(
            match, round(start * 1000), round(end * 1000), limit, recompute=bands == "recomputed"
        )
        return json_response(found)

    async def configuration(self, _: web.Request) -> web.Response:
        """Every value with its source; secrets as stars."""
        return json_response(self._configuration())


def merge_expositions(first: bytes, second: bytes) -> bytes:
    """Two OpenMetrics texts without their end marks as one.

    A family present in both (both processes count task failures) keeps one header; samples of the second get the
    label `plane="data"`, those of the first `plane="control"`, so that they stay apart.
    """
    shared = _families(first).keys() & _families(second).keys()
    out: list[bytes] = []
    seconds = _families(second)
    for name, lines in _families(first).items():
        out.extend(lines if name not in shared else [_labelled(line, "control") for line in lines])
        if name in shared:
            out.extend(_labelled(line, "data") for line in seconds[name] if not line.startswith(b"#"))
    for name, lines in seconds.items():
        if name not in shared:
            out.extend(lines)
    return b"\n".join(out) + b"\n"


def _families(text: bytes) -> dict[bytes, list[bytes]]:
    families: dict[bytes, list[bytes]] = {}
    current = b""
    for line in text.splitlines():
        if line.startswith((b"# HELP ", b"# TYPE ")):
            current = line.split(b" ", 3)[2]
        families.setdefault(current, []).append(line)
    return families


def _labelled(line: bytes, plane: str) -> bytes:
    if line.startswith(b"#"):
        return line
    label = f'plane="{plane}"'.encode()
    end = line.find(b" ")
    brace = line.find(b"{")
    if 0 <= brace < end:
        return line[: brace + 1] + label + b"," + line[brace + 1 :]
    return line[:end] + b"{" + label + b"}" + line[end:]
