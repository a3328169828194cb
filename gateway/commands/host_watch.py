"""Watches this machine and the gateway itself with the OpenTelemetry SDK, through the gateway's own OTLP address."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.instrumentation.system_metrics import SystemMetricsInstrumentor
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

_HOST_METRICS: dict[str, list[str] | None] = {
    "system.cpu.time": ["idle", "user", "system", "iowait"],
    "system.cpu.utilization": ["idle", "user", "system", "iowait"],
    "system.memory.usage": ["used", "free", "cached"],
    "system.memory.utilization": ["used", "free", "cached"],
    "system.swap.usage": ["used", "free"],
    "system.disk.io": ["read", "write"],
    "system.disk.operations": ["read", "write"],
    "system.network.io": ["transmit", "receive"],
    "system.network.errors": ["transmit", "receive"],
    "system.thread_count": None,
}
_STATUS_COUNTERS = ("accepted_points", "scored_points", "forwarded_points")


class HostWatch:
    """Exports every `interval` seconds; start, then stop (idempotent)."""

    def __init__(self, otlp_grpc: str, http: str, interval: float = 5.0) -> None:
        self._otlp_grpc = otlp_grpc
        self._http = http
        self._interval = interval
        self._host: MeterProvider | None = None
        self._itself: MeterProvider | None = None
        self._status: dict[str, Any] = {}

    def start(self) -> None:
        """Begin to watch."""
        name = socket.gethostname()
        machine = {"service.name": "host", "service.instance.id": name, "host.name": name}
        self._host = self._provider(Resource.create(machine))
        SystemMetricsInstrumentor(config=_HOST_METRICS).instrument(meter_provider=self._host)
        self._itself = self._provider(Resource.create({"service.name": "gateway", "service.instance.id": name}))
        meter = self._itself.get_meter("gateway")
        meter.create_observable_gauge("gateway.active_series", [self._ask_and_read("active_series")])
        meter.create_observable_gauge("gateway.pending_forward_points", [self._read("pending_forward_points")])
        for key in _STATUS_COUNTERS:
            meter.create_observable_counter(f"gateway.{key}", [self._read(key)], unit="{point}")
        for key in ("score_p99", "forward_p99"):
            meter.create_observable_gauge(f"gateway.lag.{key}", [self._read_lag(key)], unit="s")

    def stop(self) -> None:
        """Stop without a last export; the gateway may be gone already."""
        if self._host is not None and self._itself is not None:
            SystemMetricsInstrumentor().uninstrument()
            for provider in (self._host, self._itself):
                provider.shutdown(timeout_millis=1_000)
            self._host = self._itself = None

    def _provider(self, resource: Resource) -> MeterProvider:
        exporter = OTLPMetricExporter(self._otlp_grpc, insecure=True, timeout=5)
        reader = PeriodicExportingMetricReader(exporter, export_interval_millis=self._interval * 1000)
        return MeterProvider([reader], resource, shutdown_on_exit=False)

    def _ask_and_read(self, key: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        """The first instrument of a round asks; the others read what it got."""

        def observe(options: CallbackOptions) -> Iterable[Observation]:
            try:
                with urllib.request.urlopen(
                    f"http://{self._http}/api/v1/status", timeout=2.0
                ) as response:  # our own address
                    self._status = json.load(response)
            except (urllib.error.URLError, TimeoutError, OSError, ValueError):
                self._status = {}  # the gateway is starting or gone: this round has no points of it
            return self._read(key)(options)

        return observe

    def _read(self, key: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda _: [Observation(self._status[key])] if key in self._status else []

    def _read_lag(self, key: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        return lambda _: [Observation(self._status["lag_seconds"][key])] if "lag_seconds" in self._status else []
