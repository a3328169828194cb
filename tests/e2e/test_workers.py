"""Two workers share the ports: series whose samples arrive over both, one of them killed, one after another started
again, their number changed. What was acknowledged is in the target, once."""

from __future__ import annotations

import contextlib
import json
import signal
import time
import urllib.error
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.otlp import delta_request, gauge_request
from tests.e2e.program import Gateway
from tests.peers import VictoriaMetrics

pytestmark = pytest.mark.real

PROTOBUF = "application/x-protobuf"
SERIES = 20
MS = 10**6


@pytest.fixture
def target(tmp_path: Path) -> Iterator[VictoriaMetrics]:
    victoria_metrics = VictoriaMetrics(tmp_path / "vm", "-dedup.minScrapeInterval=1ms")
    victoria_metrics.start()
    yield victoria_metrics
    victoria_metrics.stop()


class Ledger:
    """Sends numbered samples, each request over a connection of its own, until it is acknowledged."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._first_ms = time.time_ns() // MS - 1_200_000
        self.turns = 0
        self.longest_wait = 0.0

    def send(self, turns: int) -> None:
        """One gauge of 20 series, and one interval of a delta sum with the value 1, a turn."""
        for _ in range(turns):
            now = (self._first_ms + self.turns * 100) * MS
            points = [(now, float(self.turns * 1000 + i), {"series": f"s{i}"}) for i in range(SERIES)]
            self._until_acknowledged(gauge_request("ledger", "numbered", points))
            self._until_acknowledged(delta_request("ledger", "work", [(now, now + 100 * MS, 1)]))
            self.turns += 1

    def _until_acknowledged(self, body: bytes) -> None:
        began = time.monotonic()
        while True:
            with contextlib.suppress(OSError):
                status, _ = self._gateway.post("/v1/metrics", body, Content_Type=PROTOBUF)
                if status == 200:
                    break
                assert status in (429, 503), status
            assert time.monotonic() - began < 60.0, "nobody accepts"
            time.sleep(0.02)
        self.longest_wait = max(self.longest_wait, time.monotonic() - began)

    def check(self, target: VictoriaMetrics) -> None:
        """Every acknowledged sample is in the target with its value, and no other."""
        found = target.export('{__name__="numbered",job="ledger"}')
        values = {json.loads(labels)["series"]: dict(samples) for labels, samples in found.items()}
        times = [self._first_ms + turn * 100 for turn in range(self.turns)]
        assert values == {f"s{i}": {at: float(turn * 1000 + i) for turn, at in enumerate(times)} for i in range(SERIES)}
        ((_, total),) = target.export('{__name__="work_total",job="ledger"}').items()
        assert total == [(at + 100, float(turn + 1)) for turn, at in enumerate(times)]


def settled(gateway: Gateway) -> dict[str, Any]:
    """Wait until nothing is pending or unscored, with the identity held at every look."""
    status: dict[str, Any] = {}

    def nothing_waits() -> bool:
        nonlocal status
        try:
            status = gateway.json("/api/v1/status")
        except urllib.error.HTTPError as error:
            if error.code != 503:
                raise
            return False  # a worker is being started again
        dropped = sum(status["dropped_points"].values())
        assert status["accepted_points"] == status["forwarded_points"] + status["pending_forward_points"] + dropped
        return bool(status["pending_forward_points"] == 0 and status["unscored_backlog_points"] == 0)

    gateway.until(nothing_waits)
    return status


def test_acknowledged_samples_survive_a_killed_worker_and_a_change_of_their_number(
    tmp_path: Path, target: VictoriaMetrics
) -> None:
    options = (f"victoriametrics.url={target.url}", "victoriametrics.scores=none")
    with Gateway(tmp_path, *options, "server.workers=2") as gateway:
        ledger = Ledger(gateway)
        ledger.send(40)
        status = settled(gateway)
        assert all(worker["accepted_points"] > 0 for worker in status["workers"])  # both edges took some
        assert all(worker["forwarded_points"] > 0 for worker in status["workers"])  # and so did both shards
        assert status["active_series"] == len(gateway.json("/api/v1/series?limit=1000"))
        labels = [json.dumps(row["labels"], sort_keys=True) for row in gateway.json("/api/v1/series?limit=1000")]
        assert len(labels) == len(set(labels))  # a series has one owner
        ledger.check(target)
        other = gateway.children()["data"].pid
        killed = gateway.kill_role("data-1")
        ledger.send(40)
        gateway.until(lambda: gateway.children().get("data-1") is not None and gateway.is_ready())
        assert gateway.children()["data-1"].pid != killed
        assert gateway.children()["data"].pid == other  # nobody touched it
        ledger.send(10)
        settled(gateway)
        ledger.check(target)
        assert b'gateway_worker_up{worker="1"} 1' in gateway.get("/metrics")
        gateway.kill_all()
        gateway.start()
        ledger.send(5)
        settled(gateway)
        ledger.check(target)
    gateway.assignments.remove("server.workers=2")
    for workers in (1, 3):
        gateway.assignments.append(f"server.workers={workers}")
        with gateway:
            ledger.send(15)
            settled(gateway)
            ledger.check(target)
        gateway.assignments.pop()


def test_a_rolling_restart_ends_one_worker_after_another(tmp_path: Path, target: VictoriaMetrics) -> None:
    options = (f"victoriametrics.url={target.url}", "victoriametrics.scores=none", "server.workers=2")
    with Gateway(tmp_path, *options) as gateway:
        ledger = Ledger(gateway)
        ledger.send(5)
        before = {name: child.pid for name, child in gateway.children().items()}
        gateway.signal(signal.SIGUSR2)

        def both_new() -> bool:
            ledger.send(1)
            now = {name: child.pid for name, child in gateway.children().items()}
            return all(now.get(name) not in (None, before[name]) for name in ("data", "data-1"))

        gateway.until(both_new, 120.0)
        assert gateway.children()["control"].pid == before["control"]
        ledger.send(5)
        gateway.until(gateway.is_ready, 90.0)
        settled(gateway)
        ledger.check(target)
