"""A small real remote write server that answers as it is told and checks what it gets."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from email.utils import formatdate

from aiohttp import web

from gateway.forward.remote_write_encoder import decode_request, decompress

Script = Callable[[int], "web.Response | str | float | None"]
"""Number of the write (from 0) → an answer, "reset" to break the connection, seconds to wait first, None for 204."""


class Target:
    """Answers on a port of its own. Stored samples stand in `samples`: format of labels → list of (ms, value)."""

    def __init__(self, script: Script = lambda number: None, *, zstd: bool = False) -> None:
        self.script, self.zstd = script, zstd
        self.writes = 0
        self.requests: list[dict[str, str]] = []
        self.samples: dict[str, list[tuple[int, float]]] = {}
        self.label_sets = 0
        """TimeSeries messages taken."""
        self.in_flight = self.most_in_flight = 0
        self.start_time: float | None = 1_700_000_000.0
        self.told_at: float | None = None
        """What its Date header says on /metrics; None: the true time."""
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        app = web.Application(client_max_size=2**28)
        app.router.add_post("/api/v1/write", self._write)
        app.router.add_get("/api/v1/write", self._protocol)
        app.router.add_get("/metrics", self._metrics)
        self._runner = web.AppRunner(app, shutdown_timeout=0.2, auto_decompress=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def restart_empty(self) -> None:
        """As a process that had everything in memory only."""
        await self.stop()
        await self.start_empty()

    async def start_empty(self) -> None:
        """A new process without memory."""
        self.samples.clear()
        if self.start_time is not None:
            self.start_time += 10.0
        await self.start()

    async def _metrics(self, request: web.Request) -> web.Response:
        if self.start_time is None:
            return web.Response(status=404)
        headers = {} if self.told_at is None else {"Date": formatdate(self.told_at, usegmt=True)}
        return web.Response(text=f"vm_app_start_timestamp {self.start_time:.0f}\n", headers=headers)

    async def _protocol(self, request: web.Request) -> web.Response:
        if self.zstd and request.query.get("get_vm_proto_version") == "1":
            return web.Response(text="1")
        return web.Response(status=400, text="missing body")

    async def _write(self, request: web.Request) -> web.Response:
        number, self.writes = self.writes, self.writes + 1
        self.requests.append(dict(request.headers))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            body = await request.read()
            encoding = request.headers["Content-Encoding"]
            if request.headers["Content-Type"] != "application/x-protobuf":
                return web.Response(status=415, text="content type")
            if encoding not in (("zstd", "snappy") if self.zstd else ("snappy",)):
                return web.Response(status=400, text="cannot decompress")
            told = self.script(number)
            if isinstance(told, float):
                await asyncio.sleep(told)
                told = None
            if told == "reset":
                assert request.transport is not None
                request.transport.abort()
                return web.Response(status=500)
            if isinstance(told, web.Response):
                return told
            for labels, samples in decode_request(decompress(body, encoding)):
                assert labels.get("__name__")
                assert list(labels) == sorted(labels)
                self.label_sets += 1
                self.samples.setdefault(str(labels), []).extend(samples)
            return web.Response(status=204)
        finally:
            self.in_flight -= 1
