"""The console's list of alerts beside one made the slow way, after any history; suppressions walked in steps."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from gateway.alerting.matcher import all_match
from gateway.alerting.router import AlertRouter
from gateway.alerting.settings import AlertingSettings
from gateway.alerting.suppressions import STEP, Tally, walk
from gateway.clock import ManualClock
from gateway.web import alert_groups_api, alerting_api, alertmanager_api, maintenance_api
from gateway.web.json_api import declared_errors
from tests.conformance.alertmanager.peers import served

RANKS = ["critical", "page", "high", "error", "medium", "warning", "low", "info", "none"]
"""Severities, the worst first; neighbours in pairs mean the same."""

ASKED = (
    ("", ""),
    ("s1", ""),
    ("", "suppressed"),
    ("text 3", "active"),
    ("", "acknowledged"),
    ("a1 h2", "unacknowledged"),
)
"""Words and state."""


def slow(router: AlertRouter, words: list[str], state: str) -> dict[str, list[str]]:
    """Group id → fingerprints that a look should find, in no order."""
    now, found = router.clock.time_ns(), {}
    for group in router.engine.groups.values():
        names = []
        for alert in group.members.values():
            text = " ".join([*(f"{k}={v}" for k, v in alert.labels.items()), *alert.annotations.values()]).lower()
            silenced = any(all_match(s.matchers, alert.labels) for s in router.engine.silences.active(now))
            suppressed = silenced or alert.fingerprint in group.muted
            acknowledged = router.people.acknowledged(alert.fingerprint)
            meets = {
                "": True,
                "active": not suppressed,
                "suppressed": suppressed,
                "acknowledged": acknowledged,
                "unacknowledged": not acknowledged,
            }
            if alert.active(now) and meets[state] and all(word in text for word in words):
                names.append(alert.fingerprint)
        if names:
            found[group.id] = names
    return found


def rank(alert: dict[str, Any]) -> tuple[int, str]:
    severity = alert["labels"].get("severity", "none")
    return RANKS.index(severity) // 2, "".join(chr(0x10FFFF - ord(c)) for c in alert["startsAt"])


async def test_lists_are_those_made_the_slow_way(tmp_path: Path) -> None:
    clock = ManualClock()
    router = AlertRouter(AlertingSettings(), tmp_path, clock)
    await router.start()
    app = web.Application(middlewares=[declared_errors])
    for api in (alert_groups_api, alerting_api, maintenance_api, alertmanager_api):
        api.register_routes(app, router)
    rng = random.Random(5)
    async with served(app) as url, aiohttp.ClientSession(url) as session:

        async def get(path: str) -> Any:
            async with session.get(path) as answer:
                assert answer.status == 200, await answer.text()
                return await answer.json()

        for step in range(12):
            posted: list[dict[str, Any]] = [
                {
                    "labels": {"alertname": f"a{rng.randrange(9)}", "service": f"s{rng.randrange(4)}",
                               "severity": rng.choice(RANKS), "host": f"h{rng.randrange(6)}"},
                    "annotations": {"summary": f"text {rng.randrange(5)}"},
                }
                for _ in range(20)
            ]  # fmt: skip
            async with session.post("/api/v2/alerts", json=posted) as answer:
                assert answer.status == 200
            if step == 3:
                silence = {
                    "matchers": [{"name": "host", "value": "h[12]", "isRegex": True}],
                    "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2090-01-01T00:00:00Z",
                    "createdBy": "ana", "comment": "work",
                }  # fmt: skip
                async with session.post("/api/v2/silences", json=silence) as answer:
                    assert answer.status == 200
            if step in (5, 7):
                name = rng.choice(list(router.engine.alerts))
                async with session.post(f"/api/v1/alerts/{name}/acknowledge", json={"by": "ana"}) as answer:
                    assert answer.status == 200
            clock.advance(rng.choice((1, 40, 100)))
            router.engine.tick(clock.time_ns())
            for query, state in ASKED:
                wanted = slow(router, query.split(), state)
                shown = await get(f"/api/v1/alerts/groups?limit=100&each=200&q={query}&state={state}")
                assert {g["id"]: sorted(a["fingerprint"] for a in g["alerts"]) for g in shown["groups"]} == {
                    name: sorted(names) for name, names in wanted.items()
                }
                assert (shown["total"], shown["alerts"]) == (len(wanted), sum(map(len, wanted.values())))
                for group in shown["groups"]:
                    assert group["alerts"] == sorted(group["alerts"], key=rank)
                    assert group["started"] == min(a["startsAt"] for a in group["alerts"])
                heads = [rank(group["alerts"][0]) for group in shown["groups"]]
                assert heads == sorted(heads)
                page = await get(f"/api/v1/alerts/groups?offset=1&limit=2&each=1&q={query}&state={state}")
                assert [g["alerts"] for g in page["groups"]] == [g["alerts"][:1] for g in shown["groups"][1:3]]
        suppressed = await get("/api/v1/suppressions?limit=3")
        muted = sum(
            alert.active(clock.time_ns())
            for group in router.engine.groups.values()
            for name in group.muted
            if (alert := group.members.get(name)) is not None
        )
        assert suppressed["counts"] == {"silence": muted}
        assert len(suppressed["suppressions"]) == 3
    await router.stop()


async def test_suppressions_are_walked_in_steps(tmp_path: Path) -> None:
    """Many muted alerts in one group: the loop has its turn on the way, and a flush meanwhile does no harm."""
    clock = ManualClock()
    router = AlertRouter(AlertingSettings(), tmp_path, clock)
    await router.start()
    app = web.Application()
    alertmanager_api.register_routes(app, router)
    count = 3 * STEP
    async with served(app) as url, aiohttp.ClientSession(url) as session:
        silence = {
            "matchers": [{"name": "service", "value": "one", "isRegex": False}],
            "startsAt": "2020-01-01T00:00:00Z", "endsAt": "2090-01-01T00:00:00Z", "createdBy": "ana", "comment": "work",
        }  # fmt: skip
        async with session.post("/api/v2/silences", json=silence) as answer:
            assert answer.status == 200
        alerts = [{"labels": {"alertname": "a", "service": "one", "host": f"h{n}"}} for n in range(count)]
        async with session.post("/api/v2/alerts", json=alerts) as answer:
            assert answer.status == 200
    clock.advance(60)
    router.engine.tick(clock.time_ns())
    tally, steps = Tally(10), 0
    for _ in walk(router.engine, router.fatigue, clock.time_ns(), tally):
        steps += 1
        router.engine.tick(clock.time_ns())
        await asyncio.sleep(0)
    assert tally.counts == {"silence": count}
    assert steps >= 3
    assert len(tally.shown) == 10
    await router.stop()
