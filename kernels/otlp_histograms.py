"""Points of several rows: explicit and exponential histograms, and summaries.

The rows of a point stand together, count first, then the sum (if the point has one that is a number), then buckets or
quantiles. Buckets of explicit histograms are cumulative over their bounds and end with +Inf, which is the count;
those of exponential ones hold one range each and only ranges that were hit. A quantile without a value (NaN) and a
minimum or maximum make no row. Source: opentelemetry/proto/metrics/v1/metrics.proto.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from kernels.exponential_histogram import COARSEST_SCALE, FINEST_SCALE, read_buckets
from kernels.jit import step
from kernels.otlp_attributes import sum_attributes
from kernels.otlp_reasons import ACCEPTED, BUCKETS, SCALE
from kernels.otlp_rows import (
    HISTOGRAM_BUCKET,
    HISTOGRAM_COUNT,
    HISTOGRAM_SUM,
    ROLE_BUCKET,
    ROLE_COUNT,
    ROLE_NEGATIVE,
    ROLE_POSITIVE,
    ROLE_QUANTILE,
    ROLE_SUM,
    ROLE_ZERO,
    S_EPOCH,
    S_LATEST,
    S_NAN_SUMS,
    S_OVERWRITTEN,
    S_POINTS,
    S_ROWS,
    S_STARTS,
    STALE_NAN_BITS,
    SUMMARY_QUANTILE,
    VMRANGE,
    milliseconds,
    part_hash,
    put_row,
    read_exemplars,
    time_reason,
)
from kernels.protobuf_fields import read_length, read_tag, skip_value
from kernels.varint import TRUNCATED, fault, read_varint, zigzag
from kernels.wire import bits_as_f64, f64_as_bits, load_u64
from proto.otlp import (
    EXPONENTIAL_ATTRIBUTES,
    EXPONENTIAL_EXEMPLARS,
    EXPONENTIAL_FLAGS,
    EXPONENTIAL_NEGATIVE,
    EXPONENTIAL_POSITIVE,
    EXPONENTIAL_SCALE,
    EXPONENTIAL_ZERO_COUNT,
    EXPONENTIAL_ZERO_THRESHOLD,
    FLAG_NO_RECORDED_VALUE,
    HISTOGRAM_ATTRIBUTES,
    HISTOGRAM_BOUNDS_ONE,
    HISTOGRAM_BOUNDS_PACKED,
    HISTOGRAM_BUCKETS_ONE,
    HISTOGRAM_BUCKETS_PACKED,
    HISTOGRAM_EXEMPLARS,
    HISTOGRAM_FLAGS,
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

MOST_BOUNDS: Final = 1024
"""Explicit bounds of one point; more are refused."""


@step
def point_attributes(
    buf: Any, at: Any, end: Any, wanted: Any, k: Any, limits: Any, stamps: Any, stack: Any, state: Any
) -> Any:
    """(end or fault, high, low, reason) of a point's attributes."""
    epoch = np.uint32(state[S_EPOCH])
    state[S_EPOCH] += 1
    at, high, low, _, overwritten, reason = sum_attributes(buf, at, end, wanted, k, limits, stamps, epoch, stack)
    state[S_OVERWRITTEN] += overwritten
    return at, high, low, reason


@step
def begin_point(time_ms: Any, start_ms: Any, state: Any) -> Any:
    """Note an accepted point; returns its number."""
    number = state[S_POINTS]
    state[S_POINTS] = number + 1
    state[S_STARTS] |= start_ms
    if time_ms > state[S_LATEST]:
        state[S_LATEST] = time_ms
    return number


@step
def count_and_sum(
    rows: Any, state: Any, high: Any, low: Any, k: Any, time: Any, start: Any, count: Any, has_sum: Any, total: Any,
    stale: Any, flags: Any, point: Any, metric: Any, number: Any,
) -> Any:  # fmt: skip
    """The first rows of a point; a sum that is NaN makes none and is counted."""
    zero = np.uint64(0)
    marker = bits_as_f64(np.uint64(STALE_NAN_BITS))
    h, g = part_hash(high, low, ROLE_COUNT, zero, k)
    put_row(
        rows, state, h, g, time, start, marker if stale else np.float64(count), np.uint8(HISTOGRAM_COUNT | flags),
        np.uint8(ROLE_COUNT), np.int32(0), np.uint32(point), np.uint32(metric), np.uint32(number),
    )  # fmt: skip
    if has_sum and not stale and total != total:
        state[S_NAN_SUMS] += 1
    elif has_sum:
        h, g = part_hash(high, low, ROLE_SUM, zero, k)
        put_row(
            rows, state, h, g, time, start, marker if stale else total, np.uint8(HISTOGRAM_SUM | flags),
            np.uint8(ROLE_SUM), np.int32(0), np.uint32(point), np.uint32(metric), np.uint32(number),
        )  # fmt: skip


