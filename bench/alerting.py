"""The alert router: alerts accepted durably, lists over many alerts, from an anomaly to the webhook.

    python -m bench.alerting [--alerts 100000] [--anomalies 120]

The router runs in a process of its own with its default configuration; this process is the client and the receiver.
Prints one JSON line per figure; progress and a table of all figures go to standard error. `loop_held_s` is the longest
time for which the router's loop was late meanwhile, which includes what the machine took for other work. `first` is the
first of six requests, `value` their median. Anomalies are critical and `IN_FLIGHT` at a time, first on an empty router,
then beside all alerts while `LOADED_RATE` repeated reports a second arrive.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import logging
import multiprocessing
import resource
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np
import structlog
from aiohttp import web
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from gateway.alerting.router import AlertRouter
from gateway.alerting.settings import AlertingSettings
from gateway.clock import SystemClock
from gateway.owned_tasks import end_tasks
from gateway.settings_types import Secret
from gateway.telemetry.anomaly import Anomaly
from gateway.web import alert_groups_api, alerting_api, alertmanager_api, incident_api, maintenance_api

SILENCES = 200
BATCH = 256
"""Alerts in a request, as Prometheus sends them."""
IN_FLIGHT = 8
LOADED_RATE = 1000
"""Alerts a second."""
REQUESTS = 6
"""Of each list."""
GOALS = {"anomaly_to_webhook": "< 2", "accepted_new": ">= 1000", "list": "< 0.2"}


def serve(directory: str, webhook: str, pipe: Connection) -> None:
    """The router's process; `anomaly` on its own path submits one as the anomalies log would."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))

    async def run() -> None:
        router = AlertRouter(AlertingSettings(webhook_url=Secret(webhook)), Path(directory), SystemClock())
        await router.start()

        async def anomaly(request: web.Request) -> web.Response:
            name = request.match_info["name"]
            now = time.time_ns()
            await router.submit_anomaly(
                Anomaly(id=name, time=now / 1e9, series={"__name__": "latency", "service": name}, value=9.0,
                        expected=1.0, lower=0.5, upper=1.5, score=0.99, severity="critical",
                        reasons=["level"], detected_ns=now)
            )  # fmt: skip
            return web.Response()

        held = [0.0]

        async def watch() -> None:
            while True:
                began = time.perf_counter()
                await asyncio.sleep(0.001)
                held[0] = max(held[0], time.perf_counter() - began - 0.001)

        async def usage(_request: web.Request) -> web.Response:
            used = resource.getrusage(resource.RUSAGE_SELF)
            longest, held[0] = held[0], 0.0
            return web.json_response(
                {"cpu": used.ru_utime + used.ru_stime, "rss_mib": used.ru_maxrss / 1024, "loop_held": longest}
            )

        app = web.Application()
        alert_groups_api.register_routes(app, router)
        alerting_api.register_routes(app, router)
        incident_api.register_routes(app, router)
        maintenance_api.register_routes(app, router)
        alertmanager_api.register_routes(app, router)
        app.router.add_post("/anomaly/{name}", anomaly)
        app.router.add_get("/usage", usage)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        gc.collect()
        gc.freeze()  # as the program does once it has started
        pipe.send(runner.addresses[0][1])
        await watch()

    asyncio.run(run())


def silence(number: int) -> dict[str, Any]:
    """Mutes one cluster; there are twenty with alerts."""
    return {
        "matchers": [{"name": "cluster", "value": f"c{number}", "isRegex": False}],
        "startsAt": "2020-01-01T00:00:00Z",
        "endsAt": "2090-01-01T00:00:00Z",
        "createdBy": "bench",
        "comment": "work",
    }


