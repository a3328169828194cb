"""The whole way of a problem of data: points in, problem found, in /metrics, in the status, as an alert, and gone."""

from __future__ import annotations

import time
from pathlib import Path

from gateway.alerting.router import AlertRouter
from gateway.alerting.settings import AlertingSettings
from gateway.clock import SystemClock
from gateway.decode.otlp_metrics import OtlpMetricsDecoder
from gateway.decode.settings import DecodeSettings
from gateway.pipeline.data_plane import DataPlane
from gateway.web.data_plane_client import DataPlaneClient
from gateway.web.data_plane_socket import DataPlaneSocket
from gateway.web.self_watch import SelfWatch
from gateway.web.self_watch_settings import SelfWatchSettings
from tests.e2e.otlp import gauge_request
from tests.faults.plane import running_plane, settled

SECOND = 10**9


async def send_rounds(plane: DataPlane, first: int, count: int, ahead: float) -> None:
    """Rounds of 30 points each from "shop" and "till", ten seconds apart; shop's clock is ahead."""
    decoder = OtlpMetricsDecoder(plane.hash_key, DecodeSettings())
    for number in range(first, first + count):
        now = (int(time.time()) - 3600 + 10 * number) * SECOND
        for service, offset in (("shop", ahead), ("till", -0.5)):
            at = now + int(offset * SECOND)
            body = gauge_request(service, "size", [(at, 1.0, {"n": f"{n}"}) for n in range(30)])
            await plane.committer.accept(
                decoder.decode_protobuf(body, at // 10**6), received_ns=now, body_bytes=len(body)
            )
    await settled(plane)


async def problems_in_metrics(client: DataPlaneClient, check: str) -> float:
    for line in (await client.metrics()).decode().splitlines():
        if line.startswith(f'gateway_data_quality_problems{{check="{check}"}}'):
            return float(line.rsplit(" ", 1)[1])
    raise AssertionError("the gauge is not exposed")


async def test_a_clock_that_is_ahead_is_seen_in_metrics_status_and_alerts_until_it_is_mended(tmp_path: Path) -> None:
    router = AlertRouter(AlertingSettings(), tmp_path / "state", SystemClock(), external_url="http://127.0.0.1/")
    (tmp_path / "state").mkdir()
    await router.start()
    async with running_plane(tmp_path / "data") as plane:
        server = DataPlaneSocket(plane, tmp_path / "data.sock")
        await server.start()
        client = DataPlaneClient(tmp_path / "data.sock")
        watch = SelfWatch(SelfWatchSettings(watchdog=True), client, router.post_alerts, SystemClock())
        try:
            await send_rounds(plane, 0, 12, ahead=61.0)
            assert await problems_in_metrics(client, "clock_ahead") == 1.0
            found = (await client.status())["data_quality"]
            assert [(p["sender"], p["check"]) for p in found] == [("shop", "clock_ahead")]
            await watch.look()
            alerts = {a.name: a for a in router.engine.alerts.values()}
            assert set(alerts) == {"DataQuality", "Watchdog"}
            assert alerts["DataQuality"].labels["job"] == "shop"
            assert "ahead" in alerts["DataQuality"].annotations["summary"]
            await send_rounds(plane, 12, 12, ahead=-0.5)
            assert await problems_in_metrics(client, "clock_ahead") == 0.0
            assert (await client.status())["data_quality"] == []
        finally:
            await client.close()
            await server.stop()
            await router.stop()
