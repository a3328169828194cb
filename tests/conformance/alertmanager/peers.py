"""Real programs and a real receiver to compare the router with."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.alerting.router import AlertRouter
from gateway.alerting.settings import AlertingSettings
from gateway.clock import SystemClock
from gateway.web.alertmanager_api import register_routes
from tests.peers import free_port

ALERTMANAGER = shutil.which("prometheus-alertmanager")
AMTOOL = shutil.which("amtool")
PROMETHEUS = shutil.which("prometheus")
needs_alertmanager = pytest.mark.skipif(
    ALERTMANAGER is None, reason="Debian package prometheus-alertmanager is missing"
)
needs_amtool = pytest.mark.skipif(AMTOOL is None, reason="Debian package prometheus-alertmanager (amtool) is missing")
needs_prometheus = pytest.mark.skipif(PROMETHEUS is None, reason="Debian package prometheus is missing")


READY_SECONDS = 60.0
"""How long a program may take until it answers."""


class Receiver:
    """A webhook server that keeps what it is told, by path, and can fail the first requests to a path."""

    def __init__(self) -> None:
        self.told: dict[str, list[dict[str, Any]]] = {}
        self.headers: dict[str, list[dict[str, str]]] = {}
        self.raw: dict[str, list[bytes]] = {}
        self.arrived: dict[str, list[float]] = {}
        """When, on the loop's clock."""
        self.failures: dict[str, list[web.Response]] = {}
        self.url = ""

    async def _take(self, request: web.Request) -> web.Response:
        path, now = request.path.strip("/"), asyncio.get_running_loop().time()
        waiting = self.failures.get(path)
        if waiting:
            return waiting.pop(0)
        self.told.setdefault(path, []).append(await request.json())
        self.arrived.setdefault(path, []).append(now)
        self.headers.setdefault(path, []).append(dict(request.headers))
        self.raw.setdefault(path, []).append(await request.read())
        return web.Response()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Receiver]:
        app = web.Application(client_max_size=2**28)
        app.router.add_route("*", "/{path:.*}", self._take)
        async with served(app) as url:
            self.url = url
            yield self


@contextlib.asynccontextmanager
async def served(app: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(app, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def our_router(
    directory: Path, configuration: str = "", prefix: str = "", **settings: Any
) -> AsyncIterator[tuple[str, AlertRouter]]:
    """The router and its API on a free port."""
    if configuration:
        path = directory / "alertmanager.yml"
        path.write_text(configuration)
        settings["config_file"] = str(path)
    router = AlertRouter(AlertingSettings(**settings), directory / "state", SystemClock())
    await router.start()
    try:
        app = web.Application()
        register_routes(app, router, prefix)
        async with served(app) as url:
            yield url + prefix, router
    finally:
        await router.stop()


@contextlib.asynccontextmanager
async def process(*command: str, ready: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A program, once `ready` answers 200."""
    running = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
    )
    try:
        async with aiohttp.ClientSession() as session:
            deadline = asyncio.get_running_loop().time() + READY_SECONDS
            while asyncio.get_running_loop().time() < deadline:
                assert running.returncode is None, f"{command[0]} ended with {running.returncode}"
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(ready) as answer:
                        if answer.status == 200:
                            break
                await asyncio.sleep(0.05)
            else:
                pytest.fail(f"{command[0]} is not ready")
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.terminate()
        await running.wait()


@contextlib.asynccontextmanager
async def real_alertmanager(directory: Path, configuration: str) -> AsyncIterator[str]:
    path = directory / "real.yml"
    path.write_text(configuration)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    async with process(
        str(ALERTMANAGER),
        f"--config.file={path}",
        f"--storage.path={directory / 'real'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
        "--log.level=error",
        ready=f"{url}/-/ready",
    ):
        yield url


async def eventually(condition: Any, seconds: float = 20.0) -> None:
    """Waits until the condition holds, with a deadline."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, "did not come true in time"
        await asyncio.sleep(0.02)
