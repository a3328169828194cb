"""OTLP requests for end-to-end tests, built with the generated classes."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import AggregationTemporality, Metric


def string_attribute(key: str, text: str) -> KeyValue:
    """One attribute."""
    return KeyValue(key=key, value=AnyValue(string_value=text))


def metric_of(service: str, name: str) -> tuple[ExportMetricsServiceRequest, Metric]:
    """A request with one empty metric of one service."""
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.append(string_attribute("service.name", service))
    return request, resource.scope_metrics.add().metrics.add(name=name)


def gauge_request(service: str, name: str, points: Iterable[tuple[int, float, dict[str, str]]]) -> bytes:
    """One gauge of one service; points are (Unix ns, value, attributes)."""
    request, metric = metric_of(service, name)
    for time_ns, value, attributes in points:
        point = metric.gauge.data_points.add(time_unix_nano=time_ns, as_double=value)
        point.attributes.extend(string_attribute(key, text) for key, text in attributes.items())
    return request.SerializeToString()


def delta_request(service: str, name: str, intervals: Iterable[tuple[int, int, int]]) -> bytes:
    """One monotonic delta sum of one service; intervals are (start Unix ns, end Unix ns, value)."""
    request, metric = metric_of(service, name)
    metric.sum.aggregation_temporality = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
    metric.sum.is_monotonic = True
    for start_ns, end_ns, value in intervals:
        metric.sum.data_points.add(start_time_unix_nano=start_ns, time_unix_nano=end_ns, as_int=value)
    return request.SerializeToString()
