"""What points of several rows have in common: their attributes, fields, count and sum, and how their rows are written.

The rows of a point stand together, count first, then the sum (if the point has one that is a number), then buckets or
quantiles.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from kernels.jit import hot_step, step
from kernels.otlp_attributes import sum_attributes
from kernels.otlp_rows import (
    HISTOGRAM_COUNT,
    HISTOGRAM_SUM,
    ROLE_COUNT,
    ROLE_SUM,
    S_EPOCH,
    S_LATEST,
    S_NAN_SUMS,
    S_OVERWRITTEN,
    S_POINTS,
    S_STARTS,
    STALE_NAN_BITS,
    part_hash,
    put_row,
)
from kernels.protobuf_fields import read_length
from kernels.varint import TRUNCATED, fault
from kernels.wire import bits_as_f64
from proto.otlp import FLAG_NO_RECORDED_VALUE


class PointHead(NamedTuple):
    """What all rows of a point share."""

    high: Any
    """Sum that the hash of the point's series is of, and `low`."""
    low: Any
    k: Any
    """Pointer to the secrets of the hash."""
    time_ms: Any
    start_ms: Any
    stale: Any
    """The point says that its series has ended: its values are the stale marker."""
    flags: Any
    """Of the kinds of rows: DELTA, NON_MONOTONIC."""
    point: Any
    """Where the point begins in the request."""
    metric: Any
    number: Any
    """Of the point in the request."""


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


@hot_step
def field_extent(buf: Any, at: Any, end: Any, wire: Any) -> Any:
    """(first byte, first byte behind) of a value of eight bytes or with a length; both are the fault if it does not
    fit. Of other wire types both are `at`, which may be the fault of reading the tag."""
    if at >= 0:
        if wire == 1:
            if end - at < 8:
                wrong = fault(at, TRUNCATED)
                return wrong, wrong
            return at, at + 8
        if wire == 2:
            return read_length(buf, at, end)
    return at, at


@step
def is_no_value(flags: Any) -> Any:
    """Whether a point's flags say that its series has ended."""
    return flags & np.uint64(FLAG_NO_RECORDED_VALUE) != np.uint64(0)


@step
def begin_point(time_ms: Any, start_ms: Any, state: Any) -> Any:
    """Note an accepted point; returns its number."""
    number = state[S_POINTS]
    state[S_POINTS] = number + 1
    state[S_STARTS] |= start_ms
    if time_ms > state[S_LATEST]:
        state[S_LATEST] = time_ms
    return number


@hot_step
def put_part(rows: Any, state: Any, head: Any, role: Any, word: Any, value: Any, kind: Any, bucket: Any) -> Any:
    """Append a row of a point; role and word tell it from the others (`part_hash`)."""
    high, low = part_hash(head.high, head.low, role, word, head.k)
    put_row(
        rows, state, high, low, head.time_ms, head.start_ms, value, np.uint8(kind | head.flags), np.uint8(role),
        np.int32(bucket), np.uint32(head.point), np.uint32(head.metric), np.uint32(head.number),
    )  # fmt: skip


@step
def put_count_and_sum(rows: Any, state: Any, head: Any, count: Any, has_sum: Any, total: Any) -> Any:
    """The first rows of a point; a sum that is NaN makes none and is counted."""
    zero = np.uint64(0)
    marker = bits_as_f64(np.uint64(STALE_NAN_BITS))
    put_part(rows, state, head, ROLE_COUNT, zero, marker if head.stale else np.float64(count), HISTOGRAM_COUNT, 0)
    if has_sum and not head.stale and total != total:
        state[S_NAN_SUMS] += 1
    elif has_sum:
        put_part(rows, state, head, ROLE_SUM, zero, marker if head.stale else total, HISTOGRAM_SUM, 0)
