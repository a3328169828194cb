"""The messages of OTLP/JSON as they stand on the wire, and what is said of a body in which they do not.

lowerCamelCase names, 64-bit integers as strings or numbers; unknown fields and nulls are ignored. Source: OTLP
specification, "JSON Protobuf Encoding"; protobuf's ProtoJSON.
"""

from __future__ import annotations

import re
import struct

import msgspec

from gateway.errors import DecodeError

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