@step
def histogram_point(
    buf: Any, at: Any, end: Any, k: Any, high: Any, low: Any, flags: Any, metric: Any, point: Any, limits: Any,
    stamps: Any, stack: Any, counts: Any, bounds: Any, rows: Any, exemplars: Any, state: Any, rejected: Any,
) -> Any:  # fmt: skip
    """Read one HistogramDataPoint into rows; returns `end` or a fault. counts, bounds: scratch of MOST_BOUNDS + 1."""
    began = at
    after, h, g, reason = point_attributes(
        buf, at, end, np.int64(HISTOGRAM_ATTRIBUTES), k, limits, stamps, stack, state
    )
    if after < 0:
        return after
    high += h
    low += g
    time, start, count, point_flags = np.uint64(0), np.uint64(0), np.uint64(0), np.uint64(0)
    has_sum, total = False, 0.0
    n_counts, n_bounds, n_exemplars = np.int64(0), np.int64(0), np.int64(0)
    regular = True
    while at < end:
        tag, at = read_tag(buf, at, end)
        wire = tag & 7
        behind = at
        if wire == 1:
            if end - at < 8:
                return fault(at, TRUNCATED)
            behind = at + 8
        elif wire == 2:
            at, behind = read_length(buf, at, end)
        if at < 0:
            return at
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
            while behind - at >= 8:
                if n_counts <= MOST_BOUNDS:
                    counts[n_counts] = load_u64(buf, at)
                    n_counts += 1
                else:
                    regular = False
                at += 8
            if at != behind:
                return fault(at, TRUNCATED)
        elif tag == HISTOGRAM_BOUNDS_PACKED or tag == HISTOGRAM_BOUNDS_ONE:
            while behind - at >= 8:
                bound = bits_as_f64(load_u64(buf, at))
                if n_bounds < MOST_BOUNDS:
                    # Written so that NaN fails; +Inf would repeat the last bucket.
                    if not bound < np.inf or (n_bounds > 0 and not bound > bounds[n_bounds - 1]):
                        regular = False
                    bounds[n_bounds] = bound
                    n_bounds += 1
                else:
                    regular = False
                at += 8
            if at != behind:
                return fault(at, TRUNCATED)
        elif tag == HISTOGRAM_FLAGS:
            point_flags, behind = read_varint(buf, at, end)
            if behind < 0:
                return behind
        else:
            if tag == HISTOGRAM_EXEMPLARS:
                n_exemplars += 1
            if wire != 1 and wire != 2:
                behind = skip_value(buf, at, end, tag)
                if behind < 0:
                    return behind
        at = behind
    time_ms, start_ms = milliseconds(time), milliseconds(start)
    if reason == ACCEPTED:
        reason = time_reason(time_ms, limits)
    stale = point_flags & np.uint64(FLAG_NO_RECORDED_VALUE) != np.uint64(0)
    if reason == ACCEPTED:
        fits = n_counts == n_bounds + 1 or (n_counts == 0 and (n_bounds == 0 or stale))
        if not regular or not fits:
            reason = np.int64(BUCKETS)
    if reason != ACCEPTED:
        rejected[reason] += 1
        return end
    first = state[S_ROWS]
    number = begin_point(time_ms, start_ms, state)
    count_and_sum(
        rows, state, high, low, k, time_ms, start_ms, count, has_sum, total, stale, flags, point, metric, number
    )
    below = np.uint64(0)
    for ordinal in range(n_bounds + 1):
        bound = np.inf
        if ordinal < n_bounds:
            bound = bounds[ordinal] + 0.0  # −0 and 0 are one bound
            if n_counts > 0:
                below += counts[ordinal]
        else:
            below = count
        h, g = part_hash(high, low, ROLE_BUCKET, f64_as_bits(bound), k)
        put_row(
            rows, state, h, g, time_ms, start_ms,
            bits_as_f64(np.uint64(STALE_NAN_BITS)) if stale else np.float64(below),
            np.uint8(HISTOGRAM_BUCKET | flags), np.uint8(ROLE_BUCKET), np.int32(ordinal), np.uint32(point),
            np.uint32(metric), np.uint32(number),
        )  # fmt: skip
    if n_exemplars > 0:
        return read_exemplars(buf, began, end, np.int64(HISTOGRAM_EXEMPLARS), first, exemplars, state)
    return end


