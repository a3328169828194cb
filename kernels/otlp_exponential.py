"""Points of exponential histograms: count, sum, and a row for each range that was hit (kernels.exponential_histogram).

A stale point has no buckets: which of them were hit before is not known here. Minimum and maximum make no row.
Source: opentelemetry/proto/metrics/v1/metrics.proto.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kernels.exponential_histogram import COARSEST_SCALE, FINEST_SCALE, read_buckets
from kernels.jit import step
from kernels.otlp_point_rows import (
    PointHead,
    begin_point,
    field_extent,
    is_no_value,
    point_attributes,
    put_count_and_sum,
    put_part,
)
from kernels.otlp_reasons import ACCEPTED, BUCKETS, SCALE
from kernels.otlp_rows import (
    HISTOGRAM_BUCKET,
    ROLE_NEGATIVE,
    ROLE_POSITIVE,
    ROLE_ZERO,
    S_ROWS,
    VMRANGE,
    milliseconds,
    read_exemplars,
    time_reason,
)
from kernels.protobuf_fields import read_tag, skip_value
from kernels.varint import read_varint, zigzag
from kernels.wire import bits_as_f64, load_u64
from proto.otlp import (
    EXPONENTIAL_ATTRIBUTES,
    EXPONENTIAL_EXEMPLARS,
    EXPONENTIAL_FLAGS,
    EXPONENTIAL_NEGATIVE,
    EXPONENTIAL_POSITIVE,
    EXPONENTIAL_SCALE,
    EXPONENTIAL_ZERO_COUNT,
    EXPONENTIAL_ZERO_THRESHOLD,
    POINT_COUNT,
    POINT_SUM,
    START_TIME,
    TIME,
)


class ExponentialPoint(NamedTuple):
    """Fields of an ExponentialHistogramDataPoint."""

    end: Any
    """Of the point, or a fault: the rest is void then."""
    time: Any
    start: Any
    count: Any
    flags: Any
    has_sum: Any
    total: Any
    zeros: Any
    threshold: Any
    """Bits of the zero threshold."""
    scale: Any
    plus: Any
    """Where the buckets of the positive side begin, and end."""
    plus_end: Any
    minus: Any
    minus_end: Any
    exemplars: Any
    """How many there are."""


@step
def read_exponential(buf: Any, at: Any, end: Any) -> Any:
    """Read the fields of an ExponentialHistogramDataPoint at [at, end) into an ExponentialPoint."""
    zero = np.uint64(0)
    time, start, count, zeros, threshold, flags = zero, zero, zero, zero, zero, zero
    has_sum, total = False, 0.0
    scale, n_exemplars = np.int64(0), np.int64(0)
    plus, plus_end, minus, minus_end = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    while 0 <= at < end:
        tag, at = read_tag(buf, at, end)
        wire = tag & 7
        at, behind = field_extent(buf, at, end, wire)
        if at < 0:
            break
        if tag == TIME:
            time = load_u64(buf, at)
        elif tag == START_TIME:
            start = load_u64(buf, at)
        elif tag == POINT_COUNT:
            count = load_u64(buf, at)
        elif tag == POINT_SUM:
            total = bits_as_f64(load_u64(buf, at))
            has_sum = True
        elif tag == EXPONENTIAL_ZERO_COUNT:
            zeros = load_u64(buf, at)
        elif tag == EXPONENTIAL_ZERO_THRESHOLD:
            threshold = load_u64(buf, at)
        elif tag == EXPONENTIAL_POSITIVE:
            plus, plus_end = at, behind
        elif tag == EXPONENTIAL_NEGATIVE:
            minus, minus_end = at, behind
        elif tag == EXPONENTIAL_SCALE:
            value, behind = read_varint(buf, at, end)
            scale = zigzag(value & np.uint64(0xFFFFFFFF))
        elif tag == EXPONENTIAL_FLAGS:
            flags, behind = read_varint(buf, at, end)
        elif wire != 1 and wire != 2:
            behind = skip_value(buf, at, end, tag)
        elif tag == EXPONENTIAL_EXEMPLARS:
            n_exemplars += 1
        at = behind
    return ExponentialPoint(
        at, time, start, count, flags, has_sum, total, zeros, threshold, scale, plus, plus_end, minus, minus_end,
        n_exemplars,
    )  # fmt: skip


@step
def read_sides(buf: Any, read: Any, counts: Any) -> Any:
    """(0 or a fault, index of counts[0], how many counts, reason): both sides are judged before the first row is
    written; the scratch then holds the positive one."""
    after, lowest, used, reason = read_buckets(buf, read.minus, read.minus_end, read.scale, counts)
    if after >= 0 and reason == ACCEPTED:
        after, lowest, used, reason = read_buckets(buf, read.plus, read.plus_end, read.scale, counts)
    threshold = bits_as_f64(read.threshold)
    if reason == ACCEPTED and threshold != threshold:
        reason = np.int64(BUCKETS)
    return after, lowest, used, reason


@step
def put_side(rows: Any, state: Any, head: Any, lowest: Any, used: Any, counts: Any, role: Any, scale: Any) -> Any:
    """Rows of the buckets of one side that were hit."""
    for place in range(used):
        if counts[place] != np.uint64(0):
            index = lowest + place
            word = np.uint64(index << 8) | np.uint64(scale & 0xFF)
            put_part(rows, state, head, role, word, np.float64(counts[place]), HISTOGRAM_BUCKET | VMRANGE, index)


@step
def put_ranges(buf: Any, rows: Any, state: Any, head: Any, read: Any, lowest: Any, used: Any, counts: Any) -> Any:
    """The zero bucket and both sides; counts: the positive one, replaced by the other."""
    scale = min(read.scale, np.int64(FINEST_SCALE))
    if read.zeros != np.uint64(0):
        zeros = np.float64(read.zeros)
        put_part(rows, state, head, ROLE_ZERO, read.threshold, zeros, HISTOGRAM_BUCKET | VMRANGE, 0)
    put_side(rows, state, head, lowest, used, counts, ROLE_POSITIVE, scale)
    _, lowest, used, _ = read_buckets(buf, read.minus, read.minus_end, read.scale, counts)
    put_side(rows, state, head, lowest, used, counts, ROLE_NEGATIVE, scale)


@step
def exponential_point(
    buf: Any, at: Any, end: Any, k: Any, high: Any, low: Any, flags: Any, metric: Any, point: Any, limits: Any,
    stamps: Any, stack: Any, counts: Any, rows: Any, exemplars: Any, state: Any, rejected: Any,
) -> Any:  # fmt: skip
    """Read one ExponentialHistogramDataPoint into rows; returns `end` or a fault. counts: scratch of MOST_BUCKETS."""
    after, h, g, reason = point_attributes(
        buf, at, end, np.int64(EXPONENTIAL_ATTRIBUTES), k, limits, stamps, stack, state
    )
    if after < 0:
        return after
    read = read_exponential(buf, at, end)
    if read.end < 0:
        return read.end
    time_ms, start_ms = milliseconds(read.time), milliseconds(read.start)
    if reason == ACCEPTED:
        reason = time_reason(time_ms, limits)
    if reason == ACCEPTED and read.scale < COARSEST_SCALE:
        reason = np.int64(SCALE)
    lowest, used = np.int64(0), np.int64(0)
    if reason == ACCEPTED:
        after, lowest, used, reason = read_sides(buf, read, counts)
        if after < 0:
            return after
    if reason != ACCEPTED:
        rejected[reason] += 1
        return end
    first = state[S_ROWS]
    number = begin_point(time_ms, start_ms, state)
    head = PointHead(high + h, low + g, k, time_ms, start_ms, is_no_value(read.flags), flags, point, metric, number)
    put_count_and_sum(rows, state, head, read.count, read.has_sum, read.total)
    if not head.stale:
        put_ranges(buf, rows, state, head, read, lowest, used, counts)
    if read.exemplars > 0:
        return read_exemplars(buf, at, end, np.int64(EXPONENTIAL_EXEMPLARS), first, exemplars, state)
    return end
