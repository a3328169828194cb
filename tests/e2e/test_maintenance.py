"""Maintenance windows through the whole program: learning is frozen while one lasts, and what was known comes back."""

from __future__ import annotations

import random
import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.baseline import snapshot
from tests.e2e.otlp import gauge_request
from tests.e2e.program import Gateway
from tests.e2e.test_main_path import PROTOBUF, SECOND

pytestmark = pytest.mark.real

STEP_S = 15
SERIES = 8
SERVICES = ("payment", "till")


class Traffic:
    """Gauges of two services: SERIES each, at 100 with noise of 2; payment's last value ends in .25, till's in .75."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self._draw = random.Random(3)

    def send(self, first_s: float, last_s: float, factor: float = 1.0) -> None:
        for service in SERVICES:
            points = []
            at = first_s
            while at < last_s:
                for n in range(SERIES):
                    value = round(
                        (100 + self._draw.gauss(0.0, 2.0)) * (self._draw.uniform(0, factor) if factor > 1 else 1)
                    )
                    ending = 0.25 if service == SERVICES[0] else 0.75
                    points.append((int(at * SECOND), value + ending, {"n": str(n)}))
                at += STEP_S
            status, answer = self.gateway.post("/v1/metrics", gauge_request(service, "latency", points), **PROTOBUF)
            assert (status, answer) == (200, b"")

    def frozen(self) -> dict[str, Any]:
        """The status' word on it, once all that was sent is scored."""
        self.gateway.until(lambda: self.gateway.json("/api/v1/status")["unscored_backlog_points"] == 0)
        found: dict[str, Any] = self.gateway.json("/api/v1/status")["frozen_learning"]
        return found


def written(moment_s: float) -> str:
    return datetime.fromtimestamp(moment_s, UTC).isoformat().replace("+00:00", "Z")


def metric(gateway: Gateway, name: str, **labels: str) -> float:
    """Of all workers together."""
    samples = re.findall(rf"^{name}(?:\{{([^}}]*)\}})? (\S+)$", gateway.get("/metrics").decode(), re.MULTILINE)
    values = [
        float(value)
        for found, value in samples
        if all(f'{label}="{wanted}"' in found for label, wanted in labels.items())
    ]
    assert values, name
    return sum(values)


def transitions(gateway: Gateway, kind: str) -> float:
    return metric(gateway, "gateway_baseline_freeze_transitions_total", kind=kind)


def test_a_window_freezes_learning_until_it_is_deleted_also_over_kills_and_restarts(tmp_path: Path) -> None:
    now = time.time()
    with Gateway(tmp_path, "ingest.max_future=4h") as gateway:
        traffic = Traffic(gateway)
        traffic.send(now - 5 * 3600, now - 3600)
        made = gateway.send(
            "POST", "/api/v1/maintenance",
            {"name": "move", "by": "ana", "matchers": ['service="payment"'], "start": written(now - 3600),
             "end": written(now + 7200)},
        )  # fmt: skip
        gateway.until(lambda: metric(gateway, "gateway_baseline_freeze_windows") == 1)
        assert traffic.frozen()["windows"] == 0
        traffic.send(now - 3600, now - 1800, factor=9.0)
        gateway.until(lambda: traffic.frozen()["series"] == SERIES)
        assert traffic.frozen()["windows"] == 1
        assert traffic.frozen()["problem"] == ""
        assert metric(gateway, "gateway_baseline_frozen_series", state="kept") == SERIES
        assert metric(gateway, "gateway_baseline_freeze_bytes") > SERIES * 500

        gateway.kill_role("data")  # nothing is on disk yet but the log: it is frozen at the same rows again
        gateway.until(gateway.is_ready)
        traffic.send(now - 1800, now - 1200, factor=9.0)
        assert traffic.frozen()["series"] == SERIES
        gateway.stop()

        gateway.start()  # what is kept stands in the snapshot
        traffic.send(now - 1200, now - 600, factor=9.0)
        assert traffic.frozen()["series"] == SERIES
        gateway.kill_role("data")
        gateway.until(gateway.is_ready)
        traffic.send(now - 600, now, factor=9.0)
        assert traffic.frozen()["series"] == SERIES

        gateway.send("DELETE", f"/api/v1/maintenance/{made['id']}")
        gateway.until(lambda: gateway.json(f"/api/v1/maintenance/{made['id']}")["state"] == "expired")
        over = time.time()
        traffic.send(now + 15, over + 600)
        assert traffic.frozen()["series"] == SERIES, "the way back is not over"
        traffic.send(over + 960, over + 990)
        gateway.until(lambda: traffic.frozen()["series"] == 0)
        assert transitions(gateway, "restored") == SERIES
    (path,) = (tmp_path / "data" / "state").glob("baseline-0-*.snapshot")
    read = snapshot.read(path)
    assert len(read.frozen) == 0
    scales = {
        service: read.records["long_dev"][read.records["raw"] % 1.0 == ending]
        for service, ending in zip(SERVICES, (0.25, 0.75), strict=True)
    }
    assert [len(of_service) for of_service in scales.values()] == [SERIES, SERIES]
    assert scales["payment"].max() < 4.0, "noise of 2, as before"
    assert scales["till"].min() > 2 * scales["payment"].max(), "what the chaos made of it without a window"


def test_a_window_that_ended_before_a_restart_is_over_for_all_workers_after_it(tmp_path: Path) -> None:
    now = time.time()
    with Gateway(tmp_path, "ingest.max_future=4h", "server.workers=2") as gateway:
        traffic = Traffic(gateway)
        traffic.send(now - 3 * 3600, now - 3600)
        made = gateway.send(
            "POST", "/api/v1/maintenance",
            {"name": "move", "by": "ana", "matchers": ['service="payment"'], "start": written(now - 3600),
             "end": written(now + 7200)},
        )  # fmt: skip
        gateway.until(lambda: metric(gateway, "gateway_baseline_freeze_windows") == 2)
        traffic.send(now - 3600, now, factor=9.0)
        gateway.until(lambda: traffic.frozen()["series"] == SERIES)
        gateway.send("DELETE", f"/api/v1/maintenance/{made['id']}")
        gateway.until(lambda: gateway.json(f"/api/v1/maintenance/{made['id']}")["state"] == "expired")
        over = time.time()
        gateway.stop()
        gateway.start()
        traffic.send(over + 15, over + 60)
        assert traffic.frozen()["series"] == SERIES, "the way back is not over"
        traffic.send(over + 960, over + 990)
        gateway.until(lambda: transitions(gateway, "restored") == SERIES)
        assert traffic.frozen()["series"] == 0
