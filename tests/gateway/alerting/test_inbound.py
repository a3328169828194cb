"""Other services' interfaces: our own channels tell a second router through them, and senders by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from gateway.alerting.notification import Delivered
from gateway.alerting.router import AlertRouter
from gateway.alerting.settings import AlertingSettings
from gateway.clock import SystemClock
from gateway.settings_types import Secret
from gateway.web import inbound_api
from gateway.web.json_api import declared_errors
from tests.conformance.alertmanager.peers import served
from tests.gateway.alerting.test_channels import Channels, notification

KEY = "k" * 32


async def started(directory: Path, **settings: Any) -> tuple[AlertRouter, web.Application]:
    router = AlertRouter(AlertingSettings(**settings), directory, SystemClock())
    await router.start()
    app = web.Application(middlewares=[declared_errors])
    inbound_api.register_routes(app, router)
    return router, app


def open_names(router: AlertRouter) -> list[str]:
    now = router.clock.time_ns()
    return sorted(alert.labels["severity"] for alert in router.engine.alerts.values() if alert.active(now))


async def test_our_own_channels_speak_to_it(tmp_path: Path) -> None:
    router, app = await started(tmp_path, inbound_keys=(Secret(KEY),))
    try:
        async with served(app) as url:
            text = (
                f"    pagerduty_configs: [{{routing_key: {KEY}, url: '{url}/v2/enqueue'}}]\n"
                f"    opsgenie_configs: [{{api_key: {KEY}, api_url: '{url}', priority: P1}}]\n"
                f"    webhook_configs: [{{url: '{url}/api/v1/inbound/webhook'}}]\n"
            )
            async with Channels(text) as channels:
                for expected, kind in enumerate(("pagerduty", "opsgenie", "webhook"), start=1):
                    assert isinstance(await channels[kind].send(notification()), Delivered), kind
                    assert len(open_names(router)) == expected
                for left, kind in ((2, "pagerduty"), (1, "opsgenie"), (0, "webhook")):
                    assert isinstance(await channels[kind].send(notification(firing=0, resolved=1)), Delivered), kind
                    assert len(open_names(router)) == left
    finally:
        await router.stop()


async def test_events_by_hand_survive_a_restart(tmp_path: Path) -> None:
    router, app = await started(tmp_path, inbound_keys=(Secret(KEY),))

    def event(action: str, severity: str = "error", **more: Any) -> dict[str, Any]:
        payload = {"summary": "s", "source": "h", "severity": severity}
        return {"routing_key": KEY, "event_action": action, "dedup_key": "d", "payload": payload, **more}

    async def post(session: aiohttp.ClientSession, url: str, body: Any) -> tuple[int, Any]:
        async with session.post(url, json=body) as answer:
            return answer.status, await answer.json()

    async with aiohttp.ClientSession() as session:
        async with served(app) as url:
            assert await post(session, f"{url}/v2/enqueue", event("trigger")) == (
                202, {"status": "success", "message": "Event processed", "dedup_key": "d"},
            )  # fmt: skip
            assert (await post(session, f"{url}/v2/enqueue", event("trigger", "critical")))[0] == 202
            assert open_names(router) == ["critical"]
            for wrong in (
                event("trigger", "dire"), event("shout"), event("trigger", dedup_key="x" * 256),
                event("trigger", routing_key="other"), event("trigger", payload=None),
            ):  # fmt: skip
                assert (await post(session, f"{url}/v2/enqueue", wrong))[0] == 400
            change = {"routing_key": KEY, "payload": {"summary": "deployed shop 1.2", "source": "ci"}}
            assert (await post(session, f"{url}/v2/change/enqueue", change))[0] == 202
            assert (await post(session, f"{url}/v2/alerts", {"message": "m"}))[0] == 401
        await router.stop()
        router, app = await started(tmp_path, inbound_keys=(Secret(KEY),))
        async with served(app) as url:
            assert (await post(session, f"{url}/v2/enqueue", event("acknowledge")))[0] == 202
            (alert,) = [a for a in router.engine.alerts.values() if a.labels["severity"] == "critical"]
            assert router.people.acknowledged(alert.fingerprint)
            assert (await post(session, f"{url}/v2/enqueue", event("resolve")))[0] == 202
            assert (await post(session, f"{url}/v2/enqueue", event("resolve")))[0] == 202
            assert open_names(router) == []
            (recorded,) = router.store.history(kinds=("change",))
            assert b"deployed shop 1.2" in recorded.detail
    await router.stop()


async def test_without_keys_the_paths_are_absent(tmp_path: Path) -> None:
    router, app = await started(tmp_path)
    async with served(app) as url, aiohttp.ClientSession() as session:
        async with session.post(f"{url}/v2/enqueue", json={}) as answer:
            assert answer.status == 404
        async with session.post(f"{url}/api/v1/inbound/webhook", json={"alerts": [{"labels": {}}]}) as answer:
            assert answer.status == 400
    await router.stop()