class Report:
    """Figures as they come, and all of them at the end."""

    def __init__(self, steps: int) -> None:
        self.console = Console(stderr=True)
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
        self.progress = Progress(*columns, console=self.console, disable=not self.console.is_terminal)
        self._bar = self.progress.add_task("", total=steps)
        self._table = Table("figure", "value", "unit", "goal", "first", "loop held, s", box=None)

    def say(self, figure: str, value: float, unit: str, **more: Any) -> None:
        """One line."""
        print(json.dumps({"figure": f"alerting_{figure}", "value": round(value, 4), "unit": unit, **more}), flush=True)
        goal = next((goal for name, goal in GOALS.items() if figure.startswith(name)), "")
        first, held = str(more.get("first", "")), str(more.get("loop_held_s", ""))
        self._table.add_row(figure, f"{value:.4g}", unit, goal, first, held)

    def at(self, what: str) -> None:
        """The next step begins."""
        self.progress.update(self._bar, advance=1, description=what[:40].ljust(40))

    def finish(self) -> None:
        """Prints the table."""
        self.console.print(self._table)


LISTS = (
    ("alerts", "v2/alerts"),
    ("alerts_filtered", "v2/alerts?filter=cluster%3D%22c1%22"),
    ("alerts_filtered_by_expression", "v2/alerts?filter=cluster%3D~%22c1%7Cc2%22"),
    ("groups", "v2/alerts/groups"),
    ("groups_filtered", "v2/alerts/groups?filter=cluster%3D%22c1%22"),
    ("console_groups", "v1/alerts/groups?limit=20"),
    ("console_groups_searched", "v1/alerts/groups?limit=20&q=host-77"),
    ("incident_groups", "v1/incident-groups"),
    ("suppressions", "v1/suppressions"),
    ("silences", "v2/silences"),
    ("alerts_silenced", "v2/alerts"),
    ("console_groups_silenced", "v1/alerts/groups?limit=20&state=suppressed"),
    ("suppressions_silenced", "v1/suppressions"),
)


def batch(start: int) -> list[dict[str, Any]]:
    """Alerts of one request."""
    return [
        {
            "labels": {"alertname": f"Alert{n % 500}", "instance": f"host-{n}:9100", "job": "node",
                       "severity": "warning", "cluster": f"c{n % 20}", "service": f"s{n % 1000}"},
            "annotations": {"summary": "something is wrong with this host", "runbook": "http://runbooks.example/x"},
            "generatorURL": "http://prometheus.example/graph?g0.expr=up",
        }
        for n in range(start, start + BATCH)
    ]  # fmt: skip


