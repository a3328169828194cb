"""OTLP metrics requests to rows the slow, obvious way, on the generated opentelemetry-proto classes."""

from __future__ import annotations

import itertools
import json
import math
import struct
from collections import Counter
from typing import Any, NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest

from gateway.decode.metric_names import prometheus_label_name, prometheus_metric_name

STALE = 0x7FF0000000000002
GAUGE, COUNTER, H_COUNT, H_SUM, H_BUCKET, QUANTILE = 1, 2, 3, 4, 5, 6
DELTA, NON_MONOTONIC, VMRANGE = 0x10, 0x20, 0x40


class Row(NamedTuple):
    """What one log row should be; `identity` is what the series hash stands for."""

    identity: tuple[Any, ...]
    kind: int
    time: int
    start: int
    bits: int
    labels: dict[str, str]


def bits(value: float) -> int:
    """IEEE bits of a double."""
    return int(struct.unpack("<Q", struct.pack("<d", value))[0])


def text_of(value: Any) -> str:
    """Label text of an AnyValue."""
    which = value.WhichOneof("value")
    if which == "string_value":
        return str(value.string_value)
    if which == "bool_value":
        return "true" if value.bool_value else "false"
    if which == "int_value":
        return str(value.int_value)
    if which == "double_value":
        return number(value.double_value)
    if which is None:
        return ""
    return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"), sort_keys=which == "kvlist_value")


def plain(value: Any) -> Any:
    """Python value of an AnyValue, for strings, booleans, integers, arrays and maps of them."""
    which = value.WhichOneof("value")
    if which == "array_value":
        return [plain(item) for item in value.array_value.values]
    if which == "kvlist_value":
        return {item.key: plain(item.value) for item in value.kvlist_value.values}
    return getattr(value, which) if which else None


def number(value: float) -> str:
    """Go's FormatFloat(value, 'f', -1, 64)."""
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    if math.isnan(value):
        return "NaN"
    if value == int(value):
        digits, _, exponent = repr(value).removesuffix(".0").partition("e+")  # the shortest digits, then zeros
        whole, _, fraction = digits.partition(".")
        return whole + fraction.ljust(int(exponent), "0") if exponent else whole
    digits, _, places = repr(value).partition("e-")  # the shortest digits that read back the same
    if not places:
        return digits
    sign, digits = ("-", digits[1:]) if value < 0 else ("", digits)
    return sign + "0." + "0" * (int(places) - 1) + digits.replace(".", "")


def decode(
    body: bytes, now_ms: int, max_age: float, max_future: float, prometheus: bool = False
) -> tuple[list[Row], int, Counter[str]]:
    """(rows, accepted points, refused points by reason); rows of target_info left out."""
    request = ExportMetricsServiceRequest.FromString(body)
    rows: list[Row] = []
    refused: Counter[str] = Counter()
    accepted = 0
    for resource_metrics in request.resource_metrics:
        resource = {a.key: a.value for a in resource_metrics.resource.attributes}
        for scope_metrics in resource_metrics.scope_metrics:
            scope = scope_metrics.scope
            shared = {key: text_of(value) for key, value in resource.items()}
            shared |= {f"scope.{a.key}": text_of(a.value) for a in scope.attributes}
            own = {"name": scope.name, "version": scope.version, "schema_url": scope_metrics.schema_url}
            shared |= {f"scope.{key}": text for key, text in own.items() if text}
            base = (
                frozenset((key, value.SerializeToString()) for key, value in resource.items()),
                scope.name,
                scope.version,
                scope_metrics.schema_url,
                frozenset((a.key, a.value.SerializeToString()) for a in scope.attributes),
            )
            for metric in scope_metrics.metrics:
                which = metric.WhichOneof("data")
                if which is None:
                    continue
                data = getattr(metric, which)
                for point in data.data_points:
                    naming = prometheus_naming(resource, scope_metrics) if prometheus else None
                    found = point_rows(metric, which, data, point, base, shared, naming)
                    if isinstance(found, list) or found in ("nan", "no_value", "scale", "buckets"):
                        found = time_reason(point, now_ms, max_age, max_future) or found
                    if isinstance(found, str):
                        refused[found] += 1
                    else:
                        rows += found
                        accepted += 1
    return rows, accepted, refused


def prometheus_naming(resource: dict[str, Any], scope_metrics: Any) -> dict[str, str]:
    """Labels that a resource and a scope give to their series in Prometheus naming."""
    scope = scope_metrics.scope
    labels = {prometheus_label_name(f"otel_scope_{a.key}"): text_of(a.value) for a in scope.attributes}
    own = {"name": scope.name, "version": scope.version, "schema_url": scope_metrics.schema_url}
    labels |= {f"otel_scope_{key}": text for key, text in own.items() if text}
    text = {key: text_of(value) for key, value in resource.items()}
    name = text.get("service.name", "")
    if name:
        labels["job"] = "/".join(part for part in (text.get("service.namespace", ""), name) if part)
    if text.get("service.instance.id"):
        labels["instance"] = text["service.instance.id"]
    return {key: value for key, value in labels.items() if value}


