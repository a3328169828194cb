"""OTLP/JSON metrics to OTLP/protobuf bytes, so that what a request means is decided in one place, the kernel.

lowerCamelCase names; 64-bit integers as strings or numbers, `NaN`, `Infinity` and `-Infinity` as strings, ids of traces
and spans in hexadecimal, other bytes in base64, enums as integers (their names are taken too), unknown fields and
nulls ignored. An exemplar that cannot be read is left out and counted; its point stays. Source: OTLP specification,
"JSON Protobuf Encoding"; protobuf's ProtoJSON.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from gateway.decode.json_size import check_json_size
from gateway.decode.left_out import EXEMPLARS_REJECTED
from gateway.decode.otlp_json_shapes import (
    FAULTS,
    AnyValueJson,
    BucketsJson,
    DataJson,
    ExemplarJson,
    KeyValueJson,
    MetricJson,
    PointJson,
    RequestJson,
    ResourceMetricsJson,
    ScopeMetricsJson,
    json_fault,
)
from gateway.decode.protobuf_fields import (
    bytes_field,
    double_field,
    double_of,
    fixed_field,
    integer_of,
    signed_fixed_field,
    text_field,
    varint_field,
    zigzag_field,
)
from gateway.errors import DecodeError
from gateway.telemetry.varint import varint
from proto import otlp

_DECODER = msgspec.json.Decoder(RequestJson)
_TEMPORALITIES = {
    "AGGREGATION_TEMPORALITY_UNSPECIFIED": 0,
    "AGGREGATION_TEMPORALITY_DELTA": otlp.TEMPORALITY_DELTA,
    "AGGREGATION_TEMPORALITY_CUMULATIVE": otlp.TEMPORALITY_CUMULATIVE,
}


def request_from_json(body: bytes) -> bytes:
    """The protobuf bytes of a metrics request; raises DecodeError, BodyTooLarge."""
    check_json_size(body)
    try:
        request = _DECODER.decode(body)
    except FAULTS as error:
        raise json_fault(error, body) from None
    try:
        return b"".join(
            bytes_field(otlp.REQUEST_RESOURCES, _resource_metrics(item)) for item in request.resource_metrics or ()
        )
    except FAULTS as error:
        raise DecodeError(f"malformed OTLP/JSON: {error} - at `{_path_of_fault(request)}`", offset=None) from None


def _path_of_fault(request: RequestJson) -> str:
    """Path of the innermost object that cannot be turned into protobuf, in msgspec's way of writing it."""
    path = "$"
    for i, resource in enumerate(request.resource_metrics or ()):
        if not _fails(_resource_metrics, resource):
            continue
        path += f".resourceMetrics[{i}]"
        for j, scope in enumerate(resource.scope_metrics or ()):
            if not _fails(_scope_metrics, scope):
                continue
            path += f".scopeMetrics[{j}]"
            for k, metric in enumerate(scope.metrics or ()):
                if not _fails(_metric, metric):
                    continue
                path += f".metrics[{k}]"
                for name, _, data, encode_point in _kinds_of_data(metric):
                    for m, point in enumerate((data.data_points if data else None) or ()):
                        if _fails(encode_point, point):
                            return f"{path}.{name}.dataPoints[{m}]"
                return path
            return path
        return path
    return path


_Encodable = TypeVar("_Encodable")


def _fails(encode: Callable[[_Encodable], bytes], item: _Encodable) -> bool:
    try:
        encode(item)
    except FAULTS:
        return True
    return False


def _any_value(value: AnyValueJson) -> bytes:
    if value.string_value is not None:
        return bytes_field(otlp.ANY_STRING, value.string_value.encode("utf-8", "surrogatepass"))
    if value.bool_value is not None:
        return varint_field(otlp.ANY_BOOL, int(value.bool_value))
    if value.int_value is not None:
        return varint_field(otlp.ANY_INT, integer_of(value.int_value))
    if value.double_value is not None:
        return double_field(otlp.ANY_DOUBLE, value.double_value)
    if value.array_value is not None:
        inner = (bytes_field(otlp.LIST_VALUES, _any_value(item)) for item in value.array_value.values or ())
        return bytes_field(otlp.ANY_ARRAY, b"".join(inner))
    if value.kvlist_value is not None:
        return bytes_field(otlp.ANY_KVLIST, _attributes(otlp.LIST_VALUES, value.kvlist_value.values))
    if value.bytes_value is not None:
        padded = value.bytes_value + "=" * (-len(value.bytes_value) % 4)
        return bytes_field(otlp.ANY_BYTES, base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True))
    return b""


