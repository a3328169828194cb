"""`alerting.max_alerts`: new alerts of others are refused beyond it; what is known, what ends and the gateway's own are
taken."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway.access.settings import AccessSettings
from gateway.access.tokens import Authenticator
from gateway.alerting.alert import made
from gateway.alerting.moments import SECOND
from gateway.alerting.room import _REFUSED
from gateway.alerting.router import AlertRouter
from gateway.alerting.settings import AlertingSettings
from gateway.clock import SystemClock
from gateway.web import alertmanager_api, inbound_api
from gateway.web.json_api import declared_errors

LATER = "2098-01-01T00:00:00Z"


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[AlertRouter]:
    started = AlertRouter(AlertingSettings(max_alerts=2), tmp_path, SystemClock())
    await started.start()
    yield started
    await started.stop()


@pytest.fixture
async def client(router: AlertRouter) -> AsyncIterator[TestClient[Any, Any]]:
    app = web.Application(middlewares=[declared_errors])
    alertmanager_api.register_routes(app, router)
    inbound_api.register_routes(app, router, Authenticator(AccessSettings()))
    async with TestClient(TestServer(app)) as started:
        yield started


def alert(name: str, **more: str) -> dict[str, Any]:
    return {"labels": {"alertname": name}, "annotations": more, "endsAt": LATER}


def names(router: AlertRouter) -> set[str]:
    return {one.labels["alertname"] for one in router.engine.alerts.values()}


async def test_what_fits_is_taken_and_the_rest_is_refused_with_the_setting_to_change(
    router: AlertRouter, client: TestClient[Any, Any]
) -> None:
    before = _REFUSED.labels("api")._value.get()
    answer = await client.post("/api/v2/alerts", json=[alert("a"), alert("b"), alert("c"), alert("a"), alert("d")])
    assert answer.status == 500
    assert "2 new alerts were not taken: alerting.max_alerts is 2" in await answer.text()
    assert names(router) == {"a", "b"}
    assert _REFUSED.labels("api")._value.get() - before == 2.0


async def test_known_alerts_are_reported_again_and_end_at_the_limit(
    router: AlertRouter, client: TestClient[Any, Any]
) -> None:
    assert (await client.post("/api/v2/alerts", json=[alert("a"), alert("b")])).status == 200
    again = [alert("a", summary="worse"), alert("b") | {"endsAt": "2020-01-02T00:00:00Z"}]
    again[1]["startsAt"] = "2020-01-01T00:00:00Z"
    assert (await client.post("/api/v2/alerts", json=again)).status == 200
    now = router.clock.time_ns()
    firing = {one.labels["alertname"]: one.annotations for one in router.engine.alerts.values() if one.active(now)}
    assert firing == {"a": {"summary": "worse"}}


async def test_the_gateways_own_alerts_are_always_taken(router: AlertRouter, client: TestClient[Any, Any]) -> None:
    assert (await client.post("/api/v2/alerts", json=[alert("a"), alert("b")])).status == 200
    now = router.clock.time_ns()
    own = made({"alertname": "Watchdog"}, {}, starts=now, ends=now + 60 * SECOND, now=now, origin="gateway")
    await router.post_alerts([own])
    assert names(router) == {"a", "b", "Watchdog"}


async def test_a_page_of_another_tool_is_to_be_sent_again_but_may_become_more_severe(
    router: AlertRouter, client: TestClient[Any, Any]
) -> None:
    def page(key: str, severity: str) -> dict[str, Any]:
        payload = {"summary": "disk full", "source": "db1", "severity": severity}
        return {"routing_key": "R" * 32, "event_action": "trigger", "dedup_key": key, "payload": payload}

    for key in ("one", "two"):
        assert (await client.post("/v2/enqueue", json=page(key, "warning"))).status == 202
    refused = await client.post("/v2/enqueue", json=page("three", "critical"))
    assert refused.status == 503
    assert refused.headers["Retry-After"]
    assert (await client.post("/v2/enqueue", json=page("one", "critical"))).status == 202
    now = router.clock.time_ns()
    firing = {(a.labels["dedup_key"], a.labels["severity"]) for a in router.engine.alerts.values() if a.active(now)}
    assert firing == {("one", "critical"), ("two", "warning")}
