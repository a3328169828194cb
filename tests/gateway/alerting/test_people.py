"""Acknowledge, snooze, resolve by hand, comment, and the explanation of an alert's way, through the real interface."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.alerting.alert import fingerprint
from gateway.alerting.explain import past, present
from gateway.alerting.moments import SECOND
from gateway.alerting.people import Handling, People
from gateway.alerting.router import AlertRouter
from gateway.alerting.settings import AlertingSettings
from gateway.clock import SystemClock
from gateway.errors import Conflict, NotFound
from gateway.settings_types import Secret
from gateway.telemetry.anomaly import Anomaly
from gateway.web import alerting_api, alertmanager_api
from gateway.web.json_api import declared_errors
from tests.conformance.alertmanager.peers import Receiver, eventually, served
from tests.gateway.alerting.test_properties import INHIBITED, ONE
from tests.gateway.alerting.virtual import World


def test_an_acknowledged_group_is_not_repeated_until_something_new_fires() -> None:
    world = World(ONE)
    people = People(world.engine)
    one = world.fire(alertname="x", n="1")
    world.advance(20)
    people.acknowledge(one, "ana", world.now)
    world.advance(1500)
    assert len(world.told) == 1
    world.fire(alertname="x", n="2")
    world.advance(60)
    assert len(world.told) == 2


def test_an_acknowledgement_ends_with_the_alert() -> None:
    world = World(ONE)
    people = People(world.engine)
    one = world.fire(alertname="x")
    world.advance(20)
    people.acknowledge(one, "ana", world.now)
    world.end(alertname="x")
    assert not people.acknowledged(one)
    assert ("people", one) not in set(world.store.kept)  # type: ignore[attr-defined]
    world.fire(alertname="x")
    assert not people.acknowledged(one)
    with pytest.raises(NotFound):
        people.acknowledge("0" * 16, "ana", world.now)


def test_a_snooze_mutes_one_alert_and_then_it_is_told_again() -> None:
    world = World(ONE)
    people = People(world.engine)
    one = world.fire(alertname="x")
    world.advance(20)
    people.snooze(one, "ana", world.now + 300 * SECOND, world.now)
    world.advance(290)
    assert len(world.told) == 1
    world.advance(130)
    assert len(world.told) == 2
    people.resolve(one, "ana", world.now)
    with pytest.raises(Conflict):
        people.snooze(one, "ana", world.now + SECOND, world.now)
    world.advance(70)
    assert world.told[-1].resolved == {one}


def test_handling_survives_a_restart() -> None:
    world = World(ONE)
    people = People(world.engine)
    one = world.fire(alertname="x")
    people.acknowledge(one, "ana", world.now)
    world.commit()
    world.crash()
    again = People(world.engine)
    ((_, body),) = list(world.store.records("people"))
    import msgspec

    again.load(msgspec.json.decode(body, type=Handling))
    assert again.acknowledged(one)


def test_every_alert_can_say_why_it_was_or_was_not_told() -> None:
    world = World(INHIBITED)
    people = People(world.engine)
    told = world.fire(alertname="source", severity="critical", host="h")
    inhibited = world.fire(alertname="target", severity="warning", host="h")
    silenced = world.fire(alertname="quiet")
    world.silence('{alertname="quiet"}', 0, 1000)
    waiting_before = present(world.engine, people, told, world.now)
    assert waiting_before is not None
    assert waiting_before["routes"][0]["verdict"].startswith("waits for the end of the group wait")
    world.advance(11)

    def verdict(name: str) -> str:
        shown = present(world.engine, people, name, world.now)
        assert shown is not None
        return str(shown["routes"][0]["verdict"])

    assert verdict(told) == "told"
    assert verdict(inhibited) == f"muted: inhibition {told}"
    assert verdict(silenced).startswith("muted: silence ")
    events = [line["event"] for line in past(world.store, told)]
    assert events == ["firing", "grouped", "notifying", "delivered"]
    assert [line["event"] for line in past(world.store, inhibited)] == ["firing", "grouped", "muted"]
    assert past(world.store, told)[3]["lag"] == 0.0


async def test_interface_and_anomalies_as_alerts(tmp_path: Path) -> None:
    async with Receiver().running() as receiver:
        router = AlertRouter(
            AlertingSettings(webhook_url=Secret(f"{receiver.url}/hook")),
            tmp_path,
            SystemClock(),
            external_url="http://c.example",
        )
        await router.start()
        app = web.Application(middlewares=[declared_errors])
        alerting_api.register_routes(app, router)
        alertmanager_api.register_routes(app, router)
        anomaly = Anomaly(
            id="a-1",
            time=SystemClock().time_ns() / 1e9,
            series={"__name__": "latency_seconds", "service_name": "shop", "severity": "own"},
            value=3.0,
            expected=1.0,
            lower=0.8,
            upper=1.2,
            score=0.95,
            severity="critical",
            reasons=["level shift"],
        )
        try:
            async with served(app) as url, aiohttp.ClientSession() as session:

                async def call(method: str, path: str, body: Any = None) -> tuple[int, Any]:
                    async with session.request(method, f"{url}/api/v1/{path}", json=body) as answer:
                        return answer.status, await answer.json()

                await router.submit_anomaly(anomaly)
                await router.submit_anomaly(anomaly)
                await eventually(lambda: receiver.told.get("hook"))
                (alert,) = receiver.told["hook"][0]["alerts"]
                name = alert["fingerprint"]
                assert alert["labels"] == {
                    "alertname": "AnomalyDetected",
                    "exported_severity": "own",
                    "metric": "latency_seconds",
                    "service": "shop",
                    "service_name": "shop",
                    "severity": "critical",
                }
                assert name == fingerprint(alert["labels"])
                assert alert["generatorURL"] == "http://c.example/#/anomalies/a-1"
                assert alert["annotations"]["expected_range"] == "0.8 to 1.2"
                assert (await call("POST", f"alerts/{name}/acknowledge", {"by": "ana"}))[0] == 200
                assert (await call("POST", f"alerts/{name}/acknowledge", {"by": ""}))[0] == 400
                assert (await call("POST", f"alerts/{name}/comments", {"by": "ana", "text": "looking"}))[0] == 200
                assert (await call("POST", f"alerts/{name}/snooze", {"by": "ana", "duration": "soon"}))[0] == 400
                assert (await call("POST", "alerts/0123456789abcdef/resolve", {"by": "ana"}))[0] == 404
                _, explained = await call("GET", f"alerts/{name}/explain")
                assert explained["now"]["acknowledgedBy"] == "ana"
                kinds = [line["event"] for line in explained["history"]]
                assert kinds == ["firing", "grouped", "notifying", "delivered", "acknowledged", "comment"]
                resolved = Anomaly(**{f: getattr(anomaly, f) for f in anomaly.__struct_fields__})
                resolved.state, resolved.ended = "resolved", anomaly.time + 1
                await router.submit_anomaly(resolved)
                await router.submit_anomaly(anomaly)  # reading the log again opens nothing
                async with session.get(f"{url}/api/v2/alerts") as answer:
                    assert await answer.json() == []
                _, notifications = await call("GET", "notifications")
                assert [line["event"] for line in notifications["recent"]] == ["delivered"]
        finally:
            await router.stop()
