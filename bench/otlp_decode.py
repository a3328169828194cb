"""Speed of the OTLP metrics decoder, one core: `python -m bench.otlp_decode` prints one JSON line a figure.

Every request is built from generated classes with attributes as SDKs send them, no two points of the same. Rates are
medians over at least five runs of CPU time of this thread; a run decodes the same body many times, so it is in the
cache as a received one is, and its attribute sets are known (kernels.known_labels). `first_seen` decodes it with a new
decoder each time; `among_200000` comes round to an attribute set only after so many others.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable

import numpy as np
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from gateway.decode.otlp_metrics import OtlpMetricsDecoder
from gateway.decode.settings import DecodeSettings

NOW = 1_700_000_000_000
RUNS = 7


def request(points: int, histograms: bool = False) -> bytes:
    """A request of `points` data points of six attributes, 100 points a metric, one resource and scope."""
    message = ExportMetricsServiceRequest()
    resource = message.resource_metrics.add()
    for key, value in (("service.name", "checkout"), ("service.namespace", "shop"), ("service.instance.id", "i-1")):
        resource.resource.attributes.add(key=key, value=AnyValue(string_value=value))
    scope = resource.scope_metrics.add()
    scope.scope.name = "meter"
    for number in range(-(-points // 100)):
        metric = scope.metrics.add(name=f"http.server.requests.{number}", unit="s" if histograms else "1")
        data = metric.histogram if histograms else metric.sum
        data.aggregation_temporality = 2
        if not histograms:
            metric.sum.is_monotonic = True
        for index in range(min(100, points - number * 100)):
            point = data.data_points.add(time_unix_nano=NOW * 10**6, start_time_unix_nano=(NOW - 60_000) * 10**6)
            if histograms:
                point.count, point.sum = 60, 12.5
                point.explicit_bounds.extend([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5])
                point.bucket_counts.extend([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 5])
            else:
                point.as_int = index
            for key, value in (
                ("http.method", "GET"),
                ("http.route", f"/api/v1/items/{index:02d}"),
                ("http.status_code", "200"),
                ("region", "eu-west-1"),
                ("pod.name", f"p{(number * 100 + index) % 10**6:06d}"),
                ("zone", "b"),
            ):
                point.attributes.append(KeyValue(key=key, value=AnyValue(string_value=value)))
    return message.SerializeToString()


def seconds(work: Callable[[], object], least: float = 0.25) -> list[float]:
    """CPU seconds of one call, RUNS times, each the mean of as many calls as fill `least` seconds."""
    work()
    began = time.thread_time()
    work()
    calls = max(1, int(least / max(time.thread_time() - began, 1e-6)))
    took = []
    for _ in range(RUNS):
        began = time.thread_time()
        for _ in range(calls):
            work()
        took.append((time.thread_time() - began) / calls)
    return took


def among_many(body: bytes, requests: int) -> list[float]:
    """CPU seconds of one call, RUNS times, when `requests` of different attributes take turns. Each is copied into one
    place first, as a received one lies in the processor's cache."""
    decoder = OtlpMetricsDecoder((1, 2), DecodeSettings())
    bodies = [body.replace(b"/api/v", b"/%05d" % number) for number in range(requests)]
    received, took = bytearray(body), []
    for turn in range(RUNS + 3):
        total = 0.0
        for one in bodies:
            received[:] = one
            began = time.thread_time()
            decoder.decode_protobuf(received, NOW)
            total += time.thread_time() - began
        if turn >= 3:  # before, the table grows
            took.append(total / requests)
    return took


def report(name: str, count: int, took: list[float], unit: str = "points_per_second", **more: float) -> None:
    """One JSON line."""
    middle = statistics.median(took)
    line = {"bench": name, unit: round(count / middle), "best": round(count / min(took)), "runs": len(took), **more}
    print(json.dumps(line))


def main() -> None:
    """All figures."""
    decoder = OtlpMetricsDecoder((1, 2), DecodeSettings())
    for points in (8000, 500):
        body = request(points)
        took = seconds(lambda body=body: decoder.decode_protobuf(body, NOW))  # type: ignore[misc]
        size = round(len(body) / points, 1)
        gigabytes = round(len(body) / statistics.median(took) / 1e9, 2)
        report(f"otlp_decode_{points}", points, took, bytes_per_point=size, gigabytes_per_second=gigabytes)
    body = request(8000)
    took = seconds(lambda: OtlpMetricsDecoder((1, 2), DecodeSettings()).decode_protobuf(body, NOW))
    report("otlp_decode_first_seen", 8000, took)
    report("otlp_decode_among_200000", 8000, among_many(body, 25))
    body = request(1000, histograms=True)
    rows = len(decoder.decode_protobuf(body, NOW))
    report("otlp_decode_histograms", rows, seconds(lambda: decoder.decode_protobuf(body, NOW)), "rows_per_second")
    body = request(8000)
    columns = [decoder.decode_protobuf(body, NOW) for _ in range(RUNS)]
    every = np.arange(len(columns[0]))
    took = []
    for one in columns:
        began = time.thread_time()
        one.source.definitions(every)
        took.append(time.thread_time() - began)
    report("otlp_definitions", len(every), took, "series_per_second")


if __name__ == "__main__":
    main()
