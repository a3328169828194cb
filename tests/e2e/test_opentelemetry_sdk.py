"""The OpenTelemetry SDK over gRPC and HTTP, cumulative and delta: what was recorded is what VictoriaMetrics holds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter as HttpExporter
from opentelemetry.metrics import Observation
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, MetricExporter, PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource

from tests.e2e.pair import Pair

pytestmark = pytest.mark.real

LATENCIES = (0.02, 0.3, 0.7, 4.0, 0.02, 0.02)
BOUNDS = (0.1, 0.5, 1.0)


@dataclass
class Recorded:
    """What the application `job` did, flush by flush: the running values that a cumulative reader must see."""

    orders: list[float] = field(default_factory=list)
    queue: list[float] = field(default_factory=list)
    rounds: int = 0
    job: str = ""


Held = tuple[Recorded, Callable[..., list[float]]]


def _exporter(pair: Pair, protocol: str, delta: bool) -> MetricExporter:
    temporality = AggregationTemporality.DELTA if delta else AggregationTemporality.CUMULATIVE
    wanted = {Counter: temporality, Histogram: temporality, ObservableCounter: temporality}
    if protocol == "grpc":
        return GrpcExporter(pair.gateway.otlp_grpc, insecure=True, preferred_temporality=wanted)
    url = f"http://{pair.gateway.otlp_http}/v1/metrics"
    return HttpExporter(url, compression=Compression.Gzip, preferred_temporality=wanted)


def _record_three_rounds(pair: Pair, service: str, protocol: str, delta: bool) -> Recorded:
    exporter = _exporter(pair, protocol, delta)
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=3_600_000)
    provider = MeterProvider(
        [reader],
        Resource(
            {"service.name": service, "service.namespace": "shop", "service.instance.id": "i-1", "host.name": "h"}
        ),
        views=[View(instrument_name="payload.size", aggregation=ExponentialBucketHistogramAggregation(max_scale=3))],
        shutdown_on_exit=False,
    )
    meter = provider.get_meter("checkout", "1.2")
    recorded = Recorded()
    orders = meter.create_counter("orders", "{order}")
    queue = meter.create_up_down_counter("queue.length")
    latency = meter.create_histogram("request.duration", "s", explicit_bucket_boundaries_advisory=BOUNDS)
    payload = meter.create_histogram("payload.size", "By")
    meter.create_observable_gauge("room.temperature", [lambda _: [Observation(21.5, {"room": "a b"})]], "Cel")
    meter.create_observable_counter("pages.read", [lambda _: [Observation(100 * min(recorded.rounds + 1, 3))]])
    total = waiting = 0.0
    for add, change in ((3, 5), (4, -2), (10, -1)):
        orders.add(add, {"region": "eu"})
        queue.add(change)
        total, waiting = total + add, waiting + change
        recorded.orders.append(total)
        recorded.queue.append(waiting)
        for value in LATENCIES:
            latency.record(value, {"http.route": "/pay"})
            payload.record(value * 100)
        assert provider.force_flush(10_000)
        recorded.rounds += 1
    provider.shutdown()
    return recorded


def _rows_forwarded(pair: Pair) -> int:
    status = pair.gateway.json("/api/v1/status")
    return int(status["forwarded_points"] + status["forwarding"]["target_info_forwarded"])


@pytest.fixture(
    scope="module", params=[("grpc", False), ("http", True), ("grpc", True)], ids=lambda p: f"{p[0]}-{p[1]}"
)
def held(pair: Pair, request: pytest.FixtureRequest) -> Held:
    """What was recorded, and a reader of VictoriaMetrics: name and labels → values in order of time."""
    protocol, delta = request.param
    service = f"sdk-{protocol}-{'delta' if delta else 'cumulative'}"
    before = _rows_forwarded(pair)
    recorded = _record_three_rounds(pair, service, protocol, delta)
    recorded.job = f"shop/{service}"
    pair.gateway.until_forwarded(1)
    expected = _rows_forwarded(pair) - before
    exported: dict[str, list[tuple[int, float]]] = {}

    def complete() -> bool:
        exported.update(pair.target.export(f'{{job="shop/{service}"}}'))
        return sum(map(len, exported.values())) == expected

    pair.gateway.until(complete)
    series = [(json.loads(key), [value for _, value in samples]) for key, samples in exported.items()]

    def values(name: str, **labels: str) -> list[float]:
        wanted = {"__name__": name, **labels}
        found = [v for have, v in series if wanted.items() <= have.items()]
        assert len(found) == 1, (wanted, [have for have, _ in series])
        rounds, rest = found[0][:3], found[0][3:]  # the SDK exports once more when it is shut down
        assert rest in ([], rounds[-1:])
        return rounds

    return recorded, values


def test_counters_are_running_totals(held: Held) -> None:
    recorded, values = held
    assert values("orders_total", region="eu", instance="i-1", otel_scope_name="checkout") == recorded.orders
    assert values("pages_read_total", otel_scope_version="1.2") == [100.0, 200.0, 300.0]


def test_up_down_counters_and_gauges_are_their_values(held: Held) -> None:
    recorded, values = held
    assert values("queue_length") == recorded.queue
    assert values("room_temperature_celsius", room="a b") == [21.5] * 3


def test_histograms_have_cumulative_buckets_sum_and_count(held: Held) -> None:
    _, values = held
    name, rounds = "request_duration_seconds", (1, 2, 3)
    assert values(f"{name}_count", http_route="/pay") == [len(LATENCIES) * n for n in rounds]
    assert values(f"{name}_sum") == pytest.approx([sum(LATENCIES) * n for n in rounds])
    for bound, text in zip((*BOUNDS, float("inf")), ("0.1", "0.5", "1", "+Inf"), strict=True):
        inside = sum(value <= bound for value in LATENCIES)
        assert values(f"{name}_bucket", le=text) == [inside * n for n in rounds], text


def test_exponential_histograms_are_vmrange_buckets(pair: Pair, held: Held) -> None:
    recorded, values = held
    assert values("payload_size_bytes_count") == [6, 12, 18]
    assert values("payload_size_bytes_sum") == pytest.approx([sum(LATENCIES) * 100 * n for n in (1, 2, 3)])
    series = f'payload_size_bytes_bucket{{job="{recorded.job}",instance="i-1"}}'
    found = pair.target.query(f"sum({series}) by (vmrange)")
    for labels, count in found:
        low, high = (float(end) for end in labels["vmrange"].split("..."))
        assert count == 3 * sum(low < value * 100 <= high for value in LATENCIES), labels
    assert sum(count for _, count in found) == 18
    ((_, median),) = pair.target.query(f"histogram_quantile(0.5, sum({series}) by (vmrange))")
    assert 1.9 < median < 33.0


def test_the_resource_is_target_info(held: Held) -> None:
    _, values = held
    assert set(values("target_info", host_name="h", instance="i-1")) == {1.0}
