"""Labels of OTLP rows, read from the request's bytes when a series is seen for the first time.

The kernel keeps for each row where its point, metric, scope and resource stand. What a resource, a scope, a metric or
an attribute gives is worked out once a request and kept until the request is dropped.
"""

from __future__ import annotations

import base64
import json
import struct
from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.decode.metric_names import prometheus_label_name, prometheus_metric_name
from gateway.telemetry.columns import Definitions
from kernels import otlp_rows as part
from kernels.exponential_histogram import FINEST_SCALE
from kernels.otlp_rows import Origins, Rows
from proto import otlp

_IDENTIFYING = ("service.name", "service.namespace", "service.instance.id")
_SUFFIXES = {
    part.ROLE_COUNT: "_count",
    part.ROLE_SUM: "_sum",
    part.ROLE_BUCKET: "_bucket",
    part.ROLE_POSITIVE: "_bucket",
    part.ROLE_NEGATIVE: "_bucket",
    part.ROLE_ZERO: "_bucket",
}


class Field(NamedTuple):
    """One field of a message: its tag, and its value (begin and end for a length-delimited one)."""

    tag: int
    value: int
    end: int


def varint(body: bytes, at: int) -> tuple[int, int]:
    """(value, next position); the body has been checked by the kernel."""
    value = shift = 0
    while True:
        byte = body[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7


def fields(body: bytes, at: int, end: int) -> list[Field]:
    """The fields of a message that the kernel has checked."""
    found = []
    while at < end:
        tag, at = varint(body, at)
        wire = tag & 7
        if wire == otlp.BYTES:
            length, at = varint(body, at)
            found.append(Field(tag, at, at + length))
            at += length
        elif wire == otlp.VARINT:
            value, at = varint(body, at)
            found.append(Field(tag, value, at))
        else:
            width = 8 if wire == otlp.FIXED64 else 4
            found.append(Field(tag, int.from_bytes(body[at : at + width], "little"), at + width))
            at += width
    return found


def _double(bits: int) -> float:
    value: float = struct.unpack("<d", bits.to_bytes(8, "little"))[0]
    return value


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _zigzag32(value: int) -> int:
    value &= 0xFFFFFFFF
    return (value >> 1) ^ -(value & 1)


def format_float(value: float) -> str:
    """Shortest digits that read back the same, never with an exponent; +Inf, -Inf, NaN."""
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    if value == int(value) and abs(value) < 1e15:
        return str(int(value))
    text = format(Decimal(repr(value)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


def _json_float(value: float) -> Any:
    """A number as JSON has it; what JSON has no number for is a string."""
    if value != value or value in (float("inf"), float("-inf")):
        return format_float(value)
    return int(value) if value == int(value) and abs(value) < 1e15 else value


def any_value(body: bytes, at: int, end: int) -> Any:
    """The Python value of an AnyValue: str, bool, int, float, list, dict, bytes as base64 text, or None."""
    result: Any = None
    for tag, value, behind in fields(body, at, end):
        if tag == otlp.ANY_STRING:
            result = body[value:behind].decode()
        elif tag == otlp.ANY_BOOL:
            result = value != 0
        elif tag == otlp.ANY_INT:
            result = _signed(value)
        elif tag == otlp.ANY_DOUBLE:
            result = _double(value)
        elif tag == otlp.ANY_BYTES:
            result = base64.b64encode(body[value:behind]).decode()
        elif tag == otlp.ANY_ARRAY:
            items = [any_value(body, f.value, f.end) for f in fields(body, value, behind) if f.tag == otlp.LIST_VALUES]
            result = [_json_float(item) if isinstance(item, float) else item for item in items]
        elif tag == otlp.ANY_KVLIST:
            result = {}
            for member in fields(body, value, behind):
                if member.tag == otlp.LIST_VALUES:
                    key, inner = key_value(body, member.value, member.end)
                    result[key] = _json_float(inner) if isinstance(inner, float) else inner
    return result


def key_value(body: bytes, at: int, end: int) -> tuple[str, Any]:
    """Key and value of a KeyValue."""
    key, value = "", None
    for tag, begin, behind in fields(body, at, end):
        if tag == otlp.KEY:
            key = body[begin:behind].decode()
        elif tag == otlp.KEY_VALUE:
            value = any_value(body, begin, behind)
    return key, value


def as_label_value(value: Any) -> str:
    """Text of an attribute: strings as they are, maps and arrays as JSON, nothing as the empty string."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return format_float(value)
    if isinstance(value, int):
        return str(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=isinstance(value, dict))


def _bytes_varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _label(name: bytes, value: bytes) -> bytes:
    """One label of a blob; see telemetry.labels."""
    if len(name) < 60 and len(value) < 60:
        body = b"\x0a%c%b\x12%c%b" % (len(name), name, len(value), value)
        return b"\x0a%c%b" % (len(body), body)
    body = b"\x0a" + _bytes_varint(len(name)) + name + b"\x12" + _bytes_varint(len(value)) + value
    return b"\x0a" + _bytes_varint(len(body)) + body


def bucket_range(role: int, index: int, scale: int, threshold: float) -> str:
    """`vmrange` of an exponential bucket: `lower...upper`, in VictoriaMetrics' way of writing it."""
    if role == part.ROLE_ZERO:
        return f"0...{abs(threshold):.3e}"
    low, high = _power(index, scale), _power(index + 1, scale)
    if role == part.ROLE_NEGATIVE:
        low, high = -high, -low
    return f"{_range_end(low)}...{_range_end(high)}"


def _power(index: int, scale: int) -> float:
    try:
        return float(2.0 ** (index / 2**scale if scale >= 0 else index * 2**-scale))
    except OverflowError:
        return float("inf")


def _range_end(value: float) -> str:
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return f"{value:.3e}"


class _Metric(NamedTuple):
    """What all points of a metric share."""

    name: str
    shared: dict[bytes, tuple[str, bytes]]
    """By label name: value and encoded label, of the resource and the scope."""
    data: int


class OtlpLabels:
    """The LabelSource of one OTLP request. Not thread-safe; one thread asks."""

    def __init__(self, body: bytes | NDArray[np.uint8], rows: Rows, origins: Origins, prometheus: bool) -> None:
        self._array = body
        self._body = b""
        self._rows, self._origins, self._prometheus = rows, origins, prometheus
        self._resources: dict[int, dict[str, str]] = {}
        self._scopes: dict[int, dict[bytes, tuple[str, bytes]]] = {}
        self._metrics: dict[int, _Metric] = {}
        self._attributes: dict[bytes, tuple[str, bytes, str, bytes]] = {}

    def definitions(self, rows: NDArray[np.int64]) -> Definitions:
        """See telemetry.columns.LabelSource."""
        if not self._body:
            self._body = bytes(self._array)
        table = self._rows
        roles, buckets = table.roles[rows].tolist(), table.buckets[rows].tolist()
        points, metrics = table.points[rows].tolist(), table.metrics[rows].tolist()
        blobs: list[bytes] = []
        last_point, labels = -1, {}
        for role, bucket, point, metric in zip(roles, buckets, points, metrics, strict=True):
            if role == part.ROLE_TARGET_INFO:
                blobs.append(self._target_info(metric))
                continue
            shared = self._metric(metric)
            if point != last_point:
                labels, last_point = self._point_labels(point, shared), point
            blobs.append(self._blob(role, bucket, point, shared, labels))
        return Definitions.from_blobs(blobs, table.kinds[rows])

    def _blob(
        self, role: int, bucket: int, point: int, metric: _Metric, labels: dict[bytes, tuple[str, bytes]]
    ) -> bytes:
        name = (metric.name + _SUFFIXES.get(role, "")).encode()
        own = {**labels, b"__name__": ("", _label(b"__name__", name))}
        extra = self._extra(role, bucket, point)
        if extra is not None:
            own[extra[0]] = ("", _label(extra[0], extra[1].encode()))
        return b"".join([encoded for _, (_, encoded) in sorted(own.items())])

    def _extra(self, role: int, bucket: int, point: int) -> tuple[bytes, str] | None:
        """The label that tells a part of a point from the others."""
        if role in (part.ROLE_VALUE, part.ROLE_COUNT, part.ROLE_SUM):
            return None
        length, at = varint(self._body, point)
        inside = fields(self._body, at, at + length)
        if role == part.ROLE_BUCKET:
            bounds: list[float] = []
            for tag, value, end in inside:
                if tag == otlp.HISTOGRAM_BOUNDS_PACKED:
                    bounds += struct.unpack(f"<{(end - value) // 8}d", self._body[value:end])
                elif tag == otlp.HISTOGRAM_BOUNDS_ONE:
                    bounds.append(_double(value))
            return b"le", format_float(bounds[bucket] + 0.0) if bucket < len(bounds) else "+Inf"
        if role == part.ROLE_QUANTILE:
            values = [f for f in inside if f.tag == otlp.SUMMARY_QUANTILES][bucket]
            quantile = 0.0
            for tag, value, _ in fields(self._body, values.value, values.end):
                if tag == otlp.QUANTILE:
                    quantile = _double(value)
            return b"quantile", format_float(quantile + 0.0)
        scale, threshold = 0, 0.0
        for tag, value, _ in inside:
            if tag == otlp.EXPONENTIAL_SCALE:
                scale = _zigzag32(value)
            elif tag == otlp.EXPONENTIAL_ZERO_THRESHOLD:
                threshold = _double(value)
        return b"vmrange", bucket_range(role, bucket, min(scale, FINEST_SCALE), threshold)

    def _attribute(self, begin: int, end: int) -> tuple[str, bytes, str, bytes]:
        """(key, label name, value, encoded label) of a KeyValue; an empty name or value makes no label."""
        raw = self._body[begin:end]
        known = self._attributes.get(raw)
        if known is None:
            key, found = key_value(raw, 0, len(raw))
            value = as_label_value(found)
            name = (prometheus_label_name(key) if self._prometheus else key).encode()
            known = key, name, value, _label(name, value.encode()) if name and value else b""
            self._attributes[raw] = known
        return known

    def _merge(self, given: list[tuple[str, bytes, str, bytes]]) -> dict[bytes, tuple[str, bytes]]:
        """Labels of attributes: of a repeated key the last; of keys that become one label all, joined with `;`.

        An empty value makes no label, but on a point it hides the resource's.
        """
        labels: dict[bytes, tuple[str, bytes]] = {}
        for _, name, value, encoded in given:
            if name in labels:
                break
            if name:
                labels[name] = value, encoded
        else:
            return labels
        labels = {}
        for _, name, value, encoded in sorted({item[0]: item for item in given}.values()):
            if name in labels:
                joined = f"{labels[name][0]};{value}"
                labels[name] = joined, _label(name, joined.encode())
            elif name:
                labels[name] = value, encoded
        return labels

    def _point_labels(self, point: int, metric: _Metric) -> dict[bytes, tuple[str, bytes]]:
        """Labels of a point, with those of its resource and scope; on a clash `job`, `instance` and the scope's win in
        Prometheus naming, the point's own in the other."""
        body = self._body
        tag_wanted = _POINT_ATTRIBUTES[metric.data]
        length, at = varint(body, point)
        given = [
            self._attribute(value, end)
            for tag, value, end in fields(body, at, at + length)
            if tag == tag_wanted
        ]  # fmt: skip
        labels = self._merge(given)
        return {**labels, **metric.shared} if self._prometheus else {**metric.shared, **labels}

    def _metric(self, number: int) -> _Metric:
        known = self._metrics.get(number)
        if known is not None:
            return known
        body, origins = self._body, self._origins
        name = unit = ""
        data, monotonic = 0, False
        for tag, value, end in fields(body, int(origins.metric_begin[number]), int(origins.metric_end[number])):
            if tag == otlp.METRIC_NAME:
                name = body[value:end].decode()
            elif tag == otlp.METRIC_UNIT:
                unit = body[value:end].decode()
            elif tag in _POINT_ATTRIBUTES:
                monotonic = monotonic and tag == data
                data = tag
                if tag == otlp.METRIC_SUM:
                    for inner in fields(body, value, end):
                        if inner.tag == otlp.IS_MONOTONIC:
                            monotonic = inner.value != 0
        if self._prometheus:
            name = prometheus_metric_name(name, unit, monotonic_sum=monotonic, gauge=data == otlp.METRIC_GAUGE)
        known = _Metric(name, self._scope(int(origins.metric_scope[number])), data)
        self._metrics[number] = known
        return known

    def _scope(self, number: int) -> dict[bytes, tuple[str, bytes]]:
        """Encoded labels of a scope and its resource."""
        known = self._scopes.get(number)
        if known is not None:
            return known
        body, origins = self._body, self._origins
        prefix = "otel_scope_" if self._prometheus else "scope."
        labels: dict[str, str] = {}
        own: dict[str, str] = {}
        for tag, value, end in fields(body, int(origins.scope_begin[number]), int(origins.scope_end[number])):
            if tag == otlp.SCOPE_SCHEMA_URL:
                own["schema_url"] = body[value:end].decode()
            if tag != otlp.SCOPE:
                continue
            for inner in fields(body, value, end):
                if inner.tag == otlp.SCOPE_NAME:
                    own["name"] = body[inner.value : inner.end].decode()
                elif inner.tag == otlp.SCOPE_VERSION:
                    own["version"] = body[inner.value : inner.end].decode()
                elif inner.tag == otlp.SCOPE_ATTRIBUTES:
                    key, found = key_value(body, inner.value, inner.end)
                    label = prefix + key
                    labels[prometheus_label_name(label) if self._prometheus else label] = as_label_value(found)
        labels |= {prefix + key: text for key, text in own.items()}
        resource = self._resource(int(origins.scope_resource[number]))
        if self._prometheus:
            labels |= _job_and_instance(resource)
        else:
            labels = {**resource, **labels}
        known = {
            key.encode(): (text, _label(key.encode(), text.encode())) for key, text in labels.items() if text and key
        }
        self._scopes[number] = known
        return known

    def _resource(self, number: int) -> dict[str, str]:
        """Attributes of a resource, by their own keys."""
        known = self._resources.get(number)
        if known is None:
            body, origins = self._body, self._origins
            known = {}
            for tag, value, end in fields(body, int(origins.resource_begin[number]), int(origins.resource_end[number])):
                if tag == otlp.RESOURCE:
                    for inner in fields(body, value, end):
                        if inner.tag == otlp.RESOURCE_ATTRIBUTES:
                            key, found = key_value(body, inner.value, inner.end)
                            known[key] = as_label_value(found)
            self._resources[number] = known
        return known

    def _target_info(self, number: int) -> bytes:
        resource = self._resource(number)
        labels: dict[str, str] = {}
        for key in sorted(resource):
            name = prometheus_label_name(key)
            if key in _IDENTIFYING or not name or not resource[key]:
                continue
            labels[name] = f"{labels[name]};{resource[key]}" if name in labels else resource[key]
        labels |= _job_and_instance(resource)
        labels["__name__"] = "target_info"
        encoded = sorted((name.encode(), value.encode()) for name, value in labels.items() if value)
        return b"".join(_label(name, value) for name, value in encoded)


_POINT_ATTRIBUTES = {
    otlp.METRIC_GAUGE: otlp.NUMBER_ATTRIBUTES,
    otlp.METRIC_SUM: otlp.NUMBER_ATTRIBUTES,
    otlp.METRIC_HISTOGRAM: otlp.HISTOGRAM_ATTRIBUTES,
    otlp.METRIC_EXPONENTIAL_HISTOGRAM: otlp.EXPONENTIAL_ATTRIBUTES,
    otlp.METRIC_SUMMARY: otlp.SUMMARY_ATTRIBUTES,
}


def _job_and_instance(resource: dict[str, str]) -> dict[str, str]:
    """`job` = namespace/name, `instance` = instance id, of a resource that has them."""
    found = {}
    service = resource.get("service.name", "")
    if service:
        namespace = resource.get("service.namespace", "")
        found["job"] = f"{namespace}/{service}" if namespace else service
    instance = resource.get("service.instance.id", "")
    if instance:
        found["instance"] = instance
    return found
