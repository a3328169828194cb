"""Listeners on IPv6, by the program as a user starts it."""

from __future__ import annotations

import time
from pathlib import Path

import grpc

from tests.e2e.otlp import gauge_request
from tests.e2e.program import Gateway

EXPORT = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"


def test_every_listener_takes_an_ipv6_address(tmp_path: Path) -> None:
    with Gateway(tmp_path, host="[::1]") as gateway:
        request = gauge_request("shop", "stock", [(time.time_ns(), 3.0, {})])
        with grpc.insecure_channel(gateway.otlp_grpc) as channel:
            assert channel.unary_unary(EXPORT)(request, timeout=60) == b""
        gateway.until(lambda: gateway.json("/api/v1/status")["accepted_points"] == 1)
        assert gateway.stop() == 0
