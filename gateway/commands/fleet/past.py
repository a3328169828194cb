"""A day of the fleet's past as OTLP requests, so that the baselines are warm when the demo begins.

The SDK stamps points with the present, so the past is written as OTLP messages directly.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric, ScopeMetrics

from gateway.commands.fleet.live import SCOPE
from gateway.commands.fleet.model import FLEET, LATENCY_BOUNDS, STEP_SECONDS, ServiceModel, ServiceProfile

_STEPS_PER_REQUEST = 60


def _attributes(**pairs: str) -> list[KeyValue]:
    return [KeyValue(key=k.replace("__", "."), value=AnyValue(string_value=v)) for k, v in pairs.items()]


class _Past:
    """Running totals of one service while its day is written down."""

    def __init__(self, profile: ServiceProfile, began_ns: int) -> None:
        self.profile = profile
        self.model = ServiceModel(profile)
        self.delta = profile.temporality == "delta"
        self.began_ns = began_ns
        self.buckets = {r: np.zeros(len(LATENCY_BOUNDS) + 1, np.int64) for r in profile.routes}
        self.sums = dict.fromkeys(profile.routes, 0.0)
        self.outcomes = {"ok": 0, "error": 0}

    def write(self, message: ExportMetricsServiceRequest, steps: range) -> None:
        resource = message.resource_metrics.add()
        resource.resource.attributes.extend(
            _attributes(service__name=self.profile.name, service__instance__id=f"{self.profile.name}-1")
        )
        scope = resource.scope_metrics.add()
        scope.scope.name = SCOPE
        temporality = (
            AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
            if self.delta
            else AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE
        )
        durations = _metric(scope, "http.server.request.duration", "s")
        durations.histogram.aggregation_temporality = temporality
        requests = _metric(scope, "app.requests", "{request}")
        requests.sum.aggregation_temporality, requests.sum.is_monotonic = temporality, True
        memory = _metric(scope, "process.memory.usage", "By")
        processor = _metric(scope, "process.cpu.utilization", "1")
        for step in steps:
            self._step(step, durations, requests, memory, processor)

    def _step(self, step: int, durations: Metric, requests: Metric, memory: Metric, processor: Metric) -> None:
        end_ns = self.began_ns + (step + 1) * STEP_SECONDS * 10**9
        start_ns = end_ns - STEP_SECONDS * 10**9 if self.delta else self.began_ns
        when = end_ns / 1e9
        outcomes = {"ok": 0, "error": 0}
        for route in self.profile.routes:
            count = self.model.requests(when, STEP_SECONDS)
            latencies = self.model.latencies(count)
            buckets = np.bincount(np.searchsorted(LATENCY_BOUNDS, latencies), minlength=len(LATENCY_BOUNDS) + 1)
            total = float(latencies.sum())
            if not self.delta:
                self.buckets[route] += buckets
                self.sums[route] += total
                buckets, total = self.buckets[route], self.sums[route]
            point = durations.histogram.data_points.add(
                start_time_unix_nano=start_ns, time_unix_nano=end_ns, count=int(buckets.sum()), sum=total,
                bucket_counts=buckets.tolist(), explicit_bounds=LATENCY_BOUNDS,
            )  # fmt: skip
            point.attributes.extend(_attributes(http__route=route))
            failed = self.model.errors(count)
            outcomes["error"] += failed
            outcomes["ok"] += count - failed
        for outcome, count in outcomes.items():
            self.outcomes[outcome] += count
            value = count if self.delta else self.outcomes[outcome]
            counted = requests.sum.data_points.add(start_time_unix_nano=start_ns, time_unix_nano=end_ns, as_int=value)
            counted.attributes.extend(_attributes(outcome=outcome))
        memory.gauge.data_points.add(time_unix_nano=end_ns, as_double=self.model.memory())
        processor.gauge.data_points.add(time_unix_nano=end_ns, as_double=self.model.cpu_utilization(when))


def _metric(scope: ScopeMetrics, name: str, unit: str) -> Metric:
    metric: Metric = scope.metrics.add(name=name, unit=unit)
    return metric


def past_requests(end_ns: int, hours: float = 24.0) -> Iterator[tuple[float, bytes]]:
    """(share done, request body) in order of time; the last point lies at `end_ns`.

    One request holds a span of all services, as a collector would send it, so that none runs ahead of the others.
    """
    steps = int(hours * 3600) // STEP_SECONDS
    services = [_Past(profile, end_ns - steps * STEP_SECONDS * 10**9) for profile in FLEET]
    for first in range(0, steps, _STEPS_PER_REQUEST):
        chunk = range(first, min(first + _STEPS_PER_REQUEST, steps))
        message = ExportMetricsServiceRequest()
        for service in services:
            service.write(message, chunk)
        yield chunk.stop / steps, message.SerializeToString()