def _attributes(tag: int, given: Iterable[KeyValueJson] | None) -> bytes:
    out = []
    for item in given or ():
        value = b"" if item.value is None else bytes_field(otlp.KEY_VALUE, _any_value(item.value))
        out.append(bytes_field(tag, text_field(otlp.KEY, item.key) + value))
    return b"".join(out)


def _exemplars(tag: int, given: Iterable[ExemplarJson] | None) -> bytes:
    out = []
    for item in given or ():
        try:
            exemplar = (
                fixed_field(otlp.EXEMPLAR_TIME, item.time_unix_nano)
                + double_field(otlp.EXEMPLAR_DOUBLE, item.as_double)
                + signed_fixed_field(otlp.EXEMPLAR_INT, item.as_int)
                + (bytes_field(otlp.EXEMPLAR_SPAN_ID, bytes.fromhex(item.span_id)) if item.span_id else b"")
                + (bytes_field(otlp.EXEMPLAR_TRACE_ID, bytes.fromhex(item.trace_id)) if item.trace_id else b"")
            )
        except FAULTS:
            EXEMPLARS_REJECTED.labels("malformed").inc()
            continue
        out.append(bytes_field(tag, exemplar))
    return b"".join(out)


def _times(point: PointJson) -> bytes:
    return fixed_field(otlp.START_TIME, point.start_time_unix_nano) + fixed_field(otlp.TIME, point.time_unix_nano)


def _flags(tag: int, point: PointJson) -> bytes:
    return b"" if point.flags is None else varint_field(tag, integer_of(point.flags))


def _number_point(point: PointJson) -> bytes:
    return (
        _attributes(otlp.NUMBER_ATTRIBUTES, point.attributes)
        + _times(point)
        + double_field(otlp.NUMBER_DOUBLE, point.as_double)
        + signed_fixed_field(otlp.NUMBER_INT, point.as_int)
        + _exemplars(otlp.NUMBER_EXEMPLARS, point.exemplars)
        + _flags(otlp.NUMBER_FLAGS, point)
    )


def _histogram_point(point: PointJson) -> bytes:
    given, edges = point.bucket_counts or (), point.explicit_bounds or ()
    counts = struct.pack(f"<{len(given)}Q", *map(integer_of, given))
    bounds = struct.pack(f"<{len(edges)}d", *map(double_of, edges))
    return (
        _attributes(otlp.HISTOGRAM_ATTRIBUTES, point.attributes)
        + _times(point)
        + fixed_field(otlp.POINT_COUNT, point.count)
        + double_field(otlp.POINT_SUM, point.sum)
        + bytes_field(otlp.HISTOGRAM_BUCKETS_PACKED, counts)
        + bytes_field(otlp.HISTOGRAM_BOUNDS_PACKED, bounds)
        + _exemplars(otlp.HISTOGRAM_EXEMPLARS, point.exemplars)
        + _flags(otlp.HISTOGRAM_FLAGS, point)
    )


def _side(tag: int, side: BucketsJson | None) -> bytes:
    if side is None:
        return b""
    counts = []
    for count in side.bucket_counts or ():
        number = integer_of(count)
        if not 0 <= number < 1 << 64:
            raise ValueError(f"{number} is not a count")
        counts.append(varint(number))
    return bytes_field(
        tag, zigzag_field(otlp.BUCKETS_OFFSET, side.offset) + bytes_field(otlp.BUCKETS_PACKED, b"".join(counts))
    )


