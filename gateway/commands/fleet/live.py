"""The services alive: one real OpenTelemetry SDK each, exporting over gRPC or HTTP, delta or cumulative."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable

from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource

from gateway.commands.fleet.model import LATENCY_BOUNDS, STEP_SECONDS, ServiceModel

SCOPE = "sample.fleet"
_TICK_SECONDS = 1.0


class LiveService:
    """Runs one service in a thread of its own until stopped."""

    def __init__(self, model: ServiceModel, otlp_grpc: str, otlp_http: str) -> None:
        self.model = model
        self._addresses = (otlp_grpc, otlp_http)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name=f"service-{model.profile.name}", daemon=True)
        self._provider: MeterProvider | None = None

    def start(self) -> None:
        """Connect and begin."""
        self._provider = self._connect()
        self._thread.start()

    def stop(self) -> None:
        """End without a last export, as a killed process does."""
        self._stop.set()

    def _connect(self) -> MeterProvider:
        profile = self.model.profile
        wanted = AggregationTemporality.DELTA if profile.temporality == "delta" else AggregationTemporality.CUMULATIVE
        temporality: dict[type, AggregationTemporality] = {Counter: wanted, Histogram: wanted}
        exporter: MetricExporter
        if profile.protocol == "grpc":
            exporter = GrpcExporter(self._addresses[0], insecure=True, preferred_temporality=temporality)
        else:
            exporter = HttpExporter(f"http://{self._addresses[1]}/v1/metrics", preferred_temporality=temporality)
        reader = PeriodicExportingMetricReader(
            _Silenceable(exporter, self.model), export_interval_millis=STEP_SECONDS * 1000
        )
        resource = Resource.create({"service.name": profile.name, "service.instance.id": f"{profile.name}-1"})
        provider = MeterProvider([reader], resource, shutdown_on_exit=False)
        meter = provider.get_meter(SCOPE)
        self._duration = meter.create_histogram(
            "http.server.request.duration", "s", explicit_bucket_boundaries_advisory=LATENCY_BOUNDS
        )
        self._requests = meter.create_counter("app.requests", "{request}")
        meter.create_observable_gauge("process.memory.usage", [self._memory], "By")
        meter.create_observable_gauge("process.cpu.utilization", [self._processor], "1")
        return provider

    def _memory(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(self.model.memory())]

    def _processor(self, _: CallbackOptions) -> Iterable[Observation]:
        return [Observation(self.model.cpu_utilization(time.time()))]

    def _work(self) -> None:
        last = time.monotonic()
        while not self._stop.wait(_TICK_SECONDS):
            now = time.monotonic()
            seconds, last = now - last, now
            for route in self.model.profile.routes:
                count = self.model.requests(time.time(), seconds)
                for latency in self.model.latencies(count):
                    self._duration.record(float(latency), {"http.route": route})
                failed = self.model.errors(count)
                self._requests.add(failed, {"outcome": "error"})
                self._requests.add(count - failed, {"outcome": "ok"})
        if self._provider is not None:
            self._provider.shutdown()


class _Silenceable(MetricExporter):  # type: ignore[misc]  # the SDK is not followed by mypy
    """Drops exports while the service's fault is silence, as if its network were gone."""

    def __init__(self, exporter: MetricExporter, model: ServiceModel) -> None:
        super().__init__(exporter._preferred_temporality, exporter._preferred_aggregation)
        self._exporter = exporter
        self._model = model

    def export(self, metrics_data, timeout_millis=10_000, **kwargs):  # type: ignore[no-untyped-def]  # the SDK's shape
        from opentelemetry.sdk.metrics.export import MetricExportResult

        if self._model.disturbance.silent:
            return MetricExportResult.SUCCESS
        return self._exporter.export(metrics_data, timeout_millis=timeout_millis, **kwargs)

    def force_flush(self, timeout_millis: float = 10_000) -> bool:
        """See MetricExporter."""
        return bool(self._exporter.force_flush(timeout_millis))

    def shutdown(self, timeout_millis: float = 30_000, **kwargs: object) -> None:
        """See MetricExporter."""
        self._exporter.shutdown()
