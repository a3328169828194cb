"""One flush of a large group: the longest step on the loop, under the built-in configuration and a plain one.

    python -m bench.alert_flush [--members 20000]

A step is what `Engine.tick` does before the loop has its turn; processor seconds of the thread. Prints JSON lines.
"""

from __future__ import annotations

import argparse
import gc
import json
import tempfile
import time
from pathlib import Path

from gateway.alerting.alert import Alert, made
from gateway.alerting.moments import SECOND
from gateway.alerting.notification import Delivered
from gateway.alerting.router import AlertRouter
from gateway.alerting.settings import AlertingSettings
from gateway.clock import SystemClock
from gateway.settings_types import Secret

PLAIN = """
route: {receiver: a, group_by: [alertname], group_wait: 1s, group_interval: 1m}
receivers: [{name: a, webhook_configs: [{url: 'http://127.0.0.1:9/'}]}]
"""
HOUR = 3600 * SECOND


def alert(number: int, starts: int, ends: int, now: int) -> Alert:
    """One of many of a rule and service."""
    labels = {"alertname": "Big", "instance": f"host-{number}:9100", "job": "node", "service": "one"}
    return made({**labels, "severity": "warning"}, {"summary": "x"}, starts=starts, ends=ends, now=now)


def run_due(router: AlertRouter, now: int) -> list[float]:
    """Seconds of each step; what is told is delivered at once."""
    engine, steps = router.engine, []
    while engine.next_due() <= now:
        began = time.thread_time()
        engine.tick(now, limit=1)
        steps.append(time.thread_time() - began)
        engine.journal.take()
        for integration in engine.configuration.integrations:
            while (slot := engine.outbox.take(integration.key, now)) is not None:
                began = time.thread_time()
                engine.dispatcher.finish(slot, Delivered(), now)
                steps.append(time.thread_time() - began)
    return steps


def measure(name: str, settings: AlertingSettings, directory: Path, members: int) -> None:
    """The first notification, some that join, all that end."""
    router = AlertRouter(settings, directory, SystemClock())
    now = time.time_ns()
    router.engine.receive([alert(number, now, now + HOUR, now) for number in range(members)], now)
    router.engine.journal.take()
    gc.collect()
    gc.freeze()
    phases = {"first": run_due(router, now + 40 * SECOND)}
    later = now + 1000 * SECOND
    router.engine.receive([alert(members + number, later, later + HOUR, later) for number in range(200)], later)
    phases["changed"] = run_due(router, later + 1000 * SECOND)
    later += 1100 * SECOND
    for start in range(0, members, 64):
        router.engine.receive([alert(n, now, later, later) for n in range(start, min(start + 64, members))], later)
        router.engine.journal.take()
    phases["ended"] = run_due(router, later + 1000 * SECOND)
    for phase, steps in phases.items():
        ordered = sorted(steps, reverse=True)
        print(
            json.dumps(
                {
                    "figure": f"alerting_flush_{name}_{phase}",
                    "value": round(ordered[0] * 1e3, 3),
                    "unit": "ms",
                    "second_longest": round(ordered[1] * 1e3, 3),
                    "steps": len(steps),
                    "members": members,
                }
            ),
            flush=True,
        )


def main() -> None:
    """The command."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--members", type=int, default=20_000)
    given = arguments.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "alertmanager.yml"
        path.write_text(PLAIN)
        webhook = AlertingSettings(webhook_url=Secret("http://127.0.0.1:9/x"))
        measure("built_in", webhook, Path(directory) / "one", given.members)
        measure("plain", AlertingSettings(config_file=str(path)), Path(directory) / "two", given.members)


if __name__ == "__main__":
    main()