class Client:
    """What is done to the router."""

    def __init__(self, session: aiohttp.ClientSession, url: str, told: dict[str, float], report: Report) -> None:
        self.session, self.url, self.told, self.report = session, url, told, report
        self._named = 0

    async def usage(self) -> dict[str, float]:
        """Of the router's process since its start; `loop_held` since it was last asked."""
        async with self.session.get(f"{self.url}/usage") as answer:
            return dict(await answer.json())

    async def anomalies(self, count: int, suffix: str, note: str) -> None:
        """From submitting an anomaly to its webhook."""
        lags: list[float] = []

        async def one_after_another(names: list[str]) -> None:
            for name in names:
                began = time.time()
                async with self.session.post(f"{self.url}/anomaly/{name}"):
                    pass
                while name not in self.told:  # noqa: ASYNC110 - the moment is taken by the receiver
                    await asyncio.sleep(0.005)
                lags.append(self.told[name] - began)

        names = [f"service-{number}" for number in range(self._named, self._named + count)]
        self._named += count
        await asyncio.gather(*(one_after_another(names[start::IN_FLIGHT]) for start in range(IN_FLIGHT)))
        self.report.say(f"anomaly_to_webhook_p50{suffix}", float(np.percentile(lags, 50)), "s", anomalies=count)
        self.report.say(f"anomaly_to_webhook_p99{suffix}", float(np.percentile(lags, 99)), "s", note=note)

    async def post(self, start: int) -> None:
        """One request with alerts."""
        async with self.session.post(f"{self.url}/api/v2/alerts", json=batch(start)) as answer:
            assert answer.status == 200, await answer.text()

    async def accept(self, what: str, alerts: int) -> None:
        """All alerts from four senders."""
        before, began = await self.usage(), time.perf_counter()
        queue = list(range(0, alerts, BATCH))

        async def poster() -> None:
            while queue:
                await self.post(queue.pop())

        await asyncio.gather(*(poster() for _ in range(4)))
        seconds, after = time.perf_counter() - began, await self.usage()
        count = -(-alerts // BATCH) * BATCH
        self.report.say(
            f"accepted_{what}",
            count / seconds,
            "alerts/s",
            alerts=count,
            per_cpu_second=round(count / (after["cpu"] - before["cpu"])),
            loop_held_s=round(after["loop_held"], 4),
        )

    async def under_load(self, alerts: int, anomalies: int) -> None:
        """Anomalies while alerts are repeated."""

        async def repeat() -> None:
            start, due = 0, time.perf_counter()
            while True:
                await self.post(start)
                start = (start + BATCH) % alerts
                due = max(due + BATCH / LOADED_RATE, time.perf_counter() - 1.0)
                await asyncio.sleep(max(0.0, due - time.perf_counter()))

        load = asyncio.create_task(repeat())
        try:
            note = f"beside {alerts} alerts and {LOADED_RATE} reports a second"
            await self.anomalies(anomalies, "_loaded", note)
        finally:
            await end_tasks(load)

    async def silence(self) -> None:
        """Makes the silences."""
        for number in range(SILENCES):
            async with self.session.post(f"{self.url}/api/v2/silences", json=silence(number)) as answer:
                assert answer.status == 200, await answer.text()

    async def list(self, name: str, path: str, alerts: int) -> None:
        """Asks for one list several times."""
        before, each, size = await self.usage(), [], 0
        for _ in range(REQUESTS):
            began = time.perf_counter()
            async with self.session.get(f"{self.url}/api/{path}") as answer:
                assert answer.status == 200, await answer.text()
                size = len(await answer.read())
            each.append(time.perf_counter() - began)
        after = await self.usage()
        self.report.say(
            f"list_{name}",
            float(np.median(each)),
            "s",
            first=round(each[0], 3),
            router_cpu_s_each=round((after["cpu"] - before["cpu"]) / REQUESTS, 4),
            loop_held_s=round(after["loop_held"], 4),
            bytes=size,
            alerts=alerts,
        )


async def measure(url: str, told: dict[str, float], alerts: int, anomalies: int) -> None:
    """All figures."""
    report = Report(steps=len(LISTS) + 4)
    with report.progress:
        async with aiohttp.ClientSession() as session:
            client = Client(session, url, told, report)
            report.at("anomalies")
            await client.anomalies(anomalies, "", "default configuration")
            for what in ("new", "repeated"):
                report.at(f"{what} alerts")
                await client.accept(what, alerts)
            report.say("memory", (await client.usage())["rss_mib"], "MiB", alerts=alerts)
            for name, path in LISTS:
                report.at(f"list: {name}")
                if name == "silences":
                    await client.silence()
                await client.list(name, path, alerts)
            report.at("anomalies under load")
            await client.under_load(alerts, anomalies)
    report.finish()


async def run(alerts: int, anomalies: int) -> None:
    """Receiver, router, measurement."""
    told: dict[str, float] = {}

    async def hook(request: web.Request) -> web.Response:
        now = time.time()
        for alert in (await request.json())["alerts"]:
            told.setdefault(alert["labels"].get("service", ""), now)
        return web.Response()

    app = web.Application(client_max_size=2**30)
    app.router.add_post("/hook", hook)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with tempfile.TemporaryDirectory() as directory:
        webhook = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
        child = context.Process(target=serve, args=(directory, webhook, theirs), daemon=True)
        child.start()
        port = await asyncio.to_thread(ours.recv)
        try:
            await measure(f"http://127.0.0.1:{port}", told, alerts, anomalies)
        finally:
            child.kill()
            await asyncio.to_thread(child.join)
            await runner.cleanup()


def main() -> None:
    """The command."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--alerts", type=int, default=100_000)
    arguments.add_argument("--anomalies", type=int, default=120)
    given = arguments.parse_args()
    asyncio.run(run(given.alerts, given.anomalies))


if __name__ == "__main__":
    main()
