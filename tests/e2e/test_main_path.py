"""The main path with real neighbours: OTLP in, fsync, score, VictoriaMetrics, webhook, and kill -9 in between."""

from __future__ import annotations

import json
import math
import random
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.otlp import gauge_request
from tests.e2e.pair import Pair
from tests.e2e.program import Gateway
from tests.peers import VictoriaMetrics

pytestmark = pytest.mark.real

PROTOBUF = {"Content_Type": "application/x-protobuf"}
SECOND = 10**9


class WebhookReceiver:
    """A real webhook server that keeps what it was sent."""

    def __init__(self) -> None:
        received: list[dict[str, Any]] = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Quiet."""

        self.received = received
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


def _send(gateway: Gateway, body: bytes) -> None:
    status, answer = gateway.post("/v1/metrics", body, **PROTOBUF)
    assert status == 200, answer
    assert answer == b"", "nothing was rejected"


def test_every_acknowledged_sample_is_in_victoria_metrics_across_kill_9(tmp_path: Path) -> None:
    target = VictoriaMetrics(tmp_path / "vm", "-dedup.minScrapeInterval=1ms")
    target.start()
    gateway = Gateway(tmp_path, f"victoriametrics.url={target.url}")
    sent: dict[tuple[str, int], float] = {}
    now_ms = time.time_ns() // 10**6 - 600_000
    try:
        gateway.start()
        for round_number in range(30):
            points = []
            for series in range(20):
                value = float(round_number * 20 + series)
                time_ms = now_ms + round_number * 1000
                points.append((time_ms * 10**6, value, {"series": f"s{series}"}))
                sent[f"s{series}", time_ms] = value
            _send(gateway, gauge_request("ledger", "numbered", points))
            if round_number == 10:
                gateway.kill_role("data")
                gateway.until(gateway.is_ready)
            if round_number == 20:
                gateway.kill_all()
                gateway.start()
        status = gateway.until_forwarded(len(sent))
        assert status["accepted_points"] == len(sent)
        assert status["forwarded_points"] + sum(status["dropped_points"].values()) == len(sent)
        held = {
            (json.loads(labels)["series"], time_ms): value
            for labels, samples in target.export('{__name__="numbered"}').items()
            for time_ms, value in samples
        }
        assert held == sent
    finally:
        gateway.stop()
        target.stop()


def test_a_fault_raises_an_anomaly_and_a_webhook_and_both_resolve(tmp_path: Path) -> None:
    hook = WebhookReceiver()
    routes = tmp_path / "alertmanager.yml"
    routes.write_text(
        "route: {receiver: hook, group_by: [job], group_wait: 100ms, group_interval: 500ms}\n"
        f"receivers: [{{name: hook, webhook_configs: [{{url: '{hook.url}'}}]}}]\n"
    )
    draw = random.Random(7)
    step_s, calm, fault, after = 15, 480, 24, 40
    with Gateway(tmp_path, f"alerting.config_file={routes}") as gateway:
        end_ns = time.time_ns()
        total = calm + fault + after
        begin_ns = end_ns - total * step_s * SECOND

        def value(step: int) -> float:
            level = 900.0 if calm <= step < calm + fault else 100.0
            return level + 10.0 * math.sin(step / 40.0) + draw.gauss(0.0, 2.0)

        def send(begin: int, end: int) -> None:
            for first in range(begin, end, 4):
                steps = range(first, min(first + 4, end))
                points = [(begin_ns + s * step_s * SECOND, value(s), {"route": "/pay"}) for s in steps]
                _send(gateway, gauge_request("payment", "latency", points))

        send(0, calm + 8)
        gateway.until(lambda: any(n["status"] == "firing" for n in hook.received))
        send(calm + 8, total)

        def find() -> list[dict[str, Any]]:
            return [a for a in gateway.json("/api/v1/anomalies") if a["series"]["__name__"] == "latency"]

        gateway.until(lambda: any(a["state"] == "resolved" for a in find()))
        found = find()
        fault_at = begin_ns / 1e9 + calm * step_s
        hit = [a for a in found if fault_at - step_s <= a["time"] <= fault_at + 8 * step_s]
        assert hit, found
        assert hit[0]["severity"] in ("high", "critical")
        assert hit[0]["series"]["job"] == "payment"
        assert hit[0]["reasons"]
        assert not [a for a in found if a["time"] < fault_at - step_s], "nothing before the fault"

        gateway.until(lambda: any(n["status"] == "resolved" for n in hook.received))
        firing = next(n for n in hook.received if n["status"] == "firing")
        assert firing["version"] == "4"
        assert any(a["labels"].get("job") == "payment" for a in firing["alerts"])


def test_control_plane_death_does_not_stop_ingestion(tmp_path: Path) -> None:
    with Gateway(tmp_path) as gateway:
        data = gateway.children()["data"].pid
        killed = gateway.kill_role("control")
        _send(gateway, gauge_request("s", "m", [(time.time_ns(), 1.0, {})]))
        gateway.until(gateway.is_ready)
        children = gateway.children()
        assert children["control"].pid != killed
        assert children["data"].pid == data
        gateway.until(lambda: gateway.json("/api/v1/status")["accepted_points"] == 1)
        assert gateway.stop() == 0


def test_a_second_gateway_on_the_same_directory_is_refused_with_the_reason(pair: Pair, tmp_path: Path) -> None:
    other = Gateway(tmp_path, *[a for a in pair.gateway.assignments if "data_dir" in a])
    with pytest.raises(AssertionError, match="in use by another gateway"):
        other.start()


def test_a_hangup_reloads_and_keeps_running(tmp_path: Path) -> None:
    routes = tmp_path / "alertmanager.yml"
    routes.write_text("route: {receiver: one}\nreceivers: [{name: one}]\n")
    with Gateway(tmp_path, f"alerting.config_file={routes}") as gateway:
        routes.write_text("route: {receiver: two}\nreceivers: [{name: two}]\n")
        gateway.signal(signal.SIGHUP)
        gateway.until(lambda: gateway.json("/api/v2/receivers") == [{"name": "two"}])
        routes.write_text("route: {receiver: absent}\nreceivers: [{name: two}]\n")
        gateway.signal(signal.SIGHUP)
        gateway.until(lambda: "not reloaded" in gateway.output.read_text())
        assert gateway.json("/api/v2/receivers") == [{"name": "two"}]
        _send(gateway, gauge_request("s", "m", [(time.time_ns(), 1.0, {})]))