@step
def put_side(
    rows: Any, state: Any, high: Any, low: Any, k: Any, time: Any, start: Any, lowest: Any, used: Any, counts: Any,
    role: Any, scale: Any, flags: Any, point: Any, metric: Any, number: Any,
) -> Any:  # fmt: skip
    """Rows of the buckets of one side that were hit."""
    for place in range(used):
        if counts[place] == np.uint64(0):
            continue
        index = lowest + place
        h, g = part_hash(high, low, role, np.uint64(index << 8) | np.uint64(scale & 0xFF), k)
        put_row(
            rows, state, h, g, time, start, np.float64(counts[place]), np.uint8(HISTOGRAM_BUCKET | VMRANGE | flags),
            np.uint8(role), np.int32(index), np.uint32(point), np.uint32(metric), np.uint32(number),
        )  # fmt: skip


@step
def exponential_point(
    buf: Any, at: Any, end: Any, k: Any, high: Any, low: Any, flags: Any, metric: Any, point: Any, limits: Any,
    stamps: Any, stack: Any, counts: Any, rows: Any, exemplars: Any, state: Any, rejected: Any,
) -> Any:  # fmt: skip
    """Read one ExponentialHistogramDataPoint into rows; returns `end` or a fault.

    A stale point has no buckets: which of them were hit before is not known here.
    """
    began = at
    after, h, g, reason = point_attributes(
        buf, at, end, np.int64(EXPONENTIAL_ATTRIBUTES), k, limits, stamps, stack, state
    )
    if after < 0:
        return after
    high += h
    low += g
    zero = np.uint64(0)
    time, start, count, zeros, threshold, point_flags = zero, zero, zero, zero, zero, zero
    has_sum, total = False, 0.0
    scale, n_exemplars = np.int64(0), np.int64(0)
    plus, plus_end, minus, minus_end = np.int64(0), np.int64(0), np.int64(0), np.int64(0)
    while at < end:
        tag, at = read_tag(buf, at, end)
        wire = tag & 7
        behind = at
        if wire == 1:
            if end - at < 8:
                return fault(at, TRUNCATED)
            behind = at + 8
        elif wire == 2:
            at, behind = read_length(buf, at, end)
        if at < 0:
            return at
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
            if behind < 0:
                return behind
            scale = zigzag(value & np.uint64(0xFFFFFFFF))
        elif tag == EXPONENTIAL_FLAGS:
            point_flags, behind = read_varint(buf, at, end)
            if behind < 0:
                return behind
        else:
            if tag == EXPONENTIAL_EXEMPLARS:
                n_exemplars += 1
            if wire != 1 and wire != 2:
                behind = skip_value(buf, at, end, tag)
                if behind < 0:
                    return behind
        at = behind
    time_ms, start_ms = milliseconds(time), milliseconds(start)
    if reason == ACCEPTED:
        reason = time_reason(time_ms, limits)
    if reason == ACCEPTED and scale < COARSEST_SCALE:
        reason = np.int64(SCALE)
    lowest, used = np.int64(0), np.int64(0)
    if reason == ACCEPTED:
        # Both sides are judged before the first row is written; the scratch then holds the positive one.
        after, lowest, used, reason = read_buckets(buf, minus, minus_end, scale, counts)
        if after < 0:
            return after
        if reason == ACCEPTED:
            after, lowest, used, reason = read_buckets(buf, plus, plus_end, scale, counts)
            if after < 0:
                return after
    if reason == ACCEPTED and bits_as_f64(threshold) != bits_as_f64(threshold):
        reason = np.int64(BUCKETS)
    if reason != ACCEPTED:
        rejected[reason] += 1
        return end
    stale = point_flags & np.uint64(FLAG_NO_RECORDED_VALUE) != zero
    first = state[S_ROWS]
    number = begin_point(time_ms, start_ms, state)
    count_and_sum(
        rows, state, high, low, k, time_ms, start_ms, count, has_sum, total, stale, flags, point, metric, number
    )
    if not stale:
        kept = min(scale, np.int64(FINEST_SCALE))
        if zeros != zero:
            h, g = part_hash(high, low, ROLE_ZERO, threshold, k)
            put_row(
                rows, state, h, g, time_ms, start_ms, np.float64(zeros), np.uint8(HISTOGRAM_BUCKET | VMRANGE | flags),
                np.uint8(ROLE_ZERO), np.int32(0), np.uint32(point), np.uint32(metric), np.uint32(number),
            )  # fmt: skip
        put_side(
            rows, state, high, low, k, time_ms, start_ms, lowest, used, counts, ROLE_POSITIVE, kept, flags, point,
            metric, number,
        )  # fmt: skip
        _, lowest, used, _ = read_buckets(buf, minus, minus_end, scale, counts)
        put_side(
            rows, state, high, low, k, time_ms, start_ms, lowest, used, counts, ROLE_NEGATIVE, kept, flags, point,
            metric, number,
        )  # fmt: skip
    if n_exemplars > 0:
        return read_exemplars(buf, began, end, np.int64(EXPONENTIAL_EXEMPLARS), first, exemplars, state)
    return end


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
def summary_point(
    buf: Any, at: Any, end: Any, k: Any, high: Any, low: Any, metric: Any, point: Any, limits: Any, stamps: Any,
    stack: Any, rows: Any, state: Any, rejected: Any,
) -> Any:  # fmt: skip
    """Read one SummaryDataPoint into rows; returns `end` or a fault."""
    began = at
    after, h, g, reason = point_attributes(buf, at, end, np.int64(SUMMARY_ATTRIBUTES), k, limits, stamps, stack, state)
    if after < 0:
        return after
    high += h
    low += g
    zero = np.uint64(0)
    time, start, count, point_flags, total = zero, zero, zero, zero, 0.0
    while at < end:
        tag, at = read_tag(buf, at, end)
        begin = at
        at = skip_value(buf, at, end, tag)
        if at < 0:
            return at
        if tag == TIME:
            time = load_u64(buf, begin)
        elif tag == START_TIME:
            start = load_u64(buf, begin)
        elif tag == POINT_COUNT:
            count = load_u64(buf, begin)
        elif tag == POINT_SUM:
            total = bits_as_f64(load_u64(buf, begin))
        elif tag == SUMMARY_FLAGS:
            point_flags, _ = read_varint(buf, begin, end)
        elif tag == SUMMARY_QUANTILES:
            begin, behind = read_length(buf, begin, end)
            after, quantile, _ = read_quantile(buf, begin, behind)
            if after < 0:
                return after
            if quantile != quantile and reason == ACCEPTED:
                reason = np.int64(BUCKETS)
    time_ms, start_ms = milliseconds(time), milliseconds(start)
    why = time_reason(time_ms, limits)
    if why != ACCEPTED and (reason == ACCEPTED or reason == BUCKETS):
        reason = why
    if reason != ACCEPTED:
        rejected[reason] += 1
        return end
    stale = point_flags & np.uint64(FLAG_NO_RECORDED_VALUE) != zero
    number = begin_point(time_ms, start_ms, state)
    count_and_sum(
        rows, state, high, low, k, time_ms, start_ms, count, True, total, stale, np.int64(0), point, metric, number
    )
    ordinal = np.int64(0)
    at = began
    while at < end:
        tag, at = read_tag(buf, at, end)
        if tag != SUMMARY_QUANTILES:
            at = skip_value(buf, at, end, tag)
            continue
        begin, at = read_length(buf, at, end)
        _, quantile, value = read_quantile(buf, begin, at)
        if stale:
            value = bits_as_f64(np.uint64(STALE_NAN_BITS))
        if stale or value == value or f64_as_bits(value) == np.uint64(STALE_NAN_BITS):
            h, g = part_hash(high, low, ROLE_QUANTILE, f64_as_bits(quantile + 0.0), k)
            put_row(
                rows, state, h, g, time_ms, start_ms, value, np.uint8(SUMMARY_QUANTILE), np.uint8(ROLE_QUANTILE),
                np.int32(ordinal), np.uint32(point), np.uint32(metric), np.uint32(number),
            )  # fmt: skip
        ordinal += 1
    return end
