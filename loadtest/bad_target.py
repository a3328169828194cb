"""A reverse proxy before VictoriaMetrics that misbehaves on request. Runs in a thread of its own."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from dataclasses import dataclass
from typing import Final

import aiohttp
from aiohttp import web

_HOP_BY_HOP = {"host", "content-length", "connection", "transfer-encoding", "accept-encoding"}
_PASSED: Final = ("content-type", "content-encoding", "date")
"""Headers of an answer that are passed on: without the encoding a compressed one cannot be read."""


@dataclass(slots=True)
class Behaviour:
    """What is done to the next writes; set from outside at any time."""

    status: int = 0
    """Answer writes with this instead of handing them on; 0 = hand on."""
    times: int = -1
    """For so many writes, then hand on again; -1 = until told otherwise."""
    reset_after_bytes: int = -1
    """Break the connection after having handed on the write, before its answer (>= 0)."""
    delay: float = 0.0
    """Seconds before an answer."""
    bytes_per_second: int = 0
    """Read writes so slowly, and hand on none of them; 0 = as fast as they come."""
    silent: bool = False
    """Take writes and never answer, nor hand them on, as long as this behaviour lasts."""
    answered_wrongly: int = 0
    """Writes that were treated so."""


class BadTarget:
    """Listens on a free port; `url` is what the gateway is given."""

    def __init__(self, target: str) -> None:
        self._target = target
        self.behaviour = Behaviour()
        self.url = ""
        self.taken = 0
        """Writes that were handed on and answered."""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._serve, name="bad-target", daemon=True)

    def start(self) -> None:
        """Returns once it listens."""
        self._thread.start()
        self._ready.wait(10)

    def stop(self) -> None:
        """Ends the thread."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._main())

    async def _main(self) -> None:
        async with aiohttp.ClientSession(auto_decompress=False) as self._session:
            application = web.Application(client_max_size=1 << 28)
            application.router.add_route("*", "/{path:.*}", self._handle)
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0, auto_decompress=False)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
            self._ready.set()
            await self._stop.wait()
            await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        behaviour = self.behaviour
        write = request.method == "POST"
        if write and (behaviour.bytes_per_second or behaviour.silent):
            behaviour.answered_wrongly += 1
            await self._starve(request, behaviour)
            return web.Response(status=502)
        body = await request.read()
        behaviour = self.behaviour
        if write and behaviour.status and behaviour.times != 0:
            behaviour.times -= 1 if behaviour.times > 0 else 0
            behaviour.answered_wrongly += 1
            return web.Response(status=behaviour.status, text="told to answer so")
        if write and behaviour.delay:
            behaviour.answered_wrongly += 1
            await asyncio.sleep(behaviour.delay)
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOP_BY_HOP}
        try:
            async with self._session.request(
                request.method, self._target + request.path_qs, data=body or None, headers=headers
            ) as answer:
                content = await answer.read()
                status, told = answer.status, {k: v for k, v in answer.headers.items() if k.lower() in _PASSED}
        except aiohttp.ClientError:
            self._drop(request)
            return web.Response(status=502)
        if write and behaviour.reset_after_bytes >= 0:
            behaviour.answered_wrongly += 1
            self._drop(request)
        self.taken += write
        return web.Response(status=status, body=content, headers=told)

    async def _starve(self, request: web.Request, behaviour: Behaviour) -> None:
        """Read slowly, or not at all, until another behaviour is asked for; then break the connection."""
        pause = 1.0 / behaviour.bytes_per_second if behaviour.bytes_per_second else 0.1
        while self.behaviour is behaviour and request.transport is not None:
            if behaviour.bytes_per_second and not request.content.at_eof():
                with contextlib.suppress(aiohttp.ClientError, web.RequestPayloadError):
                    await request.content.read(1)
            await asyncio.sleep(pause)
        self._drop(request)

    def _drop(self, request: web.Request) -> None:
        """Close without an answer: what a dying server looks like."""
        if request.transport is not None:
            request.transport.abort()
