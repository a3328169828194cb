"""The arrays that an OTLP request is decoded into, and how a row, an exemplar and a refusal are written.

Arrays of one group have one length, and a writer checks it before it writes, so that a wrong count can lose a row but
never write outside. Positions are byte offsets within the request, which therefore is shorter than 4 GiB.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from kernels.jit import F8, I4, I8, U1, U4, U8, step
from kernels.label_hash import hash_word, mix
from kernels.otlp_reasons import ACCEPTED, TOO_NEW, TOO_OLD
from kernels.protobuf_fields import read_length, read_tag, skip_value
from kernels.varint import TRUNCATED, fault
from kernels.wire import bits_as_f64, load_u8, load_u64, pointer
from proto.otlp import EXEMPLAR_DOUBLE, EXEMPLAR_INT, EXEMPLAR_SPAN_ID, EXEMPLAR_TIME, EXEMPLAR_TRACE_ID

# Kinds of rows; the same numbers as gateway.telemetry.kind, which lies above this floor.
GAUGE: Final = 1
COUNTER: Final = 2
HISTOGRAM_COUNT: Final = 3
HISTOGRAM_SUM: Final = 4
HISTOGRAM_BUCKET: Final = 5
SUMMARY_QUANTILE: Final = 6
TARGET_INFO: Final = 7
DELTA: Final = 0x10
NON_MONOTONIC: Final = 0x20
VMRANGE: Final = 0x40
STALE_NAN_BITS: Final = 0x7FF0000000000002

# What a row is within its point.
ROLE_VALUE: Final = 0
ROLE_COUNT: Final = 1
ROLE_SUM: Final = 2
ROLE_BUCKET: Final = 3
"""Explicit bucket; the row's bucket is its ordinal, that of the last one stands for +Inf."""
ROLE_POSITIVE: Final = 4
"""Exponential bucket; the row's bucket is its index after downscaling."""
ROLE_NEGATIVE: Final = 5
ROLE_ZERO: Final = 6
ROLE_QUANTILE: Final = 7
"""The row's bucket is the ordinal of the quantile in its point."""
ROLE_TARGET_INFO: Final = 8
"""The row's metric is the number of its resource."""

# Places in the state array, int64.
S_ROWS: Final = 0
S_POINTS: Final = 1
S_EXEMPLARS: Final = 2
S_METRICS: Final = 3
S_SCOPES: Final = 4
S_RESOURCES: Final = 5
S_OVERWRITTEN: Final = 6
S_EPOCH: Final = 7
S_STARTS: Final = 8
S_EXEMPLARS_LOST: Final = 9
S_LATEST: Final = 10
S_ROW_ROOM: Final = 11
S_EXEMPLAR_ROOM: Final = 12
S_NAN_SUMS: Final = 13
"""Sums of histograms and summaries that were left out because they are NaN."""
S_RANGE: Final = 14
"""The next of the ranges of attributes that the counting pass noted."""
S_LENGTH: Final = 15

# Places in the limits array, int64.
L_EARLIEST_MS: Final = 0
L_LATEST_MS: Final = 1
L_ATTRIBUTES: Final = 2
L_BYTES: Final = 3
L_PROMETHEUS: Final = 4
L_LENGTH: Final = 5

NO_POINT: Final = 0xFFFFFFFF
"""Point number of rows that belong to no point (target_info); the decoder gives them numbers of their own."""


class Rows(NamedTuple):
    """One entry a log row; see gateway.telemetry.columns for the first six.

    roles uint8, buckets int32: what the row is within its point. points: uint32 position of the point's length.
    metrics: uint32 number of the metric. numbers: uint32 number of the accepted point.
    """

    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    times: NDArray[np.int64]
    starts: NDArray[np.int64]
    values: NDArray[np.float64]
    kinds: NDArray[np.uint8]
    roles: NDArray[np.uint8]
    buckets: NDArray[np.int32]
    points: NDArray[np.uint32]
    metrics: NDArray[np.uint32]
    numbers: NDArray[np.uint32]


class Exemplars(NamedTuple):
    """One entry an exemplar: row uint32, time in ms, value, trace id uint8[16 n], span id uint8[8 n]."""

    rows: NDArray[np.uint32]
    times: NDArray[np.int64]
    values: NDArray[np.float64]
    traces: NDArray[np.uint8]
    spans: NDArray[np.uint8]


class Origins(NamedTuple):
    """Byte ranges of metrics, scopes (ScopeMetrics) and resources (ResourceMetrics), and who belongs to whom; uint32
    each.
    """

    metric_begin: NDArray[np.uint32]
    metric_end: NDArray[np.uint32]
    metric_scope: NDArray[np.uint32]
    scope_begin: NDArray[np.uint32]
    scope_end: NDArray[np.uint32]
    scope_resource: NDArray[np.uint32]
    resource_begin: NDArray[np.uint32]
    resource_end: NDArray[np.uint32]


