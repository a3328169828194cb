"""The alert router: alerts accepted durably, lists over many alerts, from an anomaly to the webhook.

    python -m bench.alerting [--alerts 100000] [--anomalies 60]

The router runs in a process of its own with its default configuration; this process is the client and the receiver.
Prints one JSON line per figure. `loop_held_s` is the longest time for which the router's loop was late meanwhile, which
includes what the machine took for other work. `first` is the first of six requests, `value` their median.
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

from gateway.alerting.router import AlertRouter
from gateway.alerting.settings import AlertingSettings
from gateway.clock import SystemClock
from gateway.telemetry.anomaly import Anomaly
from gateway.web import alert_groups_api, alerting_api, alertmanager_api, incident_api, maintenance_api

SILENCES = 200
BATCH = 256
"""Alerts in a request, as Prometheus sends them."""


def serve(directory: str, webhook: str, pipe: Connection) -> None:
    """The router's process; `anomaly` on its own path submits one as the anomalies log would."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))

    async def run() -> None:
        router = AlertRouter(AlertingSettings(webhook_url=webhook), Path(directory), SystemClock())
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


def say(figure: str, value: float, unit: str, **more: Any) -> None:
    """One line."""
    print(json.dumps({"figure": f"alerting_{figure}", "value": round(value, 4), "unit": unit, **more}), flush=True)


async def measure(url: str, told: dict[str, float], alerts: int, anomalies: int) -> None:
    """All figures."""
    async with aiohttp.ClientSession() as session:

        async def usage() -> dict[str, float]:
            async with session.get(f"{url}/usage") as answer:
                return dict(await answer.json())

        lags = []
        for number in range(anomalies):
            name = f"service-{number}"
            began = time.time()
            async with session.post(f"{url}/anomaly/{name}"):
                pass
            while name not in told:  # noqa: ASYNC110 - the moment is taken by the receiver
                await asyncio.sleep(0.005)
            lags.append(told[name] - began)
        say("anomaly_to_webhook_p50", float(np.percentile(lags, 50)), "s", anomalies=anomalies)
        say("anomaly_to_webhook_p99", float(np.percentile(lags, 99)), "s", note="critical, default configuration")

        def batch(start: int) -> list[dict[str, Any]]:
            return [
                {
                    "labels": {"alertname": f"Alert{n % 500}", "instance": f"host-{n}:9100", "job": "node",
                               "severity": "warning", "cluster": f"c{n % 20}", "service": f"s{n % 1000}"},
                    "annotations": {"summary": "something is wrong with this host", "runbook": "http://runbooks.example/x"},
                    "generatorURL": "http://prometheus.example/graph?g0.expr=up",
                }
                for n in range(start, start + BATCH)
            ]  # fmt: skip

        for what in ("new", "repeated"):
            before, began = await usage(), time.perf_counter()
            queue = list(range(0, alerts, BATCH))

            async def poster(queue: list[int] = queue) -> None:
                while queue:
                    async with session.post(f"{url}/api/v2/alerts", json=batch(queue.pop())) as answer:
                        assert answer.status == 200, await answer.text()

            await asyncio.gather(*(poster() for _ in range(4)))
            seconds, after = time.perf_counter() - began, await usage()
            count = -(-alerts // BATCH) * BATCH
            cpu = after["cpu"] - before["cpu"]
            say(
                f"accepted_{what}",
                count / seconds,
                "alerts/s",
                alerts=count,
                per_cpu_second=round(count / cpu),
                loop_held_s=round(after["loop_held"], 4),
            )
        say("memory", (await usage())["rss_mib"], "MiB", alerts=alerts)
        for name, path in (
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
        ):
            if name == "silences":
                for number in range(SILENCES):
                    async with session.post(f"{url}/api/v2/silences", json=silence(number)) as answer:
                        assert answer.status == 200, await answer.text()
            before = await usage()
            seconds_each = []
            for _ in range(6):
                began = time.perf_counter()
                async with session.get(f"{url}/api/{path}") as answer:
                    assert answer.status == 200, await answer.text()
                    size = len(await answer.read())
                seconds_each.append(time.perf_counter() - began)
            after = await usage()
            say(
                f"list_{name}",
                float(np.median(seconds_each)),
                "s",
                first=round(seconds_each[0], 3),
                router_cpu_s_each=round((after["cpu"] - before["cpu"]) / len(seconds_each), 4),
                loop_held_s=round(after["loop_held"], 4),
                bytes=size,
                alerts=alerts,
            )


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
    arguments.add_argument("--anomalies", type=int, default=60)
    given = arguments.parse_args()
    asyncio.run(run(given.alerts, given.anomalies))


if __name__ == "__main__":
    main()