def prometheus_labels(attributes: dict[str, Any]) -> dict[str, str]:
    """Labels of a point's attributes in Prometheus naming: values of keys that become one are joined."""
    joined: dict[str, list[str]] = {}
    for key in sorted(attributes):
        joined.setdefault(prometheus_label_name(key), []).append(text_of(attributes[key]))
    return {name: ";".join(texts) for name, texts in joined.items() if name}


def time_reason(point: Any, now_ms: int, max_age: float, max_future: float) -> str:
    """Why the point's time refuses it; empty if it does not."""
    time = point.time_unix_nano // 10**6
    if time < now_ms - max_age * 1000:
        return "too_old"
    return "too_new" if time > now_ms + max_future * 1000 else ""


def point_rows(
    metric: Any, which: str, data: Any, point: Any, base: tuple[Any, ...], shared: dict[str, str],
    naming: dict[str, str] | None = None,
) -> list[Row] | str:  # fmt: skip
    """The rows of a point, time aside, or why it is refused. naming: of resource and scope, in Prometheus naming."""
    if not metric.name:
        return "invalid_name"
    delta = 0
    if which in ("sum", "histogram", "exponential_histogram"):
        if data.aggregation_temporality not in (1, 2):
            return "temporality"
        delta = DELTA if data.aggregation_temporality == 1 else 0
    attributes = {a.key: a.value for a in point.attributes}
    monotonic = which == "sum" and data.is_monotonic
    labels, name = shared | {key: text_of(value) for key, value in attributes.items()}, metric.name
    if naming is not None:
        labels = prometheus_labels(attributes) | naming
        name = prometheus_metric_name(name, metric.unit, monotonic_sum=monotonic, gauge=which == "gauge")
    identity = (
        *base, metric.name, metric.unit, which, delta, monotonic,
        frozenset((key, value.SerializeToString()) for key, value in attributes.items()),
    )  # fmt: skip
    time, start = point.time_unix_nano // 10**6, point.start_time_unix_nano // 10**6
    stale = bool(point.flags & 1)

    def row(part: Any, kind: int, value: float | int, suffix: str = "", **extra: str) -> Row:
        text = {key: value for key, value in (labels | {"__name__": name + suffix} | extra).items() if value}
        text.pop("", None)
        return Row((*identity, part), kind, time, start, STALE if stale else bits(float(value)), text)

    if which in ("gauge", "sum"):
        value_field = point.WhichOneof("value")
        value = getattr(point, value_field) if value_field else 0.0
        if not stale:
            if value_field is None:
                return "no_value"
            if isinstance(value, float) and math.isnan(value) and bits(value) != STALE:
                return "nan"
        kind = GAUGE
        if which == "sum":
            kind = COUNTER | delta if monotonic else (COUNTER | DELTA | NON_MONOTONIC if delta else GAUGE)
        if isinstance(value, float) and bits(value) == STALE:
            return [row("value", kind, 0)._replace(bits=STALE)]
        return [row("value", kind, value)]
    rows = [row("count", H_COUNT | delta, point.count, "_count")]
    if (which == "summary" or point.HasField("sum")) and (stale or not math.isnan(point.sum)):
        rows.append(row("sum", H_SUM | delta, point.sum, "_sum"))
    if which == "summary":
        for quantile in point.quantile_values:
            if stale or not math.isnan(quantile.value):
                at = quantile.quantile + 0.0
                rows.append(row(("quantile", at), QUANTILE, quantile.value, quantile=number(at)))
        return rows
    if which == "histogram":
        counts, bounds = list(point.bucket_counts), list(point.explicit_bounds)
        fits = len(counts) == len(bounds) + 1 or (not counts and (not bounds or stale))
        rising = all(a < b for a, b in itertools.pairwise(bounds))
        if not fits or not rising or any(math.isnan(b) or b == math.inf for b in bounds):
            return "buckets"
        for ordinal, bound in enumerate(bounds):
            below = sum(counts[: ordinal + 1]) % 2**64
            rows.append(row(("le", bound + 0.0), H_BUCKET | delta, below, "_bucket", le=number(bound + 0.0)))
        rows.append(row(("le", math.inf), H_BUCKET | delta, point.count, "_bucket", le="+Inf"))
        return rows
    if point.scale < -4:
        return "scale"
    if stale:
        return rows
    kind = H_BUCKET | VMRANGE | delta
    if point.zero_count:
        text = f"0.000e+00...{point.zero_threshold:.3e}"
        rows.append(row(("zero", point.zero_threshold), kind, point.zero_count, "_bucket", vmrange=text))
    for sign, side in ((1, point.positive), (-1, point.negative)):
        merged: Counter[int] = Counter()
        for place, count in enumerate(side.bucket_counts):
            merged[(side.offset + place) >> max(point.scale - 8, 0)] += count
        scale = min(point.scale, 8)
        for index in sorted(index for index, count in merged.items() if count):
            ends = [sign * 2.0 ** (i * 2.0**-scale) for i in (index, index + 1)]
            text = "...".join(f"{end:.3e}" for end in sorted(ends))
            rows.append(row((sign, index, scale), kind, merged[index], "_bucket", vmrange=text))
    return rows
