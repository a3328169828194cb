"""Native histograms of remote write (both versions) → rows: count, sum, then one row a bucket.

A bucket of an exponential schema becomes one row with the count of that bucket alone (`vmrange`), left out when it is
zero; custom buckets (schema −53) become cumulative `le` rows, one a bound and one for +Inf. A stale histogram, whose
sum is the stale marker, becomes a stale count and a stale sum. Two passes: count, fill; memory is bounded by the
limits, whatever the spans claim. Source: Prometheus, "Native Histograms" specification, sections "Data model" and
"Schema".
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import types

from kernels.jit import BYTES, F8, I8, RI8, RU8, U1, U4, U8, kernel, step
from kernels.protobuf_fields import read_length, read_tag, skip_value
from kernels.remote_write_wire import (
    ACCEPTED,
    BAD_HISTOGRAM,
    KIND_BUCKET,
    KIND_COUNT,
    KIND_GAUGE,
    KIND_SUM,
    KIND_VMRANGE,
    STALE_BITS,
    TOO_MANY_BUCKETS,
    TOO_NEW,
    TOO_OLD,
    note_rejection,
    part_hash,
    read_double,
)
from kernels.varint import read_varint, zigzag
from kernels.wire import bits_as_f64, f64_as_bits, pointer
from proto.remote_write import (
    HISTOGRAM_COUNT_FLOAT,
    HISTOGRAM_COUNT_INT,
    HISTOGRAM_CUSTOM_VALUE,
    HISTOGRAM_CUSTOM_VALUES,
    HISTOGRAM_NEGATIVE_COUNT,
    HISTOGRAM_NEGATIVE_COUNTS,
    HISTOGRAM_NEGATIVE_DELTA,
    HISTOGRAM_NEGATIVE_DELTAS,
    HISTOGRAM_NEGATIVE_SPANS,
    HISTOGRAM_POSITIVE_COUNT,
    HISTOGRAM_POSITIVE_COUNTS,
    HISTOGRAM_POSITIVE_DELTA,
    HISTOGRAM_POSITIVE_DELTAS,
    HISTOGRAM_POSITIVE_SPANS,
    HISTOGRAM_RESET_HINT,
    HISTOGRAM_SCHEMA,
    HISTOGRAM_START,
    HISTOGRAM_SUM,
    HISTOGRAM_TIMESTAMP,
    HISTOGRAM_ZERO_COUNT_FLOAT,
    HISTOGRAM_ZERO_COUNT_INT,
    HISTOGRAM_ZERO_THRESHOLD,
    RESET_HINT_GAUGE,
    SCHEMA_CUSTOM,
    SCHEMA_LEAST,
    SCHEMA_MOST,
    SPAN_LENGTH,
    SPAN_OFFSET,
)

I8x2 = types.Array(types.int64, 2, "C")
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

# Where a parsed histogram's numbers stand in `head`, int64[12], and `bits`, uint64[4].
_SCHEMA, _TIME, _START, _HINT = 0, 1, 2, 3
_POSITIVE, _NEGATIVE, _BOUNDS, _POSITIVE_SPANS, _NEGATIVE_SPANS, _POSITIVE_SUM, _NEGATIVE_SUM = 4, 5, 6, 7, 8, 9, 10
_COUNT, _SUM, _THRESHOLD, _ZERO = 0, 1, 2, 3


@step
def _take(values: Any, count: Any, value: Any) -> Any:
    """Stores a value if there is room; returns how many there are, room or not."""
    if count < values.size:
        values[count] = value
    return count + 1


@step
def _take_deltas(body: Any, at: Any, end: Any, values: Any, head: Any, which: Any, running: Any) -> Any:
    """Adds up zigzag deltas; negative counts stay negative for the check that follows."""
    while at < end:
        raw, at = read_varint(body, at, end)
        if at < 0:
            return at
        head[running] += zigzag(raw)
        head[which] = _take(values, head[which], np.float64(head[running]))
    return at


@step
def _take_doubles(body: Any, at: Any, end: Any, values: Any, head: Any, which: Any) -> Any:
    while at < end:
        bits, at = read_double(body, at, end)
        if at < 0:
            return at
        head[which] = _take(values, head[which], bits_as_f64(bits))
    return at


@step
def _take_span(body: Any, at: Any, end: Any, spans: Any, head: Any, which: Any) -> Any:
    offset, length = np.int64(0), np.int64(0)
    while at < end:
        tag, after = read_tag(body, at, end)
        if after < 0:
            return after
        if tag == SPAN_OFFSET:
            raw, at = read_varint(body, after, end)
            offset = np.int64(np.int32(zigzag(raw & np.uint64(0xFFFFFFFF))))
        elif tag == SPAN_LENGTH:
            raw, at = read_varint(body, after, end)
            length = np.int64(raw & np.uint64(0xFFFFFFFF))
        else:
            at = skip_value(body, after, end, tag)
        if at < 0:
            return at
    count = head[which]
    if count < spans.shape[0]:
        spans[count, 0], spans[count, 1] = offset, length
    head[which] = count + 1
    return at


@step
def parse_histogram(
    body: Any, at: Any, end: Any, head: Any, bits: Any, spans: Any, minus: Any, counts: Any, negatives: Any, bounds: Any
) -> Any:
    """Reads the Histogram message at [at, end) into the scratch arrays; returns its end or a fault.

    spans, minus: int64[room, 2] of (offset, length); counts, negatives, bounds: float64[room]. What does not fit is
    counted in `head` but not stored.
    """
    head[:] = 0
    bits[:] = 0
    while at < end:
        tag, q = read_tag(body, at, end)
        if q < 0:
            return q
        e = np.int64(0)
        if tag & 7 == 2:
            q, e = read_length(body, q, end)
            if q < 0:
                return q
            after = e
            if tag == HISTOGRAM_POSITIVE_DELTAS:
                after = _take_deltas(body, q, e, counts, head, _POSITIVE, _POSITIVE_SUM)
            elif tag == HISTOGRAM_NEGATIVE_DELTAS:
                after = _take_deltas(body, q, e, negatives, head, _NEGATIVE, _NEGATIVE_SUM)
            elif tag == HISTOGRAM_POSITIVE_COUNTS:
                after = _take_doubles(body, q, e, counts, head, _POSITIVE)
            elif tag == HISTOGRAM_NEGATIVE_COUNTS:
                after = _take_doubles(body, q, e, negatives, head, _NEGATIVE)
            elif tag == HISTOGRAM_CUSTOM_VALUES:
                after = _take_doubles(body, q, e, bounds, head, _BOUNDS)
            elif tag == HISTOGRAM_POSITIVE_SPANS:
                after = _take_span(body, q, e, spans, head, _POSITIVE_SPANS)
            elif tag == HISTOGRAM_NEGATIVE_SPANS:
                after = _take_span(body, q, e, minus, head, _NEGATIVE_SPANS)
        elif tag & 7 == 1:
            raw, after = read_double(body, q, end)
            if after < 0:
                return after
            if tag == HISTOGRAM_SUM:
                bits[_SUM] = raw
            elif tag == HISTOGRAM_COUNT_FLOAT:
                bits[_COUNT] = raw
            elif tag == HISTOGRAM_ZERO_THRESHOLD:
                bits[_THRESHOLD] = raw
            elif tag == HISTOGRAM_ZERO_COUNT_FLOAT:
                bits[_ZERO] = raw
            elif tag == HISTOGRAM_POSITIVE_COUNT:
                head[_POSITIVE] = _take(counts, head[_POSITIVE], bits_as_f64(raw))
            elif tag == HISTOGRAM_NEGATIVE_COUNT:
                head[_NEGATIVE] = _take(negatives, head[_NEGATIVE], bits_as_f64(raw))
            elif tag == HISTOGRAM_CUSTOM_VALUE:
                head[_BOUNDS] = _take(bounds, head[_BOUNDS], bits_as_f64(raw))
        elif tag & 7 == 0:
            raw, after = read_varint(body, q, end)
            if after < 0:
                return after
            if tag == HISTOGRAM_COUNT_INT:
                bits[_COUNT] = f64_as_bits(np.float64(raw))
            elif tag == HISTOGRAM_ZERO_COUNT_INT:
                bits[_ZERO] = f64_as_bits(np.float64(raw))
            elif tag == HISTOGRAM_SCHEMA:
                head[_SCHEMA] = np.int64(np.int32(zigzag(raw & np.uint64(0xFFFFFFFF))))
            elif tag == HISTOGRAM_RESET_HINT:
                head[_HINT] = np.int64(raw)
            elif tag == HISTOGRAM_TIMESTAMP:
                head[_TIME] = np.int64(raw)
            elif tag == HISTOGRAM_START:
                head[_START] = np.int64(raw)
            elif tag == HISTOGRAM_POSITIVE_DELTA:
                head[_POSITIVE_SUM] += zigzag(raw)
                head[_POSITIVE] = _take(counts, head[_POSITIVE], np.float64(head[_POSITIVE_SUM]))
            elif tag == HISTOGRAM_NEGATIVE_DELTA:
                head[_NEGATIVE_SUM] += zigzag(raw)
                head[_NEGATIVE] = _take(negatives, head[_NEGATIVE], np.float64(head[_NEGATIVE_SUM]))
        else:
            after = skip_value(body, q, end, tag)
        if after < 0:
            return after
        at = after
    return at


@step
def _check_side(spans: Any, span_count: Any, values: Any, count: Any, schema: Any) -> Any:
    """Non-zero buckets of one side of an exponential histogram, or -reason.

    The spans must cover exactly the counts given, and every index must lie where a float64 has a bound: base**index
    is 2**(index * 2**-schema).
    """
    if span_count > spans.shape[0] or count > values.size:
        return np.int64(-TOO_MANY_BUCKETS)
    most = np.int64(1100) << schema if schema >= 0 else (np.int64(1100) >> -schema) + 1
    used, filled, index = np.int64(0), np.int64(0), np.int64(0)
    for i in range(span_count):
        index += spans[i, 0]
        length = spans[i, 1]
        if (i > 0 and spans[i, 0] < 0) or length > count - used:
            return np.int64(-BAD_HISTOGRAM)
        if length > 0 and (index < -most or index + length > most):
            return np.int64(-BAD_HISTOGRAM)
        for j in range(used, used + length):
            if not 0.0 <= values[j] < np.inf:
                return np.int64(-BAD_HISTOGRAM)
            if values[j] > 0.0:
                filled += 1
        index += length
        used += length
    return filled if used == count else np.int64(-BAD_HISTOGRAM)


@step
def _check_custom(spans: Any, values: Any, bounds: Any, head: Any) -> Any:
    """Rows of custom buckets, or -reason; leaves `values` as it is."""
    count, span_count, bound_count = head[_POSITIVE], head[_POSITIVE_SPANS], head[_BOUNDS]
    if span_count > spans.shape[0] or count > values.size or bound_count >= bounds.size:
        return np.int64(-TOO_MANY_BUCKETS)
    for i in range(bound_count):
        if not -np.inf < bounds[i] < np.inf or (i > 0 and not bounds[i - 1] < bounds[i]):
            return np.int64(-BAD_HISTOGRAM)
    used, index = np.int64(0), np.int64(0)
    for i in range(span_count):
        index += spans[i, 0]
        length = spans[i, 1]
        if spans[i, 0] < 0 or length > count - used or index + length > bound_count + 1:
            return np.int64(-BAD_HISTOGRAM)
        for j in range(used, used + length):
            if not 0.0 <= values[j] < np.inf:
                return np.int64(-BAD_HISTOGRAM)
        index += length
        used += length
    return bound_count + 1 if used == count and head[_NEGATIVE] == 0 else np.int64(-BAD_HISTOGRAM)


@step
def _is_stale(bits: Any) -> Any:
    return bits[_SUM] == np.uint64(STALE_BITS)


@step
def _has_sum(bits: Any) -> Any:
    """An ordinary NaN as sum (a NaN was observed) says nothing; the row is left out."""
    total = bits_as_f64(bits[_SUM])
    return total == total or _is_stale(bits)


@step
def _rows_of(head: Any, bits: Any, spans: Any, minus: Any, counts: Any, negatives: Any, bounds: Any) -> Any:
    """How many rows the parsed histogram makes, or -reason."""
    if _is_stale(bits):
        return np.int64(2)
    observed, zeros = bits_as_f64(bits[_COUNT]), bits_as_f64(bits[_ZERO])
    if not 0.0 <= observed < np.inf or not 0.0 <= zeros < np.inf:
        return np.int64(-BAD_HISTOGRAM)
    rows = np.int64(2 if _has_sum(bits) else 1)
    schema = head[_SCHEMA]
    if schema == SCHEMA_CUSTOM:
        buckets = _check_custom(spans, counts, bounds, head)
        return buckets if buckets < 0 else rows + buckets
    if schema < SCHEMA_LEAST or schema > SCHEMA_MOST:
        return np.int64(-BAD_HISTOGRAM)
    if not 0.0 <= bits_as_f64(bits[_THRESHOLD]) < np.inf:
        return np.int64(-BAD_HISTOGRAM)
    positive = _check_side(spans, head[_POSITIVE_SPANS], counts, head[_POSITIVE], schema)
    if positive < 0:
        return positive
    negative = _check_side(minus, head[_NEGATIVE_SPANS], negatives, head[_NEGATIVE], schema)
    if negative < 0:
        return negative
    return rows + positive + negative + (1 if zeros > 0.0 else 0)


@kernel(BYTES, RI8x2, RI8, I8, I8, I8, I8)
def count_histograms(
    body: Any, histograms: Any, limits: Any, rows_of: Any, rejections: Any, noted: Any, out: Any
) -> Any:
    """Rows of each histogram into rows_of, int64[h], 0 for a rejected one; returns 0 or a fault.

    histograms: int64[h, 4] of (series, begin, end, start ms where the series says it). limits: int64[4] (oldest ms,
    newest ms, buckets a side, rows of all together). out: int64[2] of (rows so far, noted so far), both updated.
    """
    buf = pointer(body)
    room = limits[2]
    head, bits = np.zeros(12, np.int64), np.zeros(4, np.uint64)
    spans, minus = np.empty((room, 2), np.int64), np.empty((room, 2), np.int64)
    counts, negatives, bounds = np.empty(room, np.float64), np.empty(room, np.float64), np.empty(room, np.float64)
    total, noted_count = out[0], out[1]
    for h in range(histograms.shape[0]):
        after = parse_histogram(
            buf, histograms[h, 1], histograms[h, 2], head, bits, spans, minus, counts, negatives, bounds
        )
        if after < 0:
            return after
        reason = np.int64(ACCEPTED)
        if head[_TIME] < limits[0]:
            reason = np.int64(TOO_OLD)
        elif head[_TIME] > limits[1]:
            reason = np.int64(TOO_NEW)
        rows = _rows_of(head, bits, spans, minus, counts, negatives, bounds)
        if reason == ACCEPTED and rows < 0:
            reason = -rows
        if reason == ACCEPTED and total + rows > limits[3]:
            reason = np.int64(TOO_MANY_BUCKETS)
        if reason != ACCEPTED:
            rows_of[h] = 0
            noted_count = note_rejection(rejections, noted, noted_count, reason, 1, histograms[h, 0], head[_TIME])
            continue
        rows_of[h] = rows
        total += rows
    out[0], out[1] = total, noted_count
    return np.int64(0)


@step
def _put(
    row: Any, part: Any, detail: Any, value: Any, kind: Any, hi: Any, lo: Any, k: Any,
    row_hi: Any, row_lo: Any, values: Any, kinds: Any, parts: Any, details: Any,
) -> Any:  # fmt: skip
    row_hi[row], row_lo[row] = part_hash(hi, lo, np.uint64(part), detail, k)
    values[row] = value
    kinds[row] = np.uint8(kind)
    parts[row] = np.uint8(part)
    details[row] = detail
    return row + 1


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
    room = limits[2]
    head, bits = np.zeros(12, np.int64), np.zeros(4, np.uint64)
    spans, minus = np.empty((room, 2), np.int64), np.empty((room, 2), np.int64)
    counts, negatives, bounds = np.empty(room, np.float64), np.empty(room, np.float64), np.empty(room, np.float64)
    row, accepted = np.int64(0), np.int64(0)
    none = np.uint64(0)
    for h in range(histograms.shape[0]):
        if rows_of[h] == 0:
            continue
        parse_histogram(buf, histograms[h, 1], histograms[h, 2], head, bits, spans, minus, counts, negatives, bounds)
        s = histograms[h, 0]
        hi, lo = series_hi[s], series_lo[s]
        first = row
        gauge = head[_HINT] == RESET_HINT_GAUGE
        count_kind, sum_kind = (KIND_GAUGE, KIND_GAUGE) if gauge else (KIND_COUNT, KIND_SUM)
        stale = _is_stale(bits)
        total = bits_as_f64(bits[_SUM])
        row = _put(
            row, PART_COUNT, none, total if stale else bits_as_f64(bits[_COUNT]), count_kind, hi, lo, k,
            row_hi, row_lo, values, kinds, parts, details,
        )  # fmt: skip
        if _has_sum(bits):
            row = _put(
                row, PART_SUM, none, total, sum_kind, hi, lo, k, row_hi, row_lo, values, kinds, parts, details
            )  # fmt: skip
        if not stale and head[_SCHEMA] == SCHEMA_CUSTOM:
            index, used, so_far = np.int64(0), np.int64(0), 0.0
            for i in range(head[_POSITIVE_SPANS] + 1):
                # Bounds before this span have counted nothing new; behind the last span they run to +Inf.
                last = i == head[_POSITIVE_SPANS]
                gap_end = head[_BOUNDS] + 1 if last else index + spans[i, 0]
                span_end = gap_end if last else gap_end + spans[i, 1]
                while index < span_end:
                    if index >= gap_end:
                        so_far += counts[used]
                        used += 1
                    bound = bounds[index] if index < head[_BOUNDS] else np.inf
                    row = _put(
                        row, PART_BOUND, f64_as_bits(bound), so_far, KIND_BUCKET, hi, lo, k,
                        row_hi, row_lo, values, kinds, parts, details,
                    )  # fmt: skip
                    index += 1
        elif not stale:
            kind = KIND_BUCKET | KIND_VMRANGE
            if bits_as_f64(bits[_ZERO]) > 0.0:
                row = _put(
                    row, PART_ZERO, bits[_THRESHOLD], bits_as_f64(bits[_ZERO]), kind, hi, lo, k,
                    row_hi, row_lo, values, kinds, parts, details,
                )  # fmt: skip
            schema = np.uint64(head[_SCHEMA] + 64) << np.uint64(40)
            for side in range(2):
                index, used = np.int64(0), np.int64(0)
                for i in range(head[_NEGATIVE_SPANS] if side else head[_POSITIVE_SPANS]):
                    index += minus[i, 0] if side else spans[i, 0]
                    for _ in range(minus[i, 1] if side else spans[i, 1]):
                        value = negatives[used] if side else counts[used]
                        if value > 0.0:
                            detail = schema | np.uint64(index + (np.int64(1) << 32))
                            row = _put(
                                row, PART_NEGATIVE if side else PART_POSITIVE, detail, value, kind, hi, lo, k,
                                row_hi, row_lo, values, kinds, parts, details,
                            )  # fmt: skip
                        index += 1
                        used += 1
        start = head[_START] if head[_START] != 0 else histograms[h, 3]
        for r in range(first, row):
            times[r], starts[r] = head[_TIME], start
            row_series[r], row_histogram[r] = np.uint32(s), np.uint32(accepted)
        accepted += 1
    return accepted
