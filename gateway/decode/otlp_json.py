"""OTLP/JSON metrics to OTLP/protobuf bytes, so that what a request means is decided in one place, the kernel.

lowerCamelCase names; 64-bit integers as strings or numbers, `NaN`, `Infinity` and `-Infinity` as strings, ids of traces
and spans in hexadecimal, other bytes in base64, enums as integers (their names are taken too), unknown fields and
nulls ignored. An exemplar that cannot be read is left out and counted; its point stays. Source: OTLP specification,
"JSON Protobuf Encoding"; protobuf's ProtoJSON.
"""

from __future__ import annotations

import base64
import re
import struct
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import msgspec

from gateway.decode.json_size import check_json_size
from gateway.decode.left_out import EXEMPLARS_REJECTED
from gateway.errors import DecodeError
from proto import otlp

Number = int | float | str
"""A number as ProtoJSON may write it."""


class _Message(msgspec.Struct, rename="camel", omit_defaults=True, gc=False):
    """Base: lowerCamelCase on the wire, unknown fields ignored. What JSON makes has no cycles to be looked for."""


class AnyValueJson(_Message):
    """AnyValue."""

    string_value: str | None = None
    bool_value: bool | None = None
    int_value: Number | None = None
    double_value: Number | None = None
    array_value: ArrayJson | None = None
    kvlist_value: KeyValueListJson | None = None
    bytes_value: str | None = None


class ArrayJson(_Message):
    """ArrayValue."""

    values: list[AnyValueJson] | None = None


class KeyValueJson(_Message):
    """KeyValue."""

    key: str | None = None
    value: AnyValueJson | None = None


class KeyValueListJson(_Message):
    """KeyValueList."""

    values: list[KeyValueJson] | None = None


class ExemplarJson(_Message):
    """Exemplar; filtered attributes are not read."""

    time_unix_nano: Number | None = None
    as_double: Number | None = None
    as_int: Number | None = None
    span_id: str | None = None
    trace_id: str | None = None


class BucketsJson(_Message):
    """Buckets of one side of an exponential histogram."""

    offset: Number | None = None
    bucket_counts: list[Number] | None = None


class QuantileJson(_Message):
    """ValueAtQuantile."""

    quantile: Number | None = None
    value: Number | None = None


class PointJson(_Message):
    """A data point of any kind; the metric decides which fields count."""

    attributes: list[KeyValueJson] | None = None
    start_time_unix_nano: Number | None = None
    time_unix_nano: Number | None = None
    flags: Number | None = None
    exemplars: list[ExemplarJson] | None = None
    as_double: Number | None = None
    as_int: Number | None = None
    count: Number | None = None
    sum: Number | None = None
    bucket_counts: list[Number] | None = None
    explicit_bounds: list[Number] | None = None
    scale: Number | None = None
    zero_count: Number | None = None
    zero_threshold: Number | None = None
    positive: BucketsJson | None = None
    negative: BucketsJson | None = None
    quantile_values: list[QuantileJson] | None = None


class DataJson(_Message):
    """Gauge, Sum, Histogram, ExponentialHistogram or Summary."""

    data_points: list[PointJson] | None = None
    aggregation_temporality: int | str | None = None
    is_monotonic: bool | None = None


class MetricJson(_Message):
    """Metric."""

    name: str | None = None
    unit: str | None = None
    gauge: DataJson | None = None
    sum: DataJson | None = None
    histogram: DataJson | None = None
    exponential_histogram: DataJson | None = None
    summary: DataJson | None = None


class ScopeJson(_Message):
    """InstrumentationScope."""

    name: str | None = None
    version: str | None = None
    attributes: list[KeyValueJson] | None = None


class ScopeMetricsJson(_Message):
    """ScopeMetrics."""

    scope: ScopeJson | None = None
    metrics: list[MetricJson] | None = None
    schema_url: str | None = None


class ResourceJson(_Message):
    """Resource."""

    attributes: list[KeyValueJson] | None = None


class ResourceMetricsJson(_Message):
    """ResourceMetrics."""

    resource: ResourceJson | None = None
    scope_metrics: list[ScopeMetricsJson] | None = None


class RequestJson(_Message):
    """ExportMetricsServiceRequest."""

    resource_metrics: list[ResourceMetricsJson] | None = None


_DECODER = msgspec.json.Decoder(RequestJson)
_TEMPORALITIES = {
    "AGGREGATION_TEMPORALITY_UNSPECIFIED": 0,
    "AGGREGATION_TEMPORALITY_DELTA": otlp.TEMPORALITY_DELTA,
    "AGGREGATION_TEMPORALITY_CUMULATIVE": otlp.TEMPORALITY_CUMULATIVE,
}
_OFFSET = re.compile(r" \(byte (\d+)\)$")
FAULTS = (ValueError, RecursionError, OverflowError, struct.error)
"""What a request can be refused for. msgspec's errors are ValueErrors; UnicodeError is one too."""