ROWS_TYPE = types.NamedTuple((U8, U8, I8, I8, F8, U1, U1, I4, U4, U4, U4), Rows)
EXEMPLARS_TYPE = types.NamedTuple((U4, I8, F8, U1, U1), Exemplars)
ORIGINS_TYPE = types.NamedUniTuple(U4, 8, Origins)


@step
def row_pointers(rows: Any) -> Any:
    """Rows of pointers instead of arrays."""
    return Rows(
        pointer(rows.high), pointer(rows.low), pointer(rows.times), pointer(rows.starts), pointer(rows.values),
        pointer(rows.kinds), pointer(rows.roles), pointer(rows.buckets), pointer(rows.points), pointer(rows.metrics),
        pointer(rows.numbers),
    )  # fmt: skip


@step
def exemplar_pointers(exemplars: Any) -> Any:
    """Exemplars of pointers instead of arrays."""
    return Exemplars(
        pointer(exemplars.rows),
        pointer(exemplars.times),
        pointer(exemplars.values),
        pointer(exemplars.traces),
        pointer(exemplars.spans),
    )


@step
def milliseconds(nanoseconds: Any) -> Any:
    """int64 milliseconds of a uint64 of nanoseconds."""
    return np.int64(nanoseconds // np.uint64(1_000_000))


@step
def time_reason(time_ms: Any, limits: Any) -> Any:
    """Whether a point's time is one to accept."""
    if time_ms < limits[L_EARLIEST_MS]:
        return np.int64(TOO_OLD)
    if time_ms > limits[L_LATEST_MS]:
        return np.int64(TOO_NEW)
    return np.int64(ACCEPTED)


@step
def put_row(
    rows: Any, state: Any, high: Any, low: Any, time: Any, start: Any, value: Any, kind: Any, role: Any, bucket: Any,
    point: Any, metric: Any, number: Any,
) -> Any:  # fmt: skip
    """Append a row."""
    row = state[S_ROWS]
    if row >= state[S_ROW_ROOM]:
        return
    rows.high[row] = high
    rows.low[row] = low
    rows.times[row] = time
    rows.starts[row] = start
    rows.values[row] = value
    rows.kinds[row] = kind
    rows.roles[row] = role
    rows.buckets[row] = bucket
    rows.points[row] = point
    rows.metrics[row] = metric
    rows.numbers[row] = number
    state[S_ROWS] = row + 1


@step
def part_hash(high: Any, low: Any, role: Any, word: Any, k: Any) -> Any:
    """Series hash of a part of a point (its count, a bucket): `high`, `low` is the sum that the point's hash is of."""
    h, g = hash_word(word, np.uint64(role), k)
    return mix(high + h, low + g, k)


@step
def read_exemplars(buf: Any, at: Any, end: Any, wanted: Any, row: Any, exemplars: Any, state: Any) -> Any:
    """Append the exemplars (fields with tag `wanted`) of a point to `row`; returns `end` or a fault."""
    while at < end:
        tag, at = read_tag(buf, at, end)
        if at < 0:
            return at
        if tag != wanted:
            at = skip_value(buf, at, end, tag)
            if at < 0:
                return at
            continue
        at, behind = read_length(buf, at, end)
        if at < 0:
            return at
        number = state[S_EXEMPLARS]
        keep = number < state[S_EXEMPLAR_ROOM]
        if keep:
            exemplars.rows[number] = row
            exemplars.times[number] = 0
            exemplars.values[number] = 0.0
            for index in range(16):
                exemplars.traces[number * 16 + index] = 0
            for index in range(8):
                exemplars.spans[number * 8 + index] = 0
            state[S_EXEMPLARS] = number + 1
        else:
            state[S_EXEMPLARS_LOST] += 1
        while at < behind:
            tag, at = read_tag(buf, at, behind)
            if at < 0:
                return at
            if tag == EXEMPLAR_TIME or tag == EXEMPLAR_DOUBLE or tag == EXEMPLAR_INT:
                if behind - at < 8:
                    return fault(at, TRUNCATED)
                word = load_u64(buf, at)
                at += 8
                if keep:
                    if tag == EXEMPLAR_TIME:
                        exemplars.times[number] = milliseconds(word)
                    elif tag == EXEMPLAR_DOUBLE:
                        exemplars.values[number] = bits_as_f64(word)
                    else:
                        exemplars.values[number] = np.float64(np.int64(word))
            elif tag == EXEMPLAR_TRACE_ID or tag == EXEMPLAR_SPAN_ID:
                begin, at = read_length(buf, at, behind)
                if at < 0:
                    return at
                if keep and tag == EXEMPLAR_TRACE_ID and at - begin == 16:
                    for index in range(16):
                        exemplars.traces[number * 16 + index] = np.uint8(load_u8(buf, begin + index))
                elif keep and tag == EXEMPLAR_SPAN_ID and at - begin == 8:
                    for index in range(8):
                        exemplars.spans[number * 8 + index] = np.uint8(load_u8(buf, begin + index))
            else:
                at = skip_value(buf, at, behind, tag)
                if at < 0:
                    return at
    return end
