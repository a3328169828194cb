"""Nothing acknowledged is lost and every row is accounted for at every moment: target down, killed, refusing; data
plane killed; log full; too many series; delta intervals that come twice."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from tests.e2e.breakable_target import BreakableTarget
from tests.e2e.otlp import delta_request, gauge_request
from tests.e2e.program import Gateway
from tests.peers import VictoriaMetrics

pytestmark = pytest.mark.real

PROTOBUF = "application/x-protobuf"
SECOND = 10**9
PATIENCE = ("victoriametrics.backoff_max=500ms", "victoriametrics.poll_interval=500ms", "victoriametrics.scores=none")


@pytest.fixture
def target(tmp_path: Path) -> Iterator[VictoriaMetrics]:
    victoria_metrics = VictoriaMetrics(tmp_path / "vm", "-dedup.minScrapeInterval=1ms")
    yield victoria_metrics
    victoria_metrics.stop()


class Ledger:
    """Sends numbered samples of one gauge and knows which were acknowledged."""

    def __init__(self, gateway: Gateway, name: str = "numbered") -> None:
        self.gateway, self.name = gateway, name
        self.acknowledged: dict[tuple[str, int], float] = {}
        self._next = 0
        self._first_ms = time.time_ns() // 10**6 - 1_200_000

    def send(self, series: int = 20, prefix: str = "s") -> int:
        """One request; returns the status. A broken connection is 0: the request may or may not be in."""
        time_ms = self._first_ms + self._next
        values = {(f"{prefix}{i}", time_ms): float(self._next * 1000 + i) for i in range(series)}
        self._next += 1
        body = gauge_request("ledger", self.name, [(t * 10**6, v, {"series": s}) for (s, t), v in values.items()])
        try:
            status, _ = self.gateway.post("/v1/metrics", body, Content_Type=PROTOBUF)
        except OSError:
            return 0
        if status == 200:
            self.acknowledged |= values
        return status

    def send_until_acknowledged(self) -> None:
        """Like a client that sends the same samples again until they are taken."""
        self.gateway.until(lambda: self.send() == 200)

    def held_by(self, target: VictoriaMetrics) -> dict[tuple[str, int], float]:
        """What VictoriaMetrics has of it."""
        return {
            (json.loads(labels)["series"], time_ms): value
            for labels, samples in target.export(f'{{__name__="{self.name}"}}').items()
            for time_ms, value in samples
        }

    def must_be_held_by(self, target: VictoriaMetrics) -> None:
        """Every acknowledged sample is there with its value."""
        self.gateway.until(lambda: self.acknowledged.items() <= self.held_by(target).items())


def _unaccounted(status: dict[str, Any]) -> int:
    known = status["forwarded_points"] + status["pending_forward_points"] + sum(status["dropped_points"].values())
    return int(status["accepted_points"] - known)


@contextmanager
def _watched(gateway: Gateway) -> Iterator[list[dict[str, Any]]]:
    """Collects every status that can be had, as fast as it can be had."""
    seen: list[dict[str, Any]] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            try:
                seen.append(gateway.json("/api/v1/status"))
            except OSError:
                continue  # the data plane is being killed

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def test_every_row_is_accounted_for_at_every_moment_across_kill_9(tmp_path: Path, target: VictoriaMetrics) -> None:
    target.start()
    with Gateway(tmp_path, f"victoriametrics.url={target.url}", *PATIENCE) as gateway, _watched(gateway) as seen:
        ledger = Ledger(gateway)
        for n in range(120):
            ledger.send_until_acknowledged()
            if n in (40, 80):
                gateway.kill_role("data")
        gateway.until_forwarded(len(ledger.acknowledged))
        ledger.must_be_held_by(target)
    assert len(seen) > 20
    assert {_unaccounted(status) for status in seen} == {0}
    accepted = [status["accepted_points"] for status in seen]
    assert accepted == sorted(accepted), "what is accepted stays accepted"


def test_while_the_target_is_down_the_gateway_is_ready_and_keeps_everything(
    tmp_path: Path, target: VictoriaMetrics
) -> None:
    with Gateway(tmp_path, f"victoriametrics.url={target.url}", *PATIENCE) as gateway:
        ledger = Ledger(gateway)
        for _ in range(20):
            assert ledger.send() == 200
        status = gateway.json("/api/v1/status")
        assert status["pending_forward_points"] == status["accepted_points"] == 400
        assert not status["forwarding"]["connected"]
        assert gateway.is_ready(), "down targets are waited for"
        target.start()
        gateway.until_forwarded(400)
        for _ in range(10):
            assert ledger.send() == 200
        gateway.until_forwarded(600)
        target.pause()
        assert ledger.send() == 200
        assert gateway.is_ready(), "a target that hangs is waited for as well"
        target.resume()
        gateway.until_forwarded(620)
        target.kill()  # what it answered 204 to within the last seconds is gone with it
        assert ledger.send() == 200
        assert gateway.is_ready()
        target.start()
        ledger.must_be_held_by(target)
        assert _unaccounted(gateway.json("/api/v1/status")) == 0


def test_one_refused_block_is_set_aside_and_the_rest_goes_on(tmp_path: Path, target: VictoriaMetrics) -> None:
    target.start()
    broken = BreakableTarget(target)
    refusals = iter([400])
    outages = iter([503, 429, 500])
    try:
        with Gateway(tmp_path, f"victoriametrics.url={broken.url}", *PATIENCE) as gateway:
            ledger = Ledger(gateway, "poisoned")
            broken.verdict = lambda _: next(refusals, None)
            assert ledger.send() == 200
            gateway.until(lambda: bool(gateway.json("/api/v1/status")["dropped_points"]))
            refused = dict(ledger.acknowledged)
            broken.verdict = lambda _: next(outages, None)
            for _ in range(5):
                assert ledger.send() == 200
            status = gateway.until_forwarded(120)
            assert sum(status["dropped_points"].values()) == len(refused)
            assert status["forwarding"]["dead_letter_blocks"] == 1
            assert _unaccounted(status) == 0
            for key in refused:
                del ledger.acknowledged[key]
            ledger.must_be_held_by(target)
        letters = list((tmp_path / "data").rglob("*dead*"))
        assert letters, "the refused block is kept"
    finally:
        broken.close()


def test_a_full_log_makes_clients_wait_and_takes_up_again(tmp_path: Path, target: VictoriaMetrics) -> None:
    limits = ("log.max_bytes=400KB", "log.durability=os", "victoriametrics.replay_seconds=1s")
    with Gateway(tmp_path, f"victoriametrics.url={target.url}", *limits, *PATIENCE) as gateway:
        ledger = Ledger(gateway)
        statuses = []
        while (status := ledger.send(500)) == 200:
            statuses.append(status)
            assert len(statuses) < 200, "the limit was never reached"
        assert status == 503
        body = gauge_request("ledger", "one", [(time.time_ns(), 1.0, {})] * 1000)
        assert gateway.post("/v1/metrics", body, Content_Type=PROTOBUF)[0] == 503
        assert gateway.json("/api/v1/status")["accepted_points"] == len(ledger.acknowledged)
        target.start()
        gateway.until(lambda: ledger.send(500) == 200)
        gateway.until(gateway.is_ready)
        gateway.until_forwarded(len(ledger.acknowledged))
        ledger.must_be_held_by(target)


def test_new_series_beyond_the_limit_are_refused_and_known_ones_go_on(tmp_path: Path) -> None:
    with Gateway(tmp_path, "ingest.max_series=5") as gateway:

        def send(names: list[str]) -> ExportMetricsServiceResponse:
            points = [(time.time_ns(), 1.0, {"n": name}) for name in names]
            status, body = gateway.post("/v1/metrics", gauge_request("limit", "m", points), Content_Type=PROTOBUF)
            assert status == 200
            return ExportMetricsServiceResponse.FromString(body)

        assert send(["a", "b", "c"]).partial_success.rejected_data_points == 0
        partial = send(["a", "d", "e", "f", "g"]).partial_success
        assert partial.rejected_data_points >= 2
        assert "max_series" in partial.error_message, partial.error_message
        assert send(["a", "b", "c"]).partial_success.rejected_data_points == 0
        assert gateway.json("/api/v1/status")["active_series"] <= 5


def test_delta_intervals_that_come_twice_or_overlap_are_counted_not_added(
    tmp_path: Path, target: VictoriaMetrics
) -> None:
    target.start()
    with Gateway(tmp_path, f"victoriametrics.url={target.url}", *PATIENCE) as gateway:
        begin = time.time_ns() // SECOND * SECOND - 600 * SECOND

        def send(first: float, last: float, value: int) -> None:
            interval = (begin + int(first * SECOND), begin + int(last * SECOND), value)
            answer = gateway.post("/v1/metrics", delta_request("d", "work", [interval]), Content_Type=PROTOBUF)
            assert answer == (200, b"")

        for first, last, value in ((0, 10, 5), (10, 20, 7), (10, 20, 7), (15, 25, 100), (20, 30, 1)):
            send(first, last, value)
        status = gateway.until_forwarded(5)
        gateway.kill_role("data")
        gateway.until(gateway.is_ready)
        send(20, 30, 1)
        send(30, 40, 2)
        status = gateway.until_forwarded(7)
        assert sum(status["dropped_points"].values()) == 3, status["dropped_points"]
        assert _unaccounted(status) == 0

        def totals() -> list[tuple[int, float]]:
            return [s for samples in target.export('{__name__="work_total"}').values() for s in samples]

        seconds = [(begin + n * SECOND) // 10**6 for n in (10, 20, 30, 40)]
        gateway.until(lambda: totals() == list(zip(seconds, (5.0, 12.0, 13.0, 15.0), strict=True)))
