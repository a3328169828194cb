"""Native histograms of remote write (both versions) → rows: count, sum, then one row a bucket.

A bucket of an exponential schema becomes one row with the count of that bucket alone (`vmrange`), left out when it is
zero; custom buckets (schema −53) become cumulative `le` rows, one a bound and one for +Inf. A stale histogram, whose
sum is the stale marker, becomes a stale count and a stale sum. Two passes: count, fill; memory is bounded by the
limits, whatever the spans claim. Reading is in kernels.native_histogram_wire, judging in
kernels.native_histogram_checks.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numba import types

from kernels.jit import BYTES, F8, I8, RI8, RU8, U1, U4, U8, hot_step, kernel, step
from kernels.native_histogram_checks import count_rows, has_sum, is_stale
from kernels.native_histogram_wire import (
    B_COUNT,
    B_SUM,
    B_THRESHOLD,
    B_ZERO,
    H_BOUNDS,
    H_HINT,
    H_NEGATIVE_SPANS,
    H_POSITIVE_SPANS,
    H_SCHEMA,
    H_START,
    H_TIME,
    new_scratch,
    parse_histogram,
)
from kernels.remote_write_wire import (
    ACCEPTED,
    KIND_BUCKET,
    KIND_COUNT,
    KIND_GAUGE,
    KIND_SUM,
    KIND_VMRANGE,
    TOO_MANY_BUCKETS,
    TOO_NEW,
    TOO_OLD,
    note_rejection,
    part_hash,
)
from kernels.wire import bits_as_f64, f64_as_bits, pointer
from proto.remote_write import RESET_HINT_GAUGE, SCHEMA_CUSTOM

RI8x2 = types.Array(types.int64, 2, "C", readonly=True)

# Parts of a histogram; `details` says which bucket.
PART_COUNT: Final = 1
PART_SUM: Final = 2
PART_ZERO: Final = 3
"""detail: bits of the zero threshold."""
PART_POSITIVE: Final = 4
"""detail: (schema + 64) << 40 | (index + 2**32)."""
PART_NEGATIVE: Final = 5
"""detail: as PART_POSITIVE."""
PART_BOUND: Final = 6
"""detail: bits of the upper bound."""


class Rows(NamedTuple):
    """The hash of one series, and pointers to the columns of its rows: as many as `count_histograms` counted."""

    hi: Any
    lo: Any
    secrets: Any
    row_hi: Any
    row_lo: Any
    values: Any
    kinds: Any
    parts: Any
    details: Any


@kernel(BYTES, RI8x2, RI8, I8, I8, I8, I8)
def count_histograms(
    body: Any, histograms: Any, limits: Any, rows_of: Any, rejections: Any, noted: Any, out: Any
) -> Any:
    """Rows of each histogram into rows_of, int64[h], 0 for a rejected one; returns 0 or a fault.

    histograms: int64[h, 4] of (series, begin, end, start ms where the series says it). limits: int64[4] (oldest ms,
    newest ms, buckets a side, rows of all together). out: int64[2] of (rows so far, noted so far), both updated.
    """
    buf = pointer(body)
    read = new_scratch(limits[2])
    total, noted_count = out[0], out[1]
    for h in range(histograms.shape[0]):
        after = parse_histogram(buf, histograms[h, 1], histograms[h, 2], read)
        if after < 0:
            return after
        time_ms = read.head[H_TIME]
        reason = np.int64(ACCEPTED)
        if time_ms < limits[0]:
            reason = np.int64(TOO_OLD)
        elif time_ms > limits[1]:
            reason = np.int64(TOO_NEW)
        rows = count_rows(read)
        if reason == ACCEPTED and rows < 0:
            reason = -rows
        if reason == ACCEPTED and total + rows > limits[3]:
            reason = np.int64(TOO_MANY_BUCKETS)
        if reason != ACCEPTED:
            rows_of[h] = 0
            noted_count = note_rejection(rejections, noted, noted_count, reason, 1, histograms[h, 0], time_ms)
            continue
        rows_of[h] = rows
        total += rows
    out[0], out[1] = total, noted_count
    return np.int64(0)


@hot_step
def _put(rows: Any, row: Any, part: Any, detail: Any, value: Any, kind: Any) -> Any:
    """Write one row; returns the next."""
    rows.row_hi[row], rows.row_lo[row] = part_hash(rows.hi, rows.lo, np.uint64(part), detail, rows.secrets)
    rows.values[row] = value
    rows.kinds[row] = np.uint8(kind)
    rows.parts[row] = np.uint8(part)
    rows.details[row] = detail
    return row + 1


@step
def _put_count_and_sum(rows: Any, row: Any, read: Any) -> Any:
    gauge = read.head[H_HINT] == RESET_HINT_GAUGE
    count_kind, sum_kind = (KIND_GAUGE, KIND_GAUGE) if gauge else (KIND_COUNT, KIND_SUM)
    total = bits_as_f64(read.bits[B_SUM])
    count = total if is_stale(read.bits) else bits_as_f64(read.bits[B_COUNT])
    row = _put(rows, row, PART_COUNT, np.uint64(0), count, count_kind)
    if has_sum(read.bits):
        row = _put(rows, row, PART_SUM, np.uint64(0), total, sum_kind)
    return row


@step
def _put_custom(rows: Any, row: Any, read: Any) -> Any:
    """Custom buckets, cumulative: one row a bound and one for +Inf."""
    spans, span_count, bound_count = read.spans, read.head[H_POSITIVE_SPANS], read.head[H_BOUNDS]
    index, used, so_far = np.int64(0), np.int64(0), 0.0
    for i in range(span_count + 1):
        # Bounds before this span have counted nothing new; behind the last span they run to +Inf.
        last = i == span_count
        gap_end = bound_count + 1 if last else index + spans[i, 0]
        span_end = gap_end if last else gap_end + spans[i, 1]
        while index < span_end:
            if index >= gap_end:
                so_far += read.counts[used]
                used += 1
            bound = read.bounds[index] if index < bound_count else np.inf
            row = _put(rows, row, PART_BOUND, f64_as_bits(bound), so_far, KIND_BUCKET)
            index += 1
    return row


@step
def _put_side(rows: Any, row: Any, spans: Any, span_count: Any, counts: Any, part: Any, schema: Any) -> Any:
    """Buckets of one side of an exponential histogram that are not zero."""
    first = np.uint64(schema + 64) << np.uint64(40)
    index, used = np.int64(0), np.int64(0)
    for i in range(span_count):
        index += spans[i, 0]
        for _ in range(spans[i, 1]):
            if counts[used] > 0.0:
                detail = first | np.uint64(index + (np.int64(1) << 32))
                row = _put(rows, row, part, detail, counts[used], KIND_BUCKET | KIND_VMRANGE)
            index += 1
            used += 1
    return row


@step
def _put_exponential(rows: Any, row: Any, read: Any) -> Any:
    """The zero bucket and both sides."""
    head, bits = read.head, read.bits
    zeros = bits_as_f64(bits[B_ZERO])
    if zeros > 0.0:
        row = _put(rows, row, PART_ZERO, bits[B_THRESHOLD], zeros, KIND_BUCKET | KIND_VMRANGE)
    schema = head[H_SCHEMA]
    row = _put_side(rows, row, read.spans, head[H_POSITIVE_SPANS], read.counts, PART_POSITIVE, schema)
    return _put_side(rows, row, read.minus, head[H_NEGATIVE_SPANS], read.negatives, PART_NEGATIVE, schema)


@kernel(BYTES, RU8, RI8x2, RI8, RI8, RU8, RU8, U8, U8, I8, F8, I8, U1, U4, U4, U1, U8)
def fill_histograms(
    body: Any,
    secrets: Any,
    histograms: Any,
    limits: Any,
    rows_of: Any,
    series_hi: Any,
    series_lo: Any,
    row_hi: Any,
    row_lo: Any,
    times: Any,
    values: Any,
    starts: Any,
    kinds: Any,
    row_series: Any,
    row_histogram: Any,
    parts: Any,
    details: Any,
) -> Any:
    """Writes the rows that `count_histograms` counted; arguments as there and, one entry a row, columns.

    row_histogram: which accepted histogram, from 0. parts, details: see PART_COUNT and after. Returns the number of
    accepted histograms.
    """
    buf = pointer(body)
    k = pointer(secrets)
    read = new_scratch(limits[2])
    row, accepted = np.int64(0), np.int64(0)
    for h in range(histograms.shape[0]):
        if rows_of[h] == 0:
            continue
        parse_histogram(buf, histograms[h, 1], histograms[h, 2], read)
        series = histograms[h, 0]
        rows = Rows(
            series_hi[series], series_lo[series], k, pointer(row_hi), pointer(row_lo), pointer(values), pointer(kinds),
            pointer(parts), pointer(details),
        )  # fmt: skip
        first = row
        row = _put_count_and_sum(rows, row, read)
        if not is_stale(read.bits):
            if read.head[H_SCHEMA] == SCHEMA_CUSTOM:
                row = _put_custom(rows, row, read)
            else:
                row = _put_exponential(rows, row, read)
        start = read.head[H_START] if read.head[H_START] != 0 else histograms[h, 3]
        for r in range(first, row):
            times[r], starts[r] = read.head[H_TIME], start
            row_series[r], row_histogram[r] = np.uint32(series), np.uint32(accepted)
        accepted += 1
    return accepted
