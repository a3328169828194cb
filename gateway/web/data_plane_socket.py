"""The data plane's own small HTTP interface on a Unix socket, for the control plane alone.

The socket lives in the data directory with mode 0600; what it serves is not a public interface and may change with
any version, since both ends are always of one version.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
import structlog
from aiohttp import web

from gateway import selfmetrics
from gateway.errors import GatewayError, StateError
from gateway.telemetry.call_edge import CallEdge
from gateway.telemetry.history_samples import HistorySamples
from gateway.telemetry.label_groups import LabelGroups
from gateway.telemetry.selector import LabelMatcher, parse_selector

log = structlog.get_logger(__name__)


class DataPlaneView(Protocol):
    """What the data plane shows of itself."""

    def status(self) -> dict[str, Any]:
        """The contract's /api/v1/status."""
        ...

    def accepted(self) -> int:
        """The status' accepted points alone."""
        ...

    def series(self, matchers: tuple[LabelMatcher, ...], limit: int) -> list[dict[str, Any]]:
        """Active series with id and labels; runs in a thread."""
        ...

    def label_groups(self, names: Sequence[str]) -> LabelGroups:
        """Active series counted by the values of some labels; runs in a thread."""
        ...

    def history(
        self, matchers: tuple[LabelMatcher, ...], start_ms: int, end_ms: int, limit: int
    ) -> list[HistorySamples]:
        """Samples from the embedded log; runs in a thread."""
        ...

    def calls(self) -> list[CallEdge]:
        """Call edges between services; runs in a thread."""
        ...

    def senders(self) -> list[dict[str, Any]]:
        """Who sends: rate, delay, series, SDK; runs in a thread."""
        ...

    def ready(self) -> str:
        """Empty when ready, else what is not."""
        ...


def build_data_plane_app(view: DataPlaneView, clients: Callable[[], list[dict[str, Any]]] = list) -> web.Application:
    """The application behind the socket. clients: the receivers' table of clients."""
    app = web.Application()

    async def status(_: web.Request) -> web.Response:
        return _json(view.status())

    async def accepted(_: web.Request) -> web.Response:
        return _json(view.accepted())

    async def ready(_: web.Request) -> web.Response:
        problem = view.ready()
        return _json({"problem": problem}, status=503 if problem else 200)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(body=selfmetrics.exposition(), content_type="application/openmetrics-text")

    async def series(request: web.Request) -> web.Response:
        matchers = parse_selector(request.query.get("match", ""))
        limit = int(request.query.get("limit", "1000"))

        def lines() -> bytes:
            return b"\n".join([msgspec.json.encode(one) for one in view.series(matchers, limit)])

        return web.Response(body=await asyncio.to_thread(lines), content_type="application/x-ndjson")

    async def groups(request: web.Request) -> web.Response:
        names = request.query.getall("name", [])
        body = await asyncio.to_thread(lambda: msgspec.msgpack.encode(view.label_groups(names)))
        return web.Response(body=body, content_type="application/msgpack")

    async def calls(_: web.Request) -> web.Response:
        found = await asyncio.to_thread(view.calls)
        return web.Response(body=msgspec.json.encode(found), content_type="application/json")

    async def history(request: web.Request) -> web.Response:
        query = request.query
        found = await asyncio.to_thread(
            view.history,
            parse_selector(query.get("match", "")),
            int(query["start_ms"]),
            int(query["end_ms"]),
            int(query.get("limit", "100")),
        )
        return web.Response(body=msgspec.json.encode(found), content_type="application/json")

    async def senders(_: web.Request) -> web.Response:
        return _json({"senders": await asyncio.to_thread(view.senders), "clients": clients()})

    for path, handler in {
        "/senders": senders,
        "/status": status,
        "/accepted": accepted,
        "/ready": ready,
        "/metrics": metrics,
        "/series": series,
        "/series/groups": groups,
        "/history": history,
        "/calls": calls,
    }.items():
        app.router.add_get(path, _declared(handler))
    return app


def _declared(handler: Any) -> Any:
    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            response: web.StreamResponse = await handler(request)
            return response
        except GatewayError as error:
            return _json({"error": str(error), "reason": error.reason}, status=error.http_status)

    return answer


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(
        body=json.dumps(value, allow_nan=False).encode(), status=status, content_type="application/json"
    )


class DataPlaneSocket:
    """Serves `build_data_plane_app` on a Unix socket; start, then stop (idempotent)."""

    def __init__(self, view: DataPlaneView, path: Path, clients: Callable[[], list[dict[str, Any]]] = list) -> None:
        self._path = path
        self._runner = web.AppRunner(build_data_plane_app(view, clients), access_log=None)
        self._started = False

    async def start(self) -> None:
        """Bind; replaces a socket file that a killed process left. Raises StateError where a directory stands there."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._path.unlink(missing_ok=True)
        except IsADirectoryError as error:
            raise StateError(f"{self._path}: a directory; move it away and start again") from error
        await self._runner.setup()
        await web.UnixSite(self._runner, str(self._path)).start()
        self._path.chmod(0o600)
        self._started = True

    async def stop(self) -> None:
        """Close; the file goes with it."""
        if self._started:
            self._started = False
            await self._runner.cleanup()
            self._path.unlink(missing_ok=True)
