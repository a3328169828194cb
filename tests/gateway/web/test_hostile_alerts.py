"""Bodies and questions that hurt: every address of alerting answers them with a reason, and goes on."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from gateway.access.settings import AccessSettings
from gateway.access.tokens import Authenticator
from gateway.alerting.matcher import parse_matcher, parse_matchers
from gateway.alerting.router import AlertRouter
from gateway.alerting.settings import AlertingSettings
from gateway.clock import SystemClock
from gateway.web import alerting_api, alertmanager_api, heartbeat_api, inbound_api, incident_api, maintenance_api
from gateway.web.json_api import declared_errors

SILENCE: dict[str, Any] = {
    "matchers": [{"name": "alertname", "value": "x", "isRegex": False}],
    "startsAt": "2026-01-01T00:00:00Z",
    "endsAt": "2098-01-01T00:00:00Z",
    "createdBy": "me",
    "comment": "work",
}
ADDRESSES = [
    "/api/v2/alerts",
    "/api/v2/silences",
    "/api/v1/alerts/0123456789abcdef/acknowledge",
    "/api/v1/alerts/0123456789abcdef/comments",
    "/api/v1/maintenance",
    "/api/v1/suppressions/storm/release",
    "/api/v1/incident-groups/ig-1/merge",
    "/api/v1/inbound/webhook",
    "/api/v1/markers",
    "/v2/enqueue",
    "/v2/change/enqueue",
    "/v2/alerts",
    "/v2/heartbeats",
]


@pytest.fixture
async def router(tmp_path: Path) -> AsyncIterator[AlertRouter]:
    made = AlertRouter(AlertingSettings(), tmp_path, SystemClock())
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def client(router: AlertRouter) -> AsyncIterator[TestClient[Any, Any]]:
    app = web.Application(middlewares=[declared_errors], client_max_size=2**26)
    authenticator = Authenticator(AccessSettings())
    alertmanager_api.register_routes(app, router)
    alerting_api.register_routes(app, router)
    maintenance_api.register_routes(app, router)
    incident_api.register_routes(app, router)
    inbound_api.register_routes(app, router, authenticator)
    heartbeat_api.register_routes(app, router, authenticator)
    async with TestClient(TestServer(app), headers={"Authorization": "GenieKey k"}) as made:
        yield made


BODIES = [
    b"",
    b'{"by":"\xff"}',
    b'[{"labels":{"a":"\xff"}}]',
    b"\xff\xfe",
    b'{"by":"\\ud800"}',
    b"[" * 100_000,
    b"null",
]


async def test_what_is_no_json_is_refused_everywhere(client: TestClient[Any, Any]) -> None:
    for address in ADDRESSES:
        for body in BODIES:
            answer = await client.post(address, data=body)
            assert 400 <= answer.status < 500, (address, body[:30], await answer.text())


@pytest.mark.parametrize("text", ["a=" + " " * 200_000 + "x", '"' + "\\" * 200_000, "a" * 200_000, "{" + "," * 200_000])
def test_a_matcher_is_read_in_linear_time(text: str) -> None:
    # In quadratic time this does not end within the suite's patience.
    for read in (parse_matcher, parse_matchers):
        with contextlib.suppress(ValueError):
            assert read(text)


CHANGES: list[dict[str, Any]] = [
    {"matchers": [{"name": "a", "value": "b" * 5000, "isRegex": False}]},
    {"matchers": [{"name": "a", "value": str(n), "isRegex": False} for n in range(200)]},
    {"matchers": [{"name": "a", "value": "(a{1000}){1000}", "isRegex": True}]},
    {"matchers": [{"name": "a", "value": "(?=a)b", "isRegex": True}]},
    {"comment": "c" * 100_000},
    {"endsAt": "2020-01-01T00:00:00Z"},
    {"endsAt": "2025-12-31T00:00:00Z"},
    {"endsAt": "0001-01-01T00:00:00Z"},
]


async def test_a_silence_that_is_none_changes_nothing(client: TestClient[Any, Any], router: AlertRouter) -> None:
    kept = (await (await client.post("/api/v2/silences", json=SILENCE)).json())["silenceID"]
    for change in CHANGES:
        for body in ({**SILENCE, **change}, {**SILENCE, **change, "id": kept}):
            answer = await client.post("/api/v2/silences", json=body)
            assert answer.status == 400, await answer.text()
        (silence,) = router.engine.silences
        assert (silence.id, silence.state(router.clock.time_ns())) == (kept, "active"), change


async def test_a_catastrophic_expression_costs_nothing(client: TestClient[Any, Any]) -> None:
    await client.post("/api/v2/alerts", json=[{"labels": {"alertname": "x", "a": "a" * 60_000}}])
    body = {**SILENCE, "matchers": [{"name": "a", "value": "(a+)+b|(a|a)*c", "isRegex": True}]}
    assert (await client.post("/api/v2/silences", json=body)).status == 200
    (alert,) = await (await client.get("/api/v2/alerts", params={"filter": 'a=~"(a|aa)+"'})).json()
    assert alert["status"]["state"] == "active"


async def test_ends_at_the_edges_of_the_calendar_are_kept(tmp_path: Path) -> None:
    moments = ["9999-12-31T23:59:59.000Z", "2262-04-11T23:47:16.854Z", "2116-02-20T23:53:38.427Z"]
    clock = SystemClock()
    for life in range(2):
        router = AlertRouter(AlertingSettings(), tmp_path, clock)
        await router.start()
        app = web.Application()
        alertmanager_api.register_routes(app, router)
        async with TestClient(TestServer(app)) as client:
            if life == 0:
                items = [{"labels": {"alertname": end}, "endsAt": end} for end in moments]
                assert (await client.post("/api/v2/alerts", json=items)).status == 200
            found = await (await client.get("/api/v2/alerts")).json()
            assert {alert["labels"]["alertname"]: alert["endsAt"] for alert in found} == {m: m for m in moments}
        await router.stop()


async def test_many_silences_and_repeated_ones(client: TestClient[Any, Any], router: AlertRouter) -> None:
    ids = {(await (await client.post("/api/v2/silences", json=SILENCE)).json())["silenceID"] for _ in range(50)}
    assert len(ids) == 50, "each is a silence of its own"
    await client.post("/api/v2/alerts", json=[{"labels": {"alertname": "x"}}])
    (alert,) = await (await client.get("/api/v2/alerts")).json()
    assert alert["status"]["silencedBy"] == sorted(ids)
