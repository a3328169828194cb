"""OTLP requests for end-to-end tests, built with the generated classes."""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue


def gauge_request(service: str, name: str, points: Iterable[tuple[int, float, dict[str, str]]]) -> bytes:
    """One gauge of one service; points are (Unix ns, value, attributes)."""
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.append(KeyValue(key="service.name", value=AnyValue(string_value=service)))
    metric = resource.scope_metrics.add().metrics.add(name=name)
    for time_ns, value, attributes in points:
        point = metric.gauge.data_points.add(time_unix_nano=time_ns, as_double=value)
        for key, text in attributes.items():
            point.attributes.append(KeyValue(key=key, value=AnyValue(string_value=text)))
    return request.SerializeToString()
