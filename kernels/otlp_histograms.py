"""Points of explicit histograms: count, sum, and buckets cumulative over their bounds, of which the last is +Inf and
holds the count. Minimum and maximum make no row. Source: opentelemetry/proto/metrics/v1/metrics.proto.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

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
from kernels.otlp_reasons import ACCEPTED, BUCKETS
from kernels.otlp_rows import (
    HISTOGRAM_BUCKET,
    ROLE_BUCKET,
    S_ROWS,
    STALE_NAN_BITS,
    milliseconds,
    read_exemplars,
    time_reason,
)
from kernels.protobuf_fields import read_tag, skip_value
from kernels.varint import TRUNCATED, fault, read_varint
from kernels.wire import bits_as_f64, f64_as_bits, load_u64
from proto.otlp import (
    HISTOGRAM_ATTRIBUTES,
    HISTOGRAM_BOUNDS_ONE,
    HISTOGRAM_BOUNDS_PACKED,
    HISTOGRAM_BUCKETS_ONE,
    HISTOGRAM_BUCKETS_PACKED,
    HISTOGRAM_EXEMPLARS,
    HISTOGRAM_FLAGS,
    POINT_COUNT,
    POINT_SUM,
    START_TIME,
    TIME,
)

MOST_BOUNDS: Final = 1024
"""Explicit bounds of one point; more are refused."""


class ExplicitPoint(NamedTuple):
    """Fields of a HistogramDataPoint; its counts and bounds are in the scratch."""

    end: Any
    """Of the point, or a fault: the rest is void then."""
    time: Any
    start: Any
    count: Any
    flags: Any
    has_sum: Any
    total: Any
    counts: Any
    """How many there are in the scratch."""
    bounds: Any
    exemplars: Any
    """How many there are."""
    regular: Any
    """Bounds rise, are below +Inf, and there are not too many."""


@step
def take_counts(buf: Any, at: Any, end: Any, counts: Any, used: Any) -> Any:
    """(end or fault, how many there are now, whether all fitted): bucket counts at [at, end) behind `used` others."""
    fitted = True
    while end - at >= 8:
        if used <= MOST_BOUNDS:
            counts[used] = load_u64(buf, at)
            used += 1
        else:
            fitted = False
        at += 8
    return at if at == end else fault(at, TRUNCATED), used, fitted


@step
def take_bounds(buf: Any, at: Any, end: Any, bounds: Any, used: Any) -> Any:
    """As `take_counts`, of bounds; also whether they rise and are below +Inf."""
    regular = True
    while end - at >= 8:
        bound = bits_as_f64(load_u64(buf, at))
        if used < MOST_BOUNDS:
            # Written so that NaN fails; +Inf would repeat the last bucket.
            if not bound < np.inf or (used > 0 and not bound > bounds[used - 1]):
                regular = False
            bounds[used] = bound
            used += 1
        else:
            regular = False
        at += 8
    return at if at == end else fault(at, TRUNCATED), used, regular


@step
def read_explicit(buf: Any, at: Any, end: Any, counts: Any, bounds: Any) -> Any:
    """Read the fields of a HistogramDataPoint at [at, end) into an ExplicitPoint and the scratch."""
    time, start, count, flags = np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0)
    has_sum, total = False, 0.0
    n_counts, n_bounds, n_exemplars = np.int64(0), np.int64(0), np.int64(0)
    regular = True
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
        elif tag == HISTOGRAM_BUCKETS_PACKED or tag == HISTOGRAM_BUCKETS_ONE:
            behind, n_counts, sound = take_counts(buf, at, behind, counts, n_counts)
            regular = regular and sound
        elif tag == HISTOGRAM_BOUNDS_PACKED or tag == HISTOGRAM_BOUNDS_ONE:
            behind, n_bounds, sound = take_bounds(buf, at, behind, bounds, n_bounds)
            regular = regular and sound
        elif tag == HISTOGRAM_FLAGS:
            flags, behind = read_varint(buf, at, end)
        elif wire != 1 and wire != 2:
            behind = skip_value(buf, at, end, tag)
        elif tag == HISTOGRAM_EXEMPLARS:
            n_exemplars += 1
        at = behind
    return ExplicitPoint(at, time, start, count, flags, has_sum, total, n_counts, n_bounds, n_exemplars, regular)


@step
def put_buckets(rows: Any, state: Any, head: Any, read: Any, counts: Any, bounds: Any) -> Any:
    """Cumulative buckets; where a point has bounds and no counts (it is stale) they hold nothing but the marker."""
    marker = bits_as_f64(np.uint64(STALE_NAN_BITS))
    below = np.uint64(0)
    for ordinal in range(read.bounds + 1):
        bound = np.inf
        if ordinal < read.bounds:
            bound = bounds[ordinal] + 0.0  # −0 and 0 are one bound
            if read.counts > 0:
                below += counts[ordinal]
        else:
            below = read.count
        value = marker if head.stale else np.float64(below)
        put_part(rows, state, head, ROLE_BUCKET, f64_as_bits(bound), value, HISTOGRAM_BUCKET, ordinal)


@step
def histogram_point(
    buf: Any, at: Any, end: Any, k: Any, high: Any, low: Any, flags: Any, metric: Any, point: Any, limits: Any,
    stamps: Any, stack: Any, counts: Any, bounds: Any, rows: Any, exemplars: Any, state: Any, rejected: Any,
) -> Any:  # fmt: skip
    """Read one HistogramDataPoint into rows; returns `end` or a fault. counts, bounds: scratch of MOST_BOUNDS + 1."""
    after, h, g, reason = point_attributes(
        buf, at, end, np.int64(HISTOGRAM_ATTRIBUTES), k, limits, stamps, stack, state
    )
    if after < 0:
        return after
    read = read_explicit(buf, at, end, counts, bounds)
    if read.end < 0:
        return read.end
    time_ms, start_ms = milliseconds(read.time), milliseconds(read.start)
    stale = is_no_value(read.flags)
    if reason == ACCEPTED:
        reason = time_reason(time_ms, limits)
    if reason == ACCEPTED:
        fits = read.counts == read.bounds + 1 or (read.counts == 0 and (read.bounds == 0 or stale))
        if not read.regular or not fits:
            reason = np.int64(BUCKETS)
    if reason != ACCEPTED:
        rejected[reason] += 1
        return end
    first = state[S_ROWS]
    number = begin_point(time_ms, start_ms, state)
    head = PointHead(high + h, low + g, k, time_ms, start_ms, stale, flags, point, metric, number)
    put_count_and_sum(rows, state, head, read.count, read.has_sum, read.total)
    put_buckets(rows, state, head, read, counts, bounds)
    if read.exemplars > 0:
        return read_exemplars(buf, at, end, np.int64(HISTOGRAM_EXEMPLARS), first, exemplars, state)
    return end
