"""The same configuration and the same stream of alerts and silences to the real Alertmanager and to the router.

Every notification must be the same: receiver, group key, status, members with their state, labels and annotations, in
the same order per group, with the same counts. Times of day are left out, since two programs cannot flush in one
instant.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from tests.conformance.alertmanager.peers import Receiver, needs_alertmanager, our_router, real_alertmanager

CONFIGURATION = """
global: {resolve_timeout: 4s}
route:
  receiver: default
  group_by: [alertname]
  group_wait: 1s
  group_interval: 2s
  repeat_interval: 1h
  routes:
    - match: {alertname: Repeats}
      repeat_interval: 3s
    - matchers: [alertname="Both"]
      receiver: first
      continue: true
    - matchers: ['alertname =~ "Both|Other"']
      receiver: second
      group_by: ['...']
    - matchers: [alertname="FiringOnly"]
      receiver: firing-only
    - matchers: [alertname="Muted"]
      mute_time_intervals: [always]
    - matchers: [alertname="OutOfHours"]
      active_time_intervals: [long-ago]
    - matchers: [alertname="Flaky"]
      receiver: flaky
    - matchers: [alertname="Short"]
      receiver: short
time_intervals:
  - name: always
    time_intervals: [{years: ['2000:2100']}]
  - name: long-ago
    time_intervals: [{years: ['2000']}]
inhibit_rules:
  - source_matchers: [severity="critical"]
    target_matchers: [severity="warning"]
    equal: [cluster]
receivers:
  - name: default
    webhook_configs: [{url: 'BASE/default'}]
  - name: first
    webhook_configs: [{url: 'BASE/first'}]
  - name: second
    webhook_configs: [{url: 'BASE/second'}]
  - name: firing-only
    webhook_configs: [{url: 'BASE/firing-only', send_resolved: false}]
  - name: flaky
    webhook_configs: [{url: 'BASE/flaky'}]
  - name: short
    webhook_configs: [{url: 'BASE/short', max_alerts: 2}]
"""


def stamp(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")


def stream(start: datetime) -> list[tuple[float, str, Any]]:
    """(seconds, path, body) in order."""
    forever = stamp(start + timedelta(hours=1))

    def alert(name: str, ended: float | None = None, **labels: str) -> dict[str, Any]:
        ends = forever if ended is None else stamp(start + timedelta(seconds=ended))
        return {
            "labels": {"alertname": name, **labels, "empty": ""},
            "annotations": {"summary": f"{name} is wrong"},
            "startsAt": stamp(start),
            "endsAt": ends,
            "generatorURL": "http://source.example/graph",
        }

    silence = {
        "matchers": [{"name": "alertname", "value": "Sil.*", "isRegex": True, "isEqual": True}],
        "startsAt": stamp(start),
        "endsAt": stamp(start + timedelta(seconds=4.5)),
        "createdBy": "test",
        "comment": "until later",
    }
    alerts: list[tuple[float, list[dict[str, Any]]]] = [
        (0.2, [alert("Simple", instance="a"), alert("Repeats"), alert("Both", n="1"), alert("Other", n="1")]),
        (0.2, [alert("FiringOnly", n="1"), alert("Muted"), alert("OutOfHours"), alert("Flaky"), alert("Silenced")]),
        (0.2, [alert("Source", severity="critical", cluster="x"), alert("Target", severity="warning", cluster="x")]),
        (0.2, [alert("Target", severity="warning", cluster="y"), *(alert("Short", n=str(n)) for n in range(4))]),
        (0.2, [alert("Brief")]),
        (0.2, [{"labels": {"alertname": "Lapses"}, "annotations": {}}]),
        (0.5, [alert("Brief", ended=0.4)]),
        (1.8, [alert("Simple", instance="b"), alert("Both", n="2"), alert("FiringOnly", n="2")]),
        (3.9, [alert("Simple", instance="a", ended=3.8), alert("FiringOnly", n="1", ended=3.8)]),
        (3.9, [{**alert("Flaky"), "annotations": {"summary": "other words, no new notification"}}]),
        (5.9, [alert("Source", ended=5.8, severity="critical", cluster="x"), alert("Both", n="1", ended=5.8)]),
        (5.9, [alert("Simple", instance="b", ended=5.8), alert("FiringOnly", n="2", ended=5.8)]),
        (7.9, [alert("Simple", instance="a"), alert("Other", n="1", ended=7.8)]),
    ]
    steps: list[tuple[float, str, Any]] = [(0.0, "silences", silence)]
    steps += [(at, "alerts", body) for at, body in alerts]
    return steps


def comparable(told: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Per group key, the notifications in order, without times."""
    groups: dict[str, list[Any]] = {}
    for message in told:
        kept = {k: v for k, v in message.items() if k != "externalURL"}
        kept["alerts"] = [
            {
                k: v
                for k, v in alert.items()
                if k not in ("startsAt", "endsAt") or alert["labels"]["alertname"] != "Lapses"
            }
            for alert in message["alerts"]
        ]
        groups.setdefault(message["groupKey"], []).append(kept)
    return groups


@pytest.mark.real
@needs_alertmanager
async def test_same_notifications_as_the_real_alertmanager(tmp_path: Path) -> None:
    async with Receiver().running() as receiver:
        for side in ("real", "ours"):
            receiver.failures[f"{side}/flaky"] = [web.Response(status=503), web.Response(status=503)]
        async with (
            real_alertmanager(tmp_path, CONFIGURATION.replace("BASE", f"{receiver.url}/real")) as real,
            our_router(tmp_path, CONFIGURATION.replace("BASE", f"{receiver.url}/ours")) as (ours, _),
            aiohttp.ClientSession() as session,
        ):
            loop = asyncio.get_running_loop()
            began = loop.time()

            async def post(url: str, body: Any) -> None:
                async with session.post(url, json=body) as answer:
                    assert answer.status == 200, await answer.text()

            for at, path, body in stream(datetime.now(UTC)):
                await asyncio.sleep(max(began + at - loop.time(), 0))
                await asyncio.gather(*(post(f"{base}/api/v2/{path}", body) for base in (real, ours)))
            await asyncio.sleep(max(began + 12.5 - loop.time(), 0))
        names = {path.partition("/")[2] for path in receiver.told}
        assert names == {"default", "first", "second", "firing-only", "flaky", "short"}
        for name in sorted(names):
            expected = comparable(receiver.told.get(f"real/{name}", []))
            assert comparable(receiver.told.get(f"ours/{name}", [])) == expected, name
