"""Other tools' interfaces by their documented shapes and answers, and the real Alertmanager as a sender."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.access.settings import AccessSettings, Token
from gateway.access.tokens import Authenticator
from gateway.alerting.alert import Alert
from gateway.alerting.inbound import MAX_ALERTS, account
from gateway.alerting.router import AlertRouter
from gateway.alerting.settings import AlertingSettings
from gateway.clock import SystemClock
from gateway.settings_types import Secret
from gateway.web import inbound_api
from gateway.web.access_guard import access_guard
from gateway.web.json_api import declared_errors
from tests.conformance.alertmanager.peers import eventually, needs_alertmanager, real_alertmanager, served

KEY = "0123456789abcdef0123456789abcdef"
GENIE = {"Authorization": f"GenieKey {KEY}"}


class Desk:
    """The interfaces over a real router."""

    def __init__(self, url: str, router: AlertRouter, session: aiohttp.ClientSession) -> None:
        self.url, self.router, self._session = url, router, session

    async def post(self, path: str, body: Any, **headers: str) -> tuple[int, Any]:
        data = body if isinstance(body, bytes) else aiohttp.JsonPayload(body)
        async with self._session.post(f"{self.url}{path}", data=data, headers=headers) as answer:
            assert answer.content_type == "application/json"
            return answer.status, await answer.json()

    async def get(self, path: str) -> tuple[int, Any]:
        async with self._session.get(f"{self.url}{path}") as answer:
            return answer.status, await answer.json()

    @property
    def firing(self) -> list[Alert]:
        now = self.router.clock.time_ns()
        return [alert for alert in self.router.engine.alerts.values() if alert.active(now)]


@contextlib.asynccontextmanager
async def desk(directory: Path, access: AccessSettings | None = None) -> AsyncIterator[Desk]:
    router = AlertRouter(AlertingSettings(), directory, SystemClock())
    await router.start()
    try:
        authenticator = Authenticator(access or AccessSettings())
        app = web.Application(middlewares=[access_guard(authenticator), declared_errors], client_max_size=2**24)
        inbound_api.register_routes(app, router, authenticator)
        async with served(app) as url, aiohttp.ClientSession() as session:
            yield Desk(url, router, session)
    finally:
        await router.stop()


def event(action: str = "trigger", **fields: Any) -> dict[str, Any]:
    payload = {"summary": "disk full", "source": "host-1", "severity": "critical"}
    return {"routing_key": KEY, "event_action": action, "dedup_key": "disk", "payload": payload} | fields


# PagerDuty Events v2


async def test_pagerduty_trigger_acknowledge_resolve(tmp_path: Path) -> None:
    async with desk(tmp_path) as ours:
        payload = {
            "summary": "disk full",
            "source": "host-1",
            "severity": "error",
            "timestamp": "2015-07-17T08:42:58.315+0000",
            "component": "sda",
            "group": "storage",
            "class": "DiskFull",
            "custom_details": {"free": 3, "paths": ["/", "/var"]},
        }
        links = [{"href": "https://runbook.example/disk", "text": "runbook"}]
        sent = event(payload=payload, links=links, client="Nagios", client_url="https://nagios.example/")
        status, answer = await ours.post("/v2/enqueue", sent)
        assert (status, answer) == (202, {"status": "success", "message": "Event processed", "dedup_key": "disk"})
        (alert,) = ours.firing
        assert alert.labels == {
            "alertname": "DiskFull",
            "component": "sda",
            "dedup_key": "disk",
            "group": "storage",
            "inbound": account("pagerduty", KEY),
            "instance": "host-1",
            "severity": "error",
        }
        assert KEY not in str(alert)
        assert alert.annotations["summary"] == "disk full"
        assert alert.annotations["custom_details"] == '{"free":3,"paths":["/","/var"]}'
        assert alert.annotations["links"] == "https://runbook.example/disk"
        assert alert.generator_url == "https://nagios.example/"
        assert alert.origin == "pagerduty"
        assert datetime.fromtimestamp(alert.starts / 1e9, UTC).isoformat() == "2015-07-17T08:42:58.315000+00:00"
        assert (await ours.post("/v2/enqueue", event("acknowledge", client="Nagios")))[0] == 202
        handling = ours.router.people.get(alert.fingerprint)
        assert handling is not None
        assert handling.acknowledged_by == "Nagios"
        status, answer = await ours.post("/v2/enqueue", {k: v for k, v in event("resolve").items() if k != "payload"})
        assert (status, answer["dedup_key"]) == (202, "disk")
        assert ours.firing == []


async def test_pagerduty_keys_deduplicate_and_belong_to_their_sender(tmp_path: Path) -> None:
    async with desk(tmp_path) as ours:
        await ours.post("/v2/enqueue", event())
        await ours.post("/v2/enqueue", event())
        assert len(ours.firing) == 1
        other = "f" * 32
        await ours.post("/v2/enqueue", event(routing_key=other))
        assert len(ours.firing) == 2
        await ours.post("/v2/enqueue", event("resolve", routing_key=other))
        assert [alert.labels["inbound"] for alert in ours.firing] == [account("pagerduty", KEY)]
        # Another severity under the same key: the alert goes on under its new labels.
        await ours.post("/v2/enqueue", event(payload={"summary": "s", "source": "host-1", "severity": "warning"}))
        assert [alert.labels["severity"] for alert in ours.firing] == ["warning"]
        await ours.post("/v2/enqueue", event("resolve"))
        assert ours.firing == []
        await ours.post("/v2/enqueue", event())
        assert len(ours.firing) == 1


async def test_pagerduty_makes_a_key_where_none_is_given_and_takes_unknown_ones(tmp_path: Path) -> None:
    async with desk(tmp_path) as ours:
        status, answer = await ours.post("/v2/enqueue", event(dedup_key=None))
        assert status == 202
        assert answer["dedup_key"]
        for action in ("acknowledge", "resolve"):
            assert (await ours.post("/v2/enqueue", event(action, dedup_key="nothing")))[0] == 202
        assert len(ours.firing) == 1
        assert (await ours.post("/v2/enqueue", event("resolve", dedup_key=answer["dedup_key"])))[0] == 202
        assert ours.firing == []


@pytest.mark.parametrize(
    ("sent", "problem"),
    [
        (event(routing_key="short"), "Length of 'routing_key' is incorrect (should be 32 characters)"),
        (event(routing_key=None), "'routing_key' is missing or blank"),
        (event("explode"), "'event_action' is invalid (must be one of trigger, acknowledge or resolve)"),
        (event(payload=None), "'payload' is missing or blank"),
        (event(payload={"source": "h", "severity": "info"}), "'payload.summary' is missing or blank"),
        (event(payload={"summary": "s", "severity": "info"}), "'payload.source' is missing or blank"),
        (event(payload={"summary": "s", "source": "h"}), "'payload.severity' is missing or blank"),
        (
            event(payload={"summary": "s", "source": "h", "severity": "bad"}),
            "'payload.severity' is invalid (must be one of critical, error, warning or info)",
        ),
        (
            event(payload={"summary": "s" * 1025, "source": "h", "severity": "info"}),
            "Length of 'payload.summary' is incorrect (should be at most 1024 characters)",
        ),
        (
            event(payload={"summary": "s", "source": "h", "severity": "info", "timestamp": "noon"}),
            "'payload.timestamp' is not an ISO 8601 time",
        ),
        (event(dedup_key="k" * 256), "Length of 'dedup_key' is incorrect (should be at most 255 characters)"),
        (event("resolve", dedup_key=None), "'dedup_key' is missing or blank"),
        (event(payload=[1]), "'payload.' is not an object"),
        ([], "the body is not a JSON object"),
    ],
)
async def test_pagerduty_refuses_in_its_own_form(tmp_path: Path, sent: Any, problem: str) -> None:
    async with desk(tmp_path) as ours:
        status, answer = await ours.post("/v2/enqueue", sent)
        assert status == 400
        assert (answer["status"], answer["message"]) == ("invalid event", "Event object is invalid")
        assert problem in answer["errors"]
        assert ours.firing == []


async def test_pagerduty_names_every_problem_and_refuses_what_is_no_json_or_too_large(tmp_path: Path) -> None:
    async with desk(tmp_path) as ours:
        _, answer = await ours.post("/v2/enqueue", {"event_action": "trigger", "payload": {}})
        assert len(answer["errors"]) == 4
        for bad in (b"", b"{", b'{"routing_key": "\\ud800"}', b"[" * 100_000):
            status, answer = await ours.post("/v2/enqueue", bad)
            assert (status, answer["status"]) == (400, "invalid event"), bad[:20]
        large = event(payload={"summary": "s", "source": "h", "severity": "info", "custom_details": "x" * 512 * 1024})
        status, answer = await ours.post("/v2/enqueue", large)
        assert (status, answer["status"]) == (413, "invalid event")


async def test_pagerduty_changes_are_markers(tmp_path: Path) -> None:
    async with desk(tmp_path) as ours:
        change = {
            "routing_key": KEY,
            "payload": {
                "summary": "deploy 1.2",
                "source": "ci",
                "custom_details": {"service": "shop", "version": "1.2"},
            },
            "links": [{"href": "https://ci.example/1", "text": "build"}],
        }
        assert await ours.post("/v2/change/enqueue", change) == (
            202,
            {"status": "success", "message": "Change event processed"},
        )
        _, (marker,) = await ours.get("/api/v1/markers")
        assert (marker["title"], marker["service"], marker["version"]) == ("deploy 1.2", "shop", "1.2")
        assert (marker["url"], marker["source"]) == ("https://ci.example/1", "ci")
        status, answer = await ours.post("/v2/change/enqueue", {"routing_key": KEY, "payload": {}})
        assert (status, answer["errors"]) == (400, ["'payload.summary' is missing or blank"])


# Opsgenie


async def test_opsgenie_create_acknowledge_close(tmp_path: Path) -> None:
    async with desk(tmp_path) as ours:
        sent = {
            "message": "disk full",
            "alias": "disk/1",
            "description": "no space",
            "priority": "P1",
            "tags": ["a", "b"],
            "details": {"service": "shop", "free": "3"},
            "responders": [{"type": "team", "name": "storage"}],
            "entity": "sda",
            "source": "nagios",
        }
        status, answer = await ours.post("/v2/alerts", sent, **GENIE)
        assert status == 202
        assert set(answer) == {"result", "took", "requestId"}
        assert answer["result"] == "Request will be processed"
        (alert,) = ours.firing
        assert alert.labels == {
            "alertname": "OpsgenieAlert",
            "alias": "disk/1",
            "entity": "sda",
            "inbound": account("opsgenie", KEY),
            "service": "shop",
            "severity": "critical",
            "team": "storage",
        }
        assert alert.annotations["tags"] == "a, b"
        assert alert.annotations["free"] == "3"
        path = "/v2/alerts/disk%2F1"
        status, _ = await ours.post(f"{path}/acknowledge?identifierType=alias", {"user": "ana"}, **GENIE)
        assert status == 202
        handling = ours.router.people.get(alert.fingerprint)
        assert handling is not None
        assert handling.acknowledged_by == "ana"
        status, _ = await ours.post(f"{path}/close?identifierType=alias", b"", **GENIE)
        assert status == 202
        assert ours.firing == []
        status, _ = await ours.post("/v2/alerts/unknown/close?identifierType=alias", {}, **GENIE)
        assert status == 202


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        ({}, "message"),
        ({"message": " "}, "message"),
        ({"message": "m" * 131}, "message"),
        ({"message": "m", "alias": "a" * 513}, "alias"),
        ({"message": "m", "priority": "P9"}, "priority"),
        ({"message": "m", "description": "d" * 15_001}, "description"),
        ({"message": "m", "details": {"a": 1}}, "details"),
        ({"message": "m", "tags": "a,b"}, "tags"),
    ],
)
async def test_opsgenie_refuses_in_its_own_form(tmp_path: Path, sent: Any, field: str) -> None:
    async with desk(tmp_path) as ours:
        status, answer = await ours.post("/v2/alerts", sent, **GENIE)
        assert status == 422
        assert answer["message"] == "Request body is not processable. Please check the errors."
        assert list(answer["errors"]) == [field]
        assert {"took", "requestId"} <= set(answer)
        assert ours.firing == []


async def test_opsgenie_asks_for_its_key_json_and_an_alias(tmp_path: Path) -> None:
    async with desk(tmp_path) as ours:
        for headers in ({}, {"Authorization": f"Bearer {KEY}"}, {"Authorization": "GenieKey "}):
            status, answer = await ours.post("/v2/alerts", {"message": "m"}, **headers)
            assert (status, answer["message"]) == (401, "Could not authenticate")
        assert (await ours.post("/v2/alerts", b"{", **GENIE))[0] == 400
        assert (await ours.post("/v2/alerts", {"message": "m", "note": "x" * 2**20}, **GENIE))[0] == 413
        status, answer = await ours.post("/v2/alerts/some-id/close", {}, **GENIE)
        assert (status, list(answer["errors"])) == (422, ["identifierType"])


# Webhook


async def test_webhooks_of_alertmanager_and_grafana(tmp_path: Path) -> None:
    item = {
        "status": "firing",
        "labels": {"alertname": "HighLoad", "empty": ""},
        "annotations": {"summary": "s"},
        "startsAt": "2026-01-01T00:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "https://grafana.example/a",
        "fingerprint": "ffffffffffffffff",
    }
    more = {
        "dashboardURL": "https://grafana.example/d",
        "values": {"B": 22.5},
        "valueString": "[B=22.5]",
        "panelURL": "",
    }
    message = {
        "version": "1",
        "orgId": 1,
        "state": "alerting",
        "title": "t",
        "status": "firing",
        "alerts": [item | more],
    }
    async with desk(tmp_path) as ours:
        assert await ours.post("/api/v1/inbound/webhook", message) == (200, {"accepted": 1})
        (alert,) = ours.firing
        assert alert.labels == {"alertname": "HighLoad"}
        assert alert.annotations["dashboard_url"] == "https://grafana.example/d"
        assert alert.annotations["value_string"] == "[B=22.5]"
        assert alert.origin == "webhook"
        resolved = item | {"status": "resolved", "endsAt": "2026-01-02T00:00:00Z"}
        assert (await ours.post("/api/v1/inbound/webhook", {"alerts": [resolved]}))[0] == 200
        assert ours.firing == []


async def test_webhook_keeps_valid_alerts_and_names_the_others(tmp_path: Path) -> None:
    good = {"status": "firing", "labels": {"alertname": "a"}}
    bad = [{"status": "firing", "labels": {}}, {"status": "odd", "labels": {"a": "b"}}, 5]
    bad += [{"status": "firing", "labels": {"a": 1}}, {"status": "firing", "labels": {"a": "b"}, "startsAt": "noon"}]
    async with desk(tmp_path) as ours:
        status, answer = await ours.post("/api/v1/inbound/webhook", {"alerts": [good, *bad]})
        assert status == 400
        assert all(f"alerts[{number}]" in answer["error"] for number in range(1, 6))
        assert [alert.name for alert in ours.firing] == ["a"]
        others: tuple[Any, ...] = ({}, [], {"alerts": 5}, {"alerts": [good] * (MAX_ALERTS + 1)}, b"{")
        for other in others:
            assert (await ours.post("/api/v1/inbound/webhook", other))[0] == 400
        assert (await ours.post("/api/v1/inbound/webhook", b" " * (8 * 2**20 + 1)))[0] == 413


# Markers


async def test_markers(tmp_path: Path) -> None:
    async with desk(tmp_path) as ours:
        status, made = await ours.post("/api/v1/markers", {"title": "one", "service": "shop", "tags": {"by": "ci"}})
        assert status == 201
        assert (made["title"], made["service"], made["tags"]) == ("one", "shop", {"by": "ci"})
        assert (await ours.post("/api/v1/markers", {"title": "two", "time": "2020-01-01T00:00:00Z"}))[0] == 400
        assert (await ours.post("/api/v1/markers", {"title": "two", "service": "till"}))[0] == 201
        assert [m["title"] for m in (await ours.get("/api/v1/markers"))[1]] == ["two", "one"]
        assert [m["title"] for m in (await ours.get("/api/v1/markers?service=shop"))[1]] == ["one"]
        assert [m["title"] for m in (await ours.get("/api/v1/markers?limit=1"))[1]] == ["two"]
        assert (await ours.get("/api/v1/markers?to=-1h"))[1] == []
        for bad in (
            {},
            {"title": ""},
            {"title": "x", "odd": 1},
            {"title": "x", "tags": {"a": 1}},
            {"title": "x" * 1025},
        ):
            status, answer = await ours.post("/api/v1/markers", bad)
            assert (status, set(answer)) == (400, {"error", "reason"}), bad
        for bad_query in ("limit=0", "limit=x", "from=noon", "to=1e30"):
            assert (await ours.get(f"/api/v1/markers?{bad_query}"))[0] == 400, bad_query


# Credentials


async def test_where_credentials_are_asked_the_keys_are_tokens(tmp_path: Path) -> None:
    reader = "r" * 32
    tokens = tuple(
        Token(name=name, sha256=Secret(hashlib.sha256(text.encode()).hexdigest()), roles=(role,))
        for name, text, role in (("pager", KEY, "operate"), ("reader", reader, "read"))
    )
    async with desk(tmp_path, AccessSettings(tokens=tokens)) as ours:
        assert (await ours.post("/v2/enqueue", event()))[0] == 202
        assert (await ours.post("/v2/enqueue", event(routing_key="x" * 32)))[0] == 401
        assert (await ours.post("/v2/enqueue", event(routing_key=reader)))[0] == 403
        assert (await ours.post("/v2/change/enqueue", {"routing_key": "x" * 32, "payload": {"summary": "s"}}))[0] == 401
        assert (await ours.post("/v2/alerts", {"message": "m"}, **GENIE))[0] == 202
        assert (await ours.post("/v2/alerts", {"message": "m"}, Authorization="GenieKey x"))[0] == 401
        assert (await ours.post("/api/v1/inbound/webhook", {"alerts": []}))[0] == 401
        assert (await ours.post("/api/v1/markers", {"title": "t"}))[0] == 401
        assert (await ours.post("/api/v1/markers", {"title": "t"}, Authorization=f"Bearer {KEY}"))[0] == 201
        assert len(ours.firing) == 2


# What was answered is kept


_KILLED = """
import asyncio, sys
from pathlib import Path
from aiohttp import web
from gateway.access.settings import AccessSettings
from gateway.access.tokens import Authenticator
from gateway.alerting.router import AlertRouter
from gateway.alerting.settings import AlertingSettings
from gateway.clock import SystemClock
from gateway.web import inbound_api
from gateway.settings_types import Secret