def _exponential_point(point: PointJson) -> bytes:
    return (
        _attributes(otlp.EXPONENTIAL_ATTRIBUTES, point.attributes)
        + _times(point)
        + fixed_field(otlp.POINT_COUNT, point.count)
        + double_field(otlp.POINT_SUM, point.sum)
        + zigzag_field(otlp.EXPONENTIAL_SCALE, point.scale)
        + fixed_field(otlp.EXPONENTIAL_ZERO_COUNT, point.zero_count)
        + _side(otlp.EXPONENTIAL_POSITIVE, point.positive)
        + _side(otlp.EXPONENTIAL_NEGATIVE, point.negative)
        + _exemplars(otlp.EXPONENTIAL_EXEMPLARS, point.exemplars)
        + double_field(otlp.EXPONENTIAL_ZERO_THRESHOLD, point.zero_threshold)
        + _flags(otlp.EXPONENTIAL_FLAGS, point)
    )


def _summary_point(point: PointJson) -> bytes:
    quantiles = b"".join(
        bytes_field(
            otlp.SUMMARY_QUANTILES,
            double_field(otlp.QUANTILE, item.quantile) + double_field(otlp.QUANTILE_VALUE, item.value),
        )
        for item in point.quantile_values or ()
    )
    return (
        _attributes(otlp.SUMMARY_ATTRIBUTES, point.attributes)
        + _times(point)
        + fixed_field(otlp.POINT_COUNT, point.count)
        + double_field(otlp.POINT_SUM, point.sum)
        + quantiles
        + _flags(otlp.SUMMARY_FLAGS, point)
    )


def _data(tag: int, data: DataJson | None, encode_point: Callable[[PointJson], bytes]) -> bytes:
    if data is None:
        return b""
    temporality: Any = data.aggregation_temporality
    if isinstance(temporality, str):
        if temporality not in _TEMPORALITIES:
            raise ValueError(f'"{temporality[:40]}" is not an aggregation temporality')
        temporality = _TEMPORALITIES[temporality]
    points = b"".join(bytes_field(otlp.DATA_POINTS, encode_point(point)) for point in data.data_points or ())
    return bytes_field(
        tag,
        points
        + (varint_field(otlp.AGGREGATION_TEMPORALITY, temporality) if temporality else b"")
        + (varint_field(otlp.IS_MONOTONIC, 1) if data.is_monotonic else b""),
    )


def _metric(metric: MetricJson) -> bytes:
    return (
        text_field(otlp.METRIC_NAME, metric.name)
        + text_field(otlp.METRIC_UNIT, metric.unit)
        + b"".join(_data(tag, data, encode_point) for _, tag, data, encode_point in _kinds_of_data(metric))
    )


def _kinds_of_data(metric: MetricJson) -> list[tuple[str, int, DataJson | None, Callable[[PointJson], bytes]]]:
    """What a metric may hold: name in JSON, tag in protobuf, the data, and how its points are written."""
    return [
        ("gauge", otlp.METRIC_GAUGE, metric.gauge, _number_point),
        ("sum", otlp.METRIC_SUM, metric.sum, _number_point),
        ("histogram", otlp.METRIC_HISTOGRAM, metric.histogram, _histogram_point),
        (
            "exponentialHistogram", otlp.METRIC_EXPONENTIAL_HISTOGRAM, metric.exponential_histogram,
            _exponential_point,
        ),
        ("summary", otlp.METRIC_SUMMARY, metric.summary, _summary_point),
    ]  # fmt: skip


def _scope_metrics(item: ScopeMetricsJson) -> bytes:
    scope = b""
    if item.scope is not None:
        scope = bytes_field(
            otlp.SCOPE,
            text_field(otlp.SCOPE_NAME, item.scope.name)
            + text_field(otlp.SCOPE_VERSION, item.scope.version)
            + _attributes(otlp.SCOPE_ATTRIBUTES, item.scope.attributes),
        )
    metrics = b"".join(bytes_field(otlp.SCOPE_ITEMS, _metric(metric)) for metric in item.metrics or ())
    return scope + metrics + text_field(otlp.SCOPE_SCHEMA_URL, item.schema_url)


def _resource_metrics(item: ResourceMetricsJson) -> bytes:
    resource = b""
    if item.resource is not None:
        resource = bytes_field(otlp.RESOURCE, _attributes(otlp.RESOURCE_ATTRIBUTES, item.resource.attributes))
    return resource + b"".join(bytes_field(otlp.SCOPES, _scope_metrics(scope)) for scope in item.scope_metrics or ())
