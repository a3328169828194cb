"""kill -9 at random moments while alerts are posted, told and ended: nothing accepted may be lost.

    python -m loadtest.alert_kills --kills 300 [--seed N]

The router runs with its API in a child process over one state directory; the parent posts alerts, plays the receiver,
kills the child at random moments and starts it again. Prints one JSON line with the verdict and ends with 1 if it is
not clean:

  lost         accepted (2xx) alerts that are not listed after the restart, though nobody ended them
  unresolved   alerts told as firing, whose accepted end was never told
  unexplained  repeated notifications of one group without a kill between them (a page in flight at a kill may repeat
  once)
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import multiprocessing
import os
import random
import signal
import sys
import tempfile
import time
from datetime import UTC, datetime
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from loadtest.fault_table import Line

CONFIGURATION = """
route: {receiver: hook, group_by: [alertname], group_wait: 50ms, group_interval: 300ms, repeat_interval: 1h}
receivers: [{name: hook, webhook_configs: [{url: 'http://127.0.0.1:PORT/hook'}]}]
"""


def serve(directory: str, port: int) -> None:
    """The child: a router and its API until killed."""
    import logging

    import structlog

    from gateway.alerting.router import AlertRouter
    from gateway.alerting.settings import AlertingSettings
    from gateway.clock import SystemClock
    from gateway.web.alertmanager_api import register_routes

    # The receiver fails on purpose, often; only errors are of interest.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))

    async def run() -> None:
        settings = AlertingSettings(config_file=str(Path(directory) / "alertmanager.yml"))
        router = AlertRouter(settings, Path(directory), SystemClock())
        await router.start()
        app = web.Application()
        register_routes(app, router)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
        await asyncio.Event().wait()

    asyncio.run(run())


class Life:
    """What the parent knows of one alert."""

    def __init__(self) -> None:
        self.accepted = self.end_sent = self.end_accepted = False
        self.told: list[tuple[float, str]] = []


class Trial:
    """One run."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.directory, self.random = directory, random.Random(seed)
        self.lives: dict[str, Life] = {}
        self.kills: list[float] = []
        self.lost: set[str] = set()
        self.checked = 0
        self.accepted_requests = self.failed_requests = 0
        self.url = ""
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["gateway.alerting.router", "gateway.web.alertmanager_api"])

    async def hook(self, request: web.Request) -> web.Response:
        """The receiver: answers at once, late, or with 503."""
        body = await request.json()
        chance = self.random.random()
        if chance < 0.1:
            return web.Response(status=503)
        for alert in body["alerts"]:
            self.lives[alert["labels"]["alertname"]].told.append((time.monotonic(), alert["status"]))
        if chance < 0.3:
            await asyncio.sleep(self.random.random() * 0.2)  # a kill now leaves the sender without the answer
        return web.Response()

    async def post(self, session: aiohttp.ClientSession, names: list[str], ended: bool) -> None:
        """Posts firing or ended alerts; only an answer of 200 counts as accepted."""
        alerts: list[dict[str, Any]] = [{"labels": {"alertname": name, "n": "1"}} for name in names]
        for alert in alerts:
            alert["endsAt"] = datetime.now(UTC).isoformat() if ended else "2100-01-01T00:00:00Z"
        for name in names if ended else ():
            self.lives[name].end_sent = True
        try:
            async with session.post(f"{self.url}/api/v2/alerts", json=alerts) as answer:
                if answer.status != 200:
                    self.failed_requests += 1
                    return
        except aiohttp.ClientError:
            self.failed_requests += 1
            await asyncio.sleep(0.02)
            return
        self.accepted_requests += 1
        for name in names:
            if ended:
                self.lives[name].end_accepted = True
            else:
                self.lives[name].accepted = True

    async def traffic(self, stop: asyncio.Event) -> None:
        """New alerts and ends of old ones, without pause."""
        number = 0
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=3.0)) as session:
            while not stop.is_set():
                names = [f"a{number + n}" for n in range(self.random.randint(1, 5))]
                number += len(names)
                self.lives |= {name: Life() for name in names}
                await self.post(session, names, ended=False)
                old = [name for name, life in self.lives.items() if life.accepted and not life.end_accepted]
                await self.post(session, self.random.sample(old, min(len(old), 3)), ended=True)
                await asyncio.sleep(self.random.random() * 0.03)
            # After the last kill every accepted alert is ended.
            for _ in range(1000):
                old = [name for name, life in self.lives.items() if life.accepted and not life.end_accepted]
                if not old:
                    return
                await self.post(session, old[:50], ended=True)

    def start(self, port: int) -> BaseProcess:
        """A child on the port."""
        child = self._context.Process(target=serve, args=(str(self.directory), port), daemon=True)
        child.start()
        return child

    async def run(self, kills: int) -> dict[str, Any]:
        """The whole trial; gives the verdict."""
        app = web.Application()
        app.router.add_post("/hook", self.hook)
        runner = web.AppRunner(app, shutdown_timeout=1.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        (self.directory / "alertmanager.yml").write_text(CONFIGURATION.replace("PORT", str(runner.addresses[0][1])))
        probe = web.AppRunner(web.Application())
        await probe.setup()
        await web.TCPSite(probe, "127.0.0.1", 0).start()
        port = int(probe.addresses[0][1])
        await probe.cleanup()
        self.url = f"http://127.0.0.1:{port}"
        stop = asyncio.Event()
        traffic = asyncio.create_task(self.traffic(stop))
        began = time.monotonic()
        child = self.start(port)
        await self.ready()
        for number in range(kills):
            await asyncio.sleep(self.random.random() * 0.4)
            assert child.pid is not None
            os.kill(child.pid, signal.SIGKILL)
            self.kills.append(time.monotonic())
            await asyncio.to_thread(child.join)
            child = self.start(port)
            if number % 3:  # sometimes the next kill comes while the child is starting
                owed = {name for name, life in self.lives.items() if life.accepted and not life.end_sent}
                await self.ready()
                await self.look_for(owed)
        await self.ready()
        stop.set()
        await traffic
        deadline = time.monotonic() + 30
        while self.open_ends() and time.monotonic() < deadline:  # noqa: ASYNC110 - polled with a deadline
            await asyncio.sleep(0.1)
        await asyncio.sleep(0.5)
        child.kill()
        await asyncio.to_thread(child.join)
        await runner.cleanup()
        return self.verdict(time.monotonic() - began)

    async def ready(self) -> None:
        """Waits until the child answers."""
        async with aiohttp.ClientSession() as session:
            for _ in range(1000):
                with contextlib.suppress(aiohttp.ClientError):
                    async with session.get(f"{self.url}/api/v2/status") as answer:
                        if answer.status == 200:
                            return
                await asyncio.sleep(0.02)
        raise TimeoutError("the child is not ready after 20 s")

    async def look_for(self, owed: set[str]) -> None:
        """Every accepted alert whose end was never sent must be listed."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.url}/api/v2/alerts") as answer:
            listed = {alert["labels"]["alertname"] for alert in await answer.json()}
        self.checked += len(owed)
        self.lost |= {name for name in owed - listed if not self.lives[name].end_sent}

    def open_ends(self) -> list[str]:
        """Told as firing, end accepted, end not told."""
        return [n for n, life in self.lives.items() if life.end_accepted and life.told and life.told[-1][1] == "firing"]

    def verdict(self, seconds: float) -> dict[str, Any]:
        """The counts; `clean` if all three kinds of mistakes are zero."""
        repeats = unexplained = 0
        for life in self.lives.values():
            for (before, state), (after, next_state) in zip(life.told, life.told[1:], strict=False):
                if state == next_state:
                    repeats += 1
                    unexplained += not any(before - 1.0 <= kill <= after for kill in self.kills)
        unresolved = self.open_ends()
        return {
            "figure": "alert_kills",
            "kills": len(self.kills),
            "alerts_accepted": sum(life.accepted for life in self.lives.values()),
            "alerts_told": sum(bool(life.told) for life in self.lives.values()),
            "requests_accepted": self.accepted_requests,
            "requests_failed": self.failed_requests,
            "alerts_looked_for": self.checked,
            "lost": len(self.lost),
            "unresolved": len(unresolved),
            "repeats": repeats,
            "unexplained": unexplained,
            "seconds": round(seconds, 1),
            "clean": not self.lost and not unresolved and not unexplained,
        }


def run_trial(directory: Path, kills: int, seed: int) -> dict[str, Any]:
    """For the command and for the test suite."""
    return asyncio.run(Trial(directory, seed).run(kills))


def line(directory: Path, kills: int, seed: int) -> Line:
    """One line of the table of faults; counts are alerts."""
    directory.mkdir(parents=True, exist_ok=True)
    found = run_trial(directory, kills, seed)
    accepted = found["alerts_accepted"]
    lost = found["lost"] + found["unresolved"]
    return Line(
        "alert-kills", "alert router: kill -9 at random moments", found["kills"], accepted, accepted - lost, lost,
        passed=bool(found["clean"]), repeated=found["repeats"], detail=found,
    )  # fmt: skip


def main() -> None:
    """The command."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--kills", type=int, default=300)
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        verdict = run_trial(Path(directory), given.kills, given.seed)
    print(json.dumps({**verdict, "seed": given.seed}))
    sys.exit(0 if verdict["clean"] else 1)


if __name__ == "__main__":
    main()
