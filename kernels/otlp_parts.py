"""Where an OTLP request keeps what names its series: texts of metrics, fields of scopes, and what tells the rows of a
point from each other.

Asked for when series are defined. The request has been walked by `otlp_points.fill_rows`; positions are checked all the
same.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import types

from kernels.jit import BYTES, I4, RU1, RU4, U8, i8, kernel, step
from kernels.otlp_count import is_metric_data
from kernels.otlp_rows import (
    ROLE_BUCKET,
    ROLE_NEGATIVE,
    ROLE_POSITIVE,
    ROLE_QUANTILE,
    ROLE_ZERO,
)
from kernels.protobuf_fields import read_length, read_tag, skip_value
from kernels.varint import read_varint, zigzag
from kernels.wire import bits_as_f64, f64_as_bits, load_u64, pointer
from proto.otlp import (
    EXPONENTIAL_SCALE,
    EXPONENTIAL_ZERO_THRESHOLD,
    HISTOGRAM_BOUNDS_ONE,
    HISTOGRAM_BOUNDS_PACKED,
    METRIC_NAME,
    METRIC_UNIT,
    QUANTILE,
    SUMMARY_QUANTILES,
)

I8x2 = types.Array(types.int64, 2, "C")
RI8x2 = types.Array(types.int64, 2, "C", readonly=True)
I8x3 = types.Array(types.int64, 3, "C")

# Columns of what `describe_metrics` finds, int64[m, D_COLUMNS].
D_NAME: Final = 0
D_UNIT: Final = 2
D_DATA: Final = 4
D_COLUMNS: Final = 5


@kernel(BYTES, RU4, RU4, I8x2)
def describe_metrics(body: Any, begins: Any, ends: Any, out: Any) -> Any:
    """(name position, length, unit position, length, tag of the data) of the Metric messages at [begin, end)."""
    buf = pointer(body)
    for i in range(min(begins.size, min(ends.size, out.shape[0]))):
        at, end = np.int64(begins[i]), min(np.int64(ends[i]), np.int64(body.size))
        out[i, :] = 0
        while at < end:
            tag, at = read_tag(buf, at, end)
            if at < 0:
                break
            begin = at
            if tag == METRIC_NAME or tag == METRIC_UNIT:
                begin, behind = read_length(buf, at, end)
                if begin < 0:
                    break
                place = D_NAME if tag == METRIC_NAME else D_UNIT
                out[i, place], out[i, place + 1] = begin, behind - begin
            elif is_metric_data(tag):
                out[i, D_DATA] = tag
            at = skip_value(buf, at, end, tag)
            if at < 0:
                break
    return np.int64(0)


@kernel(BYTES, i8, i8, i8, i8, I8x2)
def locate_fields(body: Any, begin: Any, end: Any, first: Any, second: Any, out: Any) -> Any:
    """Where the fields with the tags `first` and `second` stand in the message at [begin, end).

    out: int64[2, 3] of (position, end, how many there are), the last one's place.
    """
    buf = pointer(body)
    out[:, :] = 0
    at, stop = begin, min(end, np.int64(body.size))
    while at < stop:
        tag, at = read_tag(buf, at, stop)
        if at < 0:
            break
        if tag == first or tag == second:
            which = 0 if tag == first else 1
            at, behind = read_length(buf, at, stop)
            if at < 0:
                break
            out[which, 0], out[which, 1] = at, behind
            out[which, 2] += 1
            at = behind
        else:
            at = skip_value(buf, at, stop, tag)
            if at < 0:
                break
    return np.int64(0)


@step
def message_at(buf: Any, at: Any, size: Any) -> Any:
    """(first byte, first byte behind) of the message whose length stands at `at`; empty if it does not fit."""
    begin, behind = read_length(buf, at, size)
    if begin < 0:
        return at, at
    return begin, behind


@step
def _bound_bits(buf: Any, at: Any, end: Any, ordinal: Any) -> Any:
    """Bits of the explicit bound with this number, of +Inf behind the last."""
    met = np.int64(0)
    while at < end:
        tag, at = read_tag(buf, at, end)
        if at < 0:
            break
        if tag == HISTOGRAM_BOUNDS_PACKED:
            at, behind = read_length(buf, at, end)
            if at < 0:
                break
            here = (behind - at) // 8
            if ordinal < met + here:
                return f64_as_bits(bits_as_f64(load_u64(buf, at + 8 * (ordinal - met))) + 0.0)
            met += here
            at = behind
        elif tag == HISTOGRAM_BOUNDS_ONE and end - at >= 8:
            if ordinal == met:
                return f64_as_bits(bits_as_f64(load_u64(buf, at)) + 0.0)
            met += 1
            at += 8
        else:
            at = skip_value(buf, at, end, tag)
            if at < 0:
                break
    return f64_as_bits(np.inf)


@step
def _quantile_bits(buf: Any, at: Any, end: Any, ordinal: Any) -> Any:
    """Bits of the quantile with this number, of 0 where there is none."""
    met = np.int64(0)
    while at < end:
        tag, at = read_tag(buf, at, end)
        if at < 0:
            break
        if tag != SUMMARY_QUANTILES or met != ordinal:
            met += np.int64(tag == SUMMARY_QUANTILES)
            at = skip_value(buf, at, end, tag)
            if at < 0:
                break
            continue
        at, behind = read_length(buf, at, end)
        bits = np.uint64(0)
        while 0 <= at < behind:
            tag, at = read_tag(buf, at, behind)
            if at < 0:
                break
            if tag == QUANTILE and behind - at >= 8:
                bits = load_u64(buf, at)
            at = skip_value(buf, at, behind, tag)
        return f64_as_bits(bits_as_f64(bits) + 0.0)
    return np.uint64(0)


@step
def _exponential_detail(buf: Any, at: Any, end: Any, role: Any, index: Any) -> Any:
    """Of a range: scale + 128 above the index, as 32 bits each; of the zero bucket: bits of its threshold."""
    scale, threshold = np.int64(0), np.uint64(0)
    while at < end:
        tag, at = read_tag(buf, at, end)
        if at < 0:
            break
        if tag == EXPONENTIAL_SCALE:
            raw, at = read_varint(buf, at, end)
            scale = zigzag(raw & np.uint64(0xFFFFFFFF))
        else:
            if tag == EXPONENTIAL_ZERO_THRESHOLD and end - at >= 8:
                threshold = load_u64(buf, at)
            at = skip_value(buf, at, end, tag)
        if at < 0:
            break
    if role == ROLE_ZERO:
        return threshold
    return np.uint64(min(scale, np.int64(127)) + 128) << np.uint64(32) | np.uint64(np.int64(index) & 0xFFFFFFFF)


@kernel(BYTES, RU4, RU1, I4, U8)
def part_details(body: Any, points: Any, roles: Any, buckets: Any, details: Any) -> Any:
    """What tells a row from the others of its point, into details (uint64[n]); all arrays have n entries.

    ROLE_BUCKET: bits of the upper bound; ROLE_QUANTILE: bits of the quantile; ROLE_POSITIVE and ROLE_NEGATIVE: scale
    + 128, then 32 bits of the index; ROLE_ZERO: bits of the threshold; any other role: 0. Returns the most bytes a
    point has.
    """
    buf = pointer(body)
    size, most = np.int64(body.size), np.int64(0)
    for row in range(points.size):
        details[row] = 0
        begin, end = message_at(buf, np.int64(points[row]), size)
        most = max(most, end - begin)
        role = roles[row]
        if role == ROLE_BUCKET:
            details[row] = _bound_bits(buf, begin, end, np.int64(buckets[row]))
        elif role == ROLE_QUANTILE:
            details[row] = _quantile_bits(buf, begin, end, np.int64(buckets[row]))
        elif role == ROLE_POSITIVE or role == ROLE_NEGATIVE or role == ROLE_ZERO:
            details[row] = _exponential_detail(buf, begin, end, role, buckets[row])
    return most
