"""The watch over itself: what it posts and sends while the data plane is well, and what it withholds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from structlog.testing import capture_logs

from gateway.alerting.alert import Alert
from gateway.clock import ManualClock
from gateway.errors import Unavailable
from gateway.pipeline.data_quality import CHECKS
from gateway.settings_types import Secret
from gateway.web.data_plane_client import DataPlaneClient
from gateway.web.data_plane_socket import DataPlaneSocket
from gateway.web.self_watch import _SAID, HEARTBEATS, SelfWatch
from gateway.web.self_watch_settings import SelfWatchSettings


class View:
    """A data plane that says what it is told to."""

    def __init__(self) -> None:
        self.problem = ""
        self.found: list[dict[str, Any]] = []

    def status(self) -> dict[str, Any]:
        return {"problem": self.problem, "data_quality": self.found}

    def ready(self) -> str:
        return self.problem


@asynccontextmanager
async def watched(tmp_path: Path, **settings: Any) -> AsyncIterator[tuple[View, SelfWatch, list[Alert]]]:
    view, posted = View(), []
    server = DataPlaneSocket(view, tmp_path / "data.sock")  # type: ignore[arg-type]
    await server.start()
    client = DataPlaneClient(tmp_path / "data.sock")

    async def post(alerts: list[Alert]) -> None:
        posted.extend(alerts)

    try:
        yield view, SelfWatch(SelfWatchSettings(**settings), client, post, ManualClock()), posted
    finally:
        await client.close()
        await server.stop()


async def test_the_watchdog_fires_while_the_data_plane_is_well(tmp_path: Path) -> None:
    async with watched(tmp_path, watchdog=True) as (view, watch, posted):
        await watch.look()
        await watch.look()
        assert [a.name for a in posted] == ["Watchdog", "Watchdog"]
        assert posted[0].fingerprint == posted[1].fingerprint
        assert posted[0].starts < posted[0].ends
        view.problem = "scoring stands still"
        await watch.look()
        assert len(posted) == 2


async def test_problems_of_data_become_alerts(tmp_path: Path) -> None:
    async with watched(tmp_path) as (view, watch, posted):
        await watch.look()
        assert posted == [], "the watchdog is not on by default"
        view.found = [{"sender": "shop", "check": "clock_ahead", "value": 61.5, "since": 1.6e9}]
        await watch.look()
        assert posted[0].labels == {
            "alertname": "DataQuality",
            "check": "clock_ahead",
            "job": "shop",
            "severity": "low",
        }
        assert "61.5 s ahead" in posted[0].annotations["summary"]
        assert posted[0].starts == 1_600_000_000 * 10**9


async def test_heartbeats_go_out_while_all_is_well(tmp_path: Path) -> None:
    beats: list[str] = []

    async def receive(request: web.Request) -> web.Response:
        beats.append(request.path)
        return web.Response(status=500 if len(beats) > 1 else 200)

    application = web.Application()
    application.router.add_post("/secret-token", receive)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/secret-token"

    def count(result: str) -> float:
        return HEARTBEATS.labels(result)._value.get()

    before = {r: count(r) for r in ("ok", "refused", "withheld", "failed")}
    async with watched(tmp_path, heartbeat_url=Secret(url)) as (view, watch, _):
        await watch.beat()
        await watch.beat()
        view.problem = "the log refuses"
        await watch.beat()
        assert beats == ["/secret-token"] * 2
        view.problem = ""
        await runner.cleanup()
        await watch.beat()
    assert {r: count(r) - b for r, b in before.items()} == {"ok": 1, "refused": 1, "withheld": 1, "failed": 1}


async def test_a_data_plane_that_does_not_answer_is_no_heartbeat(tmp_path: Path) -> None:
    client = DataPlaneClient(tmp_path / "nothing.sock")
    watch = SelfWatch(SelfWatchSettings(watchdog=True), client, lambda _: pytest.fail("posted"), ManualClock())
    with pytest.raises(Unavailable):
        await watch.look()
    before = HEARTBEATS.labels("withheld")._value.get()
    await watch.beat()
    assert HEARTBEATS.labels("withheld")._value.get() == before + 1
    await client.close()


async def test_a_data_plane_that_is_not_up_yet_is_no_warning(tmp_path: Path) -> None:
    clock, client = ManualClock(), DataPlaneClient(tmp_path / "nothing.sock")
    watch = SelfWatch(SelfWatchSettings(), client, lambda _: pytest.fail("posted"), clock)
    with capture_logs() as said:
        watch.start()
        await asyncio.sleep(0.1)
        await watch.stop()
        assert said == []
        clock.advance(30.0)
        watch.start()
        await asyncio.sleep(0.1)
        await watch.stop()
        assert [line["log_level"] for line in said] == ["warning"]
    await client.close()


def test_every_check_of_the_data_has_its_words() -> None:
    assert set(_SAID) == set(CHECKS)
    assert all(text.format(sender="s", value=2.0) for text in _SAID.values())
