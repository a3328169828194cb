"""Whether a native histogram that was read is sound, and how many rows it makes.

Source: Prometheus, "Native Histograms" specification, sections "Data model" and "Schema".
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.jit import step
from kernels.native_histogram_wire import (
    B_COUNT,
    B_SUM,
    B_THRESHOLD,
    B_ZERO,
    H_BOUNDS,
    H_NEGATIVE,
    H_NEGATIVE_SPANS,
    H_POSITIVE,
    H_POSITIVE_SPANS,
    H_SCHEMA,
)
from kernels.remote_write_wire import BAD_HISTOGRAM, STALE_BITS, TOO_MANY_BUCKETS
from kernels.wire import bits_as_f64
from proto.remote_write import SCHEMA_CUSTOM, SCHEMA_LEAST, SCHEMA_MOST


@step
def check_side(spans: Any, span_count: Any, values: Any, count: Any, schema: Any) -> Any:
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
def check_custom(read: Any) -> Any:
    """Rows of custom buckets, or -reason."""
    head, spans, values, bounds = read.head, read.spans, read.counts, read.bounds
    count, span_count, bound_count = head[H_POSITIVE], head[H_POSITIVE_SPANS], head[H_BOUNDS]
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
    return bound_count + 1 if used == count and head[H_NEGATIVE] == 0 else np.int64(-BAD_HISTOGRAM)


@step
def is_stale(bits: Any) -> Any:
    """Whether the sum is the stale marker."""
    return bits[B_SUM] == np.uint64(STALE_BITS)


@step
def has_sum(bits: Any) -> Any:
    """An ordinary NaN as sum (a NaN was observed) says nothing; the row is left out."""
    total = bits_as_f64(bits[B_SUM])
    return total == total or is_stale(bits)


@step
def count_rows(read: Any) -> Any:
    """How many rows the parsed histogram makes, or -reason."""
    head, bits = read.head, read.bits
    if is_stale(bits):
        return np.int64(2)
    observed, zeros = bits_as_f64(bits[B_COUNT]), bits_as_f64(bits[B_ZERO])
    if not 0.0 <= observed < np.inf or not 0.0 <= zeros < np.inf:
        return np.int64(-BAD_HISTOGRAM)
    rows = np.int64(2 if has_sum(bits) else 1)
    schema = head[H_SCHEMA]
    if schema == SCHEMA_CUSTOM:
        buckets = check_custom(read)
        return buckets if buckets < 0 else rows + buckets
    if schema < SCHEMA_LEAST or schema > SCHEMA_MOST:
        return np.int64(-BAD_HISTOGRAM)
    if not 0.0 <= bits_as_f64(bits[B_THRESHOLD]) < np.inf:
        return np.int64(-BAD_HISTOGRAM)
    positive = check_side(read.spans, head[H_POSITIVE_SPANS], read.counts, head[H_POSITIVE], schema)
    if positive < 0:
        return positive
    negative = check_side(read.minus, head[H_NEGATIVE_SPANS], read.negatives, head[H_NEGATIVE], schema)
    if negative < 0:
        return negative
    return rows + positive + negative + (1 if zeros > 0.0 else 0)
