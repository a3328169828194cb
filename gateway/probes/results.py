"""Results of probes as an OTLP metrics request, in protobuf.

    probe.success            gauge, 1 or 0
    probe.duration           gauge, seconds
    probe.http.status_code   gauge, where there was an HTTP answer
    probe.certificate.expiry gauge, Unix seconds at which the target's certificate ends, where it has one

Attributes: probe (its name), target, kind (http or tcp). The resource's service.name is `probes`, so that they are
scored, kept and shown like every other series.
"""

from __future__ import annotations

from collections.abc import Iterable

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from gateway.probes.asking import Result, shown_target
from gateway.probes.settings import Probe

_UNITS = {
    "probe.success": "1",
    "probe.duration": "s",
    "probe.http.status_code": "",
    "probe.certificate.expiry": "",
}


def _attribute(key: str, value: str) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(string_value=value))


def request_of(results: Iterable[tuple[Probe, Result]], instance: str) -> bytes:
    """An ExportMetricsServiceRequest. instance: service.instance.id of this gateway."""
    request = ExportMetricsServiceRequest()
    resource = request.resource_metrics.add()
    resource.resource.attributes.extend(
        [_attribute("service.name", "probes"), _attribute("service.instance.id", instance)]
    )
    scope = resource.scope_metrics.add()
    metrics = {}
    for name, unit in _UNITS.items():
        metrics[name] = scope.metrics.add(name=name, unit=unit)
        metrics[name].gauge.SetInParent()
    for probe, result in results:
        attributes = [
            _attribute("probe", probe.name),
            _attribute("target", shown_target(probe.target)),
            _attribute("kind", "http" if probe.is_http else "tcp"),
        ]
        values = {"probe.success": float(result.ok), "probe.duration": result.duration}
        if result.status:
            values["probe.http.status_code"] = float(result.status)
        if result.certificate_ends:
            values["probe.certificate.expiry"] = result.certificate_ends
        for name, value in values.items():
            metrics[name].gauge.data_points.add(
                attributes=attributes, time_unix_nano=round(result.at * 1e9), as_double=value
            )
    for metric in [metric for metric in scope.metrics if not metric.gauge.data_points]:
        scope.metrics.remove(metric)
    return request.SerializeToString()
