"""Heartbeats: expiry, pings, restarts, and Opsgenie's interface."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from gateway.access.settings import AccessSettings, Token
from gateway.access.tokens import Authenticator
from gateway.alerting.heartbeat import Heartbeat, Heartbeats
from gateway.alerting.moments import SECOND
from gateway.alerting.recovery import restore
from gateway.alerting.router import AlertRouter
from gateway.alerting.settings import AlertingSettings
from gateway.alerting.store import HEARTBEAT
from gateway.clock import SystemClock
from gateway.errors import Conflict, NotFound
from gateway.settings_types import Secret
from gateway.web import heartbeat_api
from gateway.web.json_api import declared_errors
from tests.conformance.alertmanager.peers import served
from tests.gateway.alerting.test_overflow import EACH
from tests.gateway.alerting.virtual import World

BACKUP = Heartbeat(name="backup", interval=600 * SECOND)


def expired(world: World) -> list[str]:
    return [alert.labels["heartbeat"] for alert in world.engine.alerts.values() if alert.active(world.now)]


def test_a_heartbeat_that_stops_fires_and_the_next_ping_ends_it() -> None:
    world = World(EACH)
    heartbeats = Heartbeats(world.engine)
    heartbeats.add(BACKUP)
    world.advance(5000)
    assert not world.told, "it waits for its first ping"
    for _ in range(5):
        heartbeats.ping("backup", world.now)
        world.advance(500)
    assert not world.told
    world.advance(200)
    assert expired(world) == ["backup"]
    assert world.told[-1].notification.alerts[0].annotations["summary"] == "no ping of backup within 10m"
    heartbeats.ping("backup", world.now)
    heartbeats.ping("unknown", world.now)
    world.advance(100)
    assert [told.notification.status for told in world.told] == ["firing", "resolved"]
    world.advance(700)
    assert len(world.told) == 3, "it stopped again"


def test_changes_end_what_expired_and_a_disabled_one_does_not_expire() -> None:
    world = World(EACH)
    heartbeats = Heartbeats(world.engine)
    heartbeats.add(BACKUP)
    with pytest.raises(Conflict):
        heartbeats.add(BACKUP)
    heartbeats.ping("backup", world.now)
    world.advance(700)
    assert expired(world) == ["backup"]
    heartbeats.change(msgspec.structs.replace(BACKUP, enabled=False), world.now)
    world.advance(5000)
    assert not expired(world)
    heartbeats.remove("backup", world.now)
    with pytest.raises(NotFound):
        heartbeats.remove("backup", world.now)
    world.commit()
    assert not list(world.store.records(HEARTBEAT))


def test_nothing_expires_for_a_while_after_a_restart() -> None:
    world = World(EACH)
    heartbeats = Heartbeats(world.engine)
    heartbeats.add(BACKUP)
    heartbeats.ping("backup", world.now)
    world.advance(100)
    world.now += 10_000 * SECOND
    world.engine = world._engine()
    heartbeats = Heartbeats(world.engine)
    for _, body in world.store.records(HEARTBEAT):
        heartbeats.load(msgspec.json.decode(body, type=Heartbeat), world.now + 120 * SECOND)
    restore(world.engine, world.store, world.now, grace=0)
    world.advance(100)
    assert not expired(world)
    world.advance(30)
    assert expired(world) == ["backup"]


async def test_interface(tmp_path: Path) -> None:
    key = "k" * 32
    access = AccessSettings(
        tokens=(Token(name="genie", sha256=Secret(hashlib.sha256(key.encode()).hexdigest()), roles=("operate",)),)
    )
    router = AlertRouter(AlertingSettings(), tmp_path, SystemClock())
    await router.start()
    app = web.Application(middlewares=[declared_errors])
    heartbeat_api.register_routes(app, router, Authenticator(access))
    try:
        async with served(app) as url, aiohttp.ClientSession() as session:

            async def call(method: str, path: str, body: Any = None, token: str = key) -> tuple[int, Any]:
                headers = {"Authorization": f"GenieKey {token}"}
                async with session.request(method, f"{url}/v2/heartbeats{path}", json=body, headers=headers) as answer:
                    return answer.status, await answer.json()

            made = {"name": "backup", "interval": 2, "intervalUnit": "hours", "enabled": True, "description": "d"}
            status, answer = await call("POST", "", made)
            assert (status, answer["data"]) == (201, {**made, "expired": False})
            assert (await call("POST", "", made))[0] == 409
            assert (await call("POST", "", {**made, "interval": 0, "name": ""}))[1]["errors"].keys() == {
                "name",
                "interval",
            }
            assert (await call("POST", "", [1]))[0] == 422
            assert (await call("POST", "", made, token="wrong"))[0] == 401
            for method in ("GET", "POST", "PUT", "PATCH"):
                status, answer = await call(method, "/backup/ping")
                assert (status, answer["result"]) == (202, "PONG - Heartbeat received")
                assert answer.keys() == {"result", "took", "requestId"}
            assert (await call("POST", "/unknown/ping"))[0] == 202
            assert router.heartbeats.get("backup").last > 0
            status, answer = await call("PATCH", "/backup", {"interval": 90})
            assert (answer["data"]["interval"], answer["data"]["intervalUnit"]) == (90, "minutes")
            assert (await call("GET", "/backup"))[1]["data"]["description"] == "d"
            assert [one["name"] for one in (await call("GET", ""))[1]["data"]["heartbeats"]] == ["backup"]
            assert (await call("DELETE", "/backup"))[0] == 200
            assert (await call("GET", "/backup"))[0] == 404
    finally:
        await router.stop()