async def main():
    router = AlertRouter(AlertingSettings(), Path(sys.argv[1]), SystemClock())
    await router.start()
    app = web.Application()
    inbound_api.register_routes(app, router, Authenticator(AccessSettings()))
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.real
async def test_what_was_answered_is_there_after_kill_9(tmp_path: Path) -> None:
    running = subprocess.Popen([sys.executable, "-c", _KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert running.stdout is not None
    try:
        url = f"http://127.0.0.1:{running.stdout.readline().strip()}"
        async with aiohttp.ClientSession() as session:
            bodies = [("/v2/enqueue", event()), ("/v2/enqueue", event("acknowledge"))]
            bodies += [("/v2/enqueue", event(dedup_key="gone")), ("/v2/enqueue", event("resolve", dedup_key="gone"))]
            bodies += [("/v2/alerts", {"message": "m", "alias": "a"}), ("/api/v1/markers", {"title": "deploy"})]
            for path, body in bodies:
                async with session.post(f"{url}{path}", json=body, headers=GENIE) as answer:
                    assert answer.status in (201, 202)
        os.kill(running.pid, signal.SIGKILL)
    finally:
        running.kill()
        running.wait()
        running.stdout.close()
    async with desk(tmp_path) as ours:
        assert sorted(alert.origin for alert in ours.firing) == ["opsgenie", "pagerduty"]
        (paged,) = (alert for alert in ours.firing if alert.origin == "pagerduty")
        handling = ours.router.people.get(paged.fingerprint)
        assert handling is not None
        assert handling.acknowledged_by == "pagerduty"
        assert [marker["title"] for marker in (await ours.get("/api/v1/markers"))[1]] == ["deploy"]
        # The keys are known after a start as well.
        await ours.post("/v2/enqueue", event("resolve"))
        await ours.post("/v2/alerts/a/close?identifierType=alias", {}, **GENIE)
        assert ours.firing == []


# The real sender


@pytest.mark.real
@needs_alertmanager
async def test_the_real_alertmanager_sends_to_all_three(tmp_path: Path) -> None:
    async with desk(tmp_path / "ours") as ours:
        configuration = f"""
global:
  pagerduty_url: {ours.url}/v2/enqueue
  opsgenie_api_url: {ours.url}/
route: {{receiver: us, group_by: [alertname], group_wait: 0s, group_interval: 1s}}
receivers:
  - name: us
    pagerduty_configs: [{{routing_key: {KEY}, severity: warning}}]
    opsgenie_configs: [{{api_key: {KEY}, priority: P2}}]
    webhook_configs: [{{url: '{ours.url}/api/v1/inbound/webhook'}}]
"""
        async with real_alertmanager(tmp_path, configuration) as theirs, aiohttp.ClientSession() as session:
            alert: dict[str, Any] = {"labels": {"alertname": "Load", "service": "shop"}}
            async with session.post(f"{theirs}/api/v2/alerts", json=[alert]) as answer:
                assert answer.status == 200
            await eventually(lambda: {a.origin for a in ours.firing} == {"pagerduty", "opsgenie", "webhook"})
            assert len(ours.firing) == 3
            by_origin = {a.origin: a for a in ours.firing}
            assert by_origin["pagerduty"].labels["severity"] == "warning"
            assert by_origin["opsgenie"].labels["severity"] == "high"
            assert by_origin["opsgenie"].labels["service"] == "shop"
            assert by_origin["webhook"].labels == alert["labels"]
            ended = alert | {"endsAt": datetime.now(UTC).isoformat()}
            async with session.post(f"{theirs}/api/v2/alerts", json=[ended]) as answer:
                assert answer.status == 200
            await eventually(lambda: ours.firing == [])