def json_fault(error: Exception, body: bytes) -> DecodeError:
    """The declared error for what msgspec found in `body`: by byte where the JSON breaks off, else by path."""
    text = str(error)
    found = _OFFSET.search(text)
    if found:
        return DecodeError(f"malformed OTLP/JSON: {text[: found.start()]}", offset=int(found[1]))
    truncated = isinstance(error, msgspec.DecodeError) and not isinstance(error, msgspec.ValidationError)
    return DecodeError(f"malformed OTLP/JSON: {text}", offset=len(body) if truncated else None)


def request_from_json(body: bytes) -> bytes:
    """The protobuf bytes of a metrics request; raises DecodeError, BodyTooLarge."""
    check_json_size(body)
    try:
        request = _DECODER.decode(body)
    except FAULTS as error:
        raise json_fault(error, body) from None
    try:
        return b"".join(
            _bytes(otlp.REQUEST_RESOURCES, _resource_metrics(item)) for item in request.resource_metrics or ()
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


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _bytes(tag: int, value: bytes) -> bytes:
    return _varint(tag) + _varint(len(value)) + value


def _text(tag: int, value: str | None) -> bytes:
    # A lone surrogate passes as bytes that are not UTF-8: the kernel then refuses this point and not its neighbours.
    return b"" if not value else _bytes(tag, value.encode("utf-8", "surrogatepass"))


def _integer(value: Number) -> int:
    if isinstance(value, float):
        if value != int(value):
            raise ValueError(f"{value} is not an integer")
        return int(value)
    return int(value)


def _double(value: Number) -> float:
    if isinstance(value, str) and value not in ("NaN", "Infinity", "-Infinity"):
        if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", value):
            raise ValueError(f'"{value[:40]}" is not a number')
        return float(value)
    return float(value)


def _fixed(tag: int, value: Number | None) -> bytes:
    return b"" if value is None else _varint(tag) + struct.pack("<Q", _integer(value))


def _signed_fixed(tag: int, value: Number | None) -> bytes:
    return b"" if value is None else _varint(tag) + struct.pack("<q", _integer(value))


def _real(tag: int, value: Number | None) -> bytes:
    return b"" if value is None else _varint(tag) + struct.pack("<d", _double(value))


def _number(tag: int, value: int) -> bytes:
    if not -(1 << 63) <= value < 1 << 64:
        raise ValueError(f"{value} does not fit 64 bits")
    return _varint(tag) + _varint(value & 0xFFFFFFFFFFFFFFFF)


def _zigzag(tag: int, value: Number | None) -> bytes:
    if value is None:
        return b""
    number = _integer(value)
    if not -(1 << 31) <= number < 1 << 31:
        raise ValueError(f"{number} does not fit 32 bits")
    return _varint(tag) + _varint((number << 1) ^ (number >> 31) if number >= 0 else (-number << 1) - 1)


def _any_value(value: AnyValueJson) -> bytes:
    if value.string_value is not None:
        return _bytes(otlp.ANY_STRING, value.string_value.encode("utf-8", "surrogatepass"))
    if value.bool_value is not None:
        return _number(otlp.ANY_BOOL, int(value.bool_value))
    if value.int_value is not None:
        return _number(otlp.ANY_INT, _integer(value.int_value))
    if value.double_value is not None:
        return _real(otlp.ANY_DOUBLE, value.double_value)
    if value.array_value is not None:
        inner = (_bytes(otlp.LIST_VALUES, _any_value(item)) for item in value.array_value.values or ())
        return _bytes(otlp.ANY_ARRAY, b"".join(inner))
    if value.kvlist_value is not None:
        return _bytes(otlp.ANY_KVLIST, _attributes(otlp.LIST_VALUES, value.kvlist_value.values))
    if value.bytes_value is not None:
        padded = value.bytes_value + "=" * (-len(value.bytes_value) % 4)
        return _bytes(otlp.ANY_BYTES, base64.b64decode(padded.replace("-", "+").replace("_", "/"), validate=True))
    return b""


def _attributes(tag: int, given: Iterable[KeyValueJson] | None) -> bytes:
    out = []
    for item in given or ():
        value = b"" if item.value is None else _bytes(otlp.KEY_VALUE, _any_value(item.value))
        out.append(_bytes(tag, _text(otlp.KEY, item.key) + value))
    return b"".join(out)


def _exemplars(tag: int, given: Iterable[ExemplarJson] | None) -> bytes:
    out = []
    for item in given or ():
        try:
            exemplar = (
                _fixed(otlp.EXEMPLAR_TIME, item.time_unix_nano)
                + _real(otlp.EXEMPLAR_DOUBLE, item.as_double)
                + _signed_fixed(otlp.EXEMPLAR_INT, item.as_int)
                + (_bytes(otlp.EXEMPLAR_SPAN_ID, bytes.fromhex(item.span_id)) if item.span_id else b"")
                + (_bytes(otlp.EXEMPLAR_TRACE_ID, bytes.fromhex(item.trace_id)) if item.trace_id else b"")
            )
        except FAULTS:
            EXEMPLARS_REJECTED.labels("malformed").inc()
            continue
        out.append(_bytes(tag, exemplar))
    return b"".join(out)


def _times(point: PointJson) -> bytes:
    return _fixed(otlp.START_TIME, point.start_time_unix_nano) + _fixed(otlp.TIME, point.time_unix_nano)


def _flags(tag: int, point: PointJson) -> bytes:
    return b"" if point.flags is None else _number(tag, _integer(point.flags))


def _number_point(point: PointJson) -> bytes:
    return (
        _attributes(otlp.NUMBER_ATTRIBUTES, point.attributes)
        + _times(point)
        + _real(otlp.NUMBER_DOUBLE, point.as_double)
        + _signed_fixed(otlp.NUMBER_INT, point.as_int)
        + _exemplars(otlp.NUMBER_EXEMPLARS, point.exemplars)
        + _flags(otlp.NUMBER_FLAGS, point)
    )


def _histogram_point(point: PointJson) -> bytes:
    given, edges = point.bucket_counts or (), point.explicit_bounds or ()
    counts = struct.pack(f"<{len(given)}Q", *map(_integer, given))
    bounds = struct.pack(f"<{len(edges)}d", *map(_double, edges))
    return (
        _attributes(otlp.HISTOGRAM_ATTRIBUTES, point.attributes)
        + _times(point)
        + _fixed(otlp.POINT_COUNT, point.count)
        + _real(otlp.POINT_SUM, point.sum)
        + _bytes(otlp.HISTOGRAM_BUCKETS_PACKED, counts)
        + _bytes(otlp.HISTOGRAM_BOUNDS_PACKED, bounds)
        + _exemplars(otlp.HISTOGRAM_EXEMPLARS, point.exemplars)
        + _flags(otlp.HISTOGRAM_FLAGS, point)
    )


def _side(tag: int, side: BucketsJson | None) -> bytes:
    if side is None:
        return b""
    counts = []
    for count in side.bucket_counts or ():
        number = _integer(count)
        if not 0 <= number < 1 << 64:
            raise ValueError(f"{number} is not a count")
        counts.append(_varint(number))
    return _bytes(tag, _zigzag(otlp.BUCKETS_OFFSET, side.offset) + _bytes(otlp.BUCKETS_PACKED, b"".join(counts)))


def _exponential_point(point: PointJson) -> bytes:
    return (
        _attributes(otlp.EXPONENTIAL_ATTRIBUTES, point.attributes)
        + _times(point)
        + _fixed(otlp.POINT_COUNT, point.count)
        + _real(otlp.POINT_SUM, point.sum)
        + _zigzag(otlp.EXPONENTIAL_SCALE, point.scale)
        + _fixed(otlp.EXPONENTIAL_ZERO_COUNT, point.zero_count)
        + _side(otlp.EXPONENTIAL_POSITIVE, point.positive)
        + _side(otlp.EXPONENTIAL_NEGATIVE, point.negative)
        + _exemplars(otlp.EXPONENTIAL_EXEMPLARS, point.exemplars)
        + _real(otlp.EXPONENTIAL_ZERO_THRESHOLD, point.zero_threshold)
        + _flags(otlp.EXPONENTIAL_FLAGS, point)
    )


def _summary_point(point: PointJson) -> bytes:
    quantiles = b"".join(
        _bytes(otlp.SUMMARY_QUANTILES, _real(otlp.QUANTILE, item.quantile) + _real(otlp.QUANTILE_VALUE, item.value))
        for item in point.quantile_values or ()
    )
    return (
        _attributes(otlp.SUMMARY_ATTRIBUTES, point.attributes)
        + _times(point)
        + _fixed(otlp.POINT_COUNT, point.count)
        + _real(otlp.POINT_SUM, point.sum)
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
    points = b"".join(_bytes(otlp.DATA_POINTS, encode_point(point)) for point in data.data_points or ())
    return _bytes(
        tag,
        points
        + (_number(otlp.AGGREGATION_TEMPORALITY, temporality) if temporality else b"")
        + (_number(otlp.IS_MONOTONIC, 1) if data.is_monotonic else b""),
    )


def _metric(metric: MetricJson) -> bytes:
    return (
        _text(otlp.METRIC_NAME, metric.name)
        + _text(otlp.METRIC_UNIT, metric.unit)
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
        scope = _bytes(
            otlp.SCOPE,
            _text(otlp.SCOPE_NAME, item.scope.name)
            + _text(otlp.SCOPE_VERSION, item.scope.version)
            + _attributes(otlp.SCOPE_ATTRIBUTES, item.scope.attributes),
        )
    metrics = b"".join(_bytes(otlp.SCOPE_ITEMS, _metric(metric)) for metric in item.metrics or ())
    return scope + metrics + _text(otlp.SCOPE_SCHEMA_URL, item.schema_url)


def _resource_metrics(item: ResourceMetricsJson) -> bytes:
    resource = b""
    if item.resource is not None:
        resource = _bytes(otlp.RESOURCE, _attributes(otlp.RESOURCE_ATTRIBUTES, item.resource.attributes))
    return resource + b"".join(_bytes(otlp.SCOPES, _scope_metrics(scope)) for scope in item.scope_metrics or ())
