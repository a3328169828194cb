"""Points of summaries: count, sum, and a row a quantile; a quantile without a value (NaN) makes none.

Source: opentelemetry/proto/metrics/v1/metrics.proto.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kernels.jit import step
from kernels.otlp_point_rows import (
    PointHead,
    begin_point,
    is_no_value,
    point_attributes,
    put_count_and_sum,
    put_part,
)
from kernels.otlp_reasons import ACCEPTED, BUCKETS
from kernels.otlp_rows import ROLE_QUANTILE, STALE_NAN_BITS, SUMMARY_QUANTILE, milliseconds, time_reason
from kernels.protobuf_fields import read_length, read_tag, skip_value
from kernels.varint import read_varint
from kernels.wire import bits_as_f64, f64_as_bits, load_u64
from proto.otlp import (
    POINT_COUNT,
    POINT_SUM,
    QUANTILE,
    QUANTILE_VALUE,
    START_TIME,
    SUMMARY_ATTRIBUTES,
    SUMMARY_FLAGS,
    SUMMARY_QUANTILES,
    TIME,
)


class SummaryPoint(NamedTuple):
    """Fields of a SummaryDataPoint."""

    end: Any
    """Of the point, or a fault: the rest is void then."""
    time: Any
    start: Any
    count: Any
    flags: Any
    total: Any
    regular: Any
    """No quantile is NaN."""


@step
def read_quantile(buf: Any, at: Any, end: Any) -> Any:
    """(end or fault, quantile, value) of a ValueAtQuantile."""
    quantile, value = 0.0, 0.0
    while at < end:
        tag, at = read_tag(buf, at, end)
        if at < 0:
            return at, quantile, value
        begin = at
        at = skip_value(buf, at, end, tag)
        if at < 0:
            return at, quantile, value
        if tag == QUANTILE:
            quantile = bits_as_f64(load_u64(buf, begin))
        elif tag == QUANTILE_VALUE:
            value = bits_as_f64(load_u64(buf, begin))
    return at, quantile, value


@step
def read_summary(buf: Any, at: Any, end: Any) -> Any:
    """Read the fields of a SummaryDataPoint at [at, end) into a SummaryPoint."""
    zero = np.uint64(0)
    time, start, count, flags, total, regular = zero, zero, zero, zero, 0.0, True
    while 0 <= at < end:
        tag, begin = read_tag(buf, at, end)
        at = skip_value(buf, begin, end, tag) if begin >= 0 else begin
        if at < 0:
            break
        if tag == TIME:
            time = load_u64(buf, begin)
        elif tag == START_TIME:
            start = load_u64(buf, begin)
        elif tag == POINT_COUNT:
            count = load_u64(buf, begin)
        elif tag == POINT_SUM:
            total = bits_as_f64(load_u64(buf, begin))
        elif tag == SUMMARY_FLAGS:
            flags, _ = read_varint(buf, begin, end)
        elif tag == SUMMARY_QUANTILES:
            begin, behind = read_length(buf, begin, end)
            after, quantile, _ = read_quantile(buf, begin, behind)
            if after < 0:
                at = after
            elif quantile != quantile:
                regular = False
    return SummaryPoint(at, time, start, count, flags, total, regular)


@step
def put_quantiles(buf: Any, at: Any, end: Any, rows: Any, state: Any, head: Any) -> Any:
    """A row a quantile of a SummaryDataPoint that `read_summary` has read without a fault."""
    ordinal = np.int64(0)
    while at < end:
        tag, at = read_tag(buf, at, end)
        if tag != SUMMARY_QUANTILES:
            at = skip_value(buf, at, end, tag)
            continue
        begin, at = read_length(buf, at, end)
        _, quantile, value = read_quantile(buf, begin, at)
        if head.stale:
            value = bits_as_f64(np.uint64(STALE_NAN_BITS))
        if head.stale or value == value or f64_as_bits(value) == np.uint64(STALE_NAN_BITS):
            put_part(rows, state, head, ROLE_QUANTILE, f64_as_bits(quantile + 0.0), value, SUMMARY_QUANTILE, ordinal)
        ordinal += 1


@step
def summary_point(
    buf: Any, at: Any, end: Any, k: Any, high: Any, low: Any, metric: Any, point: Any, limits: Any, stamps: Any,
    stack: Any, rows: Any, state: Any, rejected: Any,
) -> Any:  # fmt: skip
    """Read one SummaryDataPoint into rows; returns `end` or a fault."""
    after, h, g, reason = point_attributes(buf, at, end, np.int64(SUMMARY_ATTRIBUTES), k, limits, stamps, stack, state)
    if after < 0:
        return after
    read = read_summary(buf, at, end)
    if read.end < 0:
        return read.end
    time_ms, start_ms = milliseconds(read.time), milliseconds(read.start)
    if reason == ACCEPTED:
        reason = time_reason(time_ms, limits)
    if reason == ACCEPTED and not read.regular:
        reason = np.int64(BUCKETS)
    if reason != ACCEPTED:
        rejected[reason] += 1
        return end
    number = begin_point(time_ms, start_ms, state)
    head = PointHead(
        high + h, low + g, k, time_ms, start_ms, is_no_value(read.flags), np.int64(0), point, metric, number
    )
    put_count_and_sum(rows, state, head, read.count, True, read.total)
    put_quantiles(buf, at, end, rows, state, head)
    return end
