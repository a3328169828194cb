"""A Histogram message of remote write (both versions) read into scratch arrays; nothing is judged yet.

Source: prometheus/prompb/types.proto and io/prometheus/write/v2/types.proto (Histogram, BucketSpan).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from kernels.jit import hot_step, maker, step
from kernels.protobuf_fields import read_length, read_tag, skip_value
from kernels.remote_write_wire import read_double
from kernels.varint import read_varint, zigzag
from kernels.wire import bits_as_f64, f64_as_bits
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
    SPAN_LENGTH,
    SPAN_OFFSET,
)

# Where numbers stand in `head`.
H_SCHEMA: Final = 0
H_TIME: Final = 1
H_START: Final = 2
H_HINT: Final = 3
H_POSITIVE: Final = 4  # how many there are, also of those that did not fit
H_NEGATIVE: Final = 5
H_BOUNDS: Final = 6
H_POSITIVE_SPANS: Final = 7
H_NEGATIVE_SPANS: Final = 8
H_POSITIVE_SUM: Final = 9  # of the deltas so far
H_NEGATIVE_SUM: Final = 10
HEAD: Final = 12

# Where the bits of doubles stand in `bits`.
B_COUNT: Final = 0
B_SUM: Final = 1
B_THRESHOLD: Final = 2
B_ZERO: Final = 3
BITS: Final = 4


class Scratch(NamedTuple):
    """One histogram as it was read. What does not fit is counted in `head` but not stored."""

    head: Any
    """int64[HEAD]: times in ms, the schema, how many there are of what."""
    bits: Any
    """uint64[BITS]: doubles whose bits matter."""
    spans: Any
    """int64[room, 2]: (offset, length) of the positive side, or of custom buckets."""
    minus: Any
    """int64[room, 2]: the same of the negative side."""
    counts: Any
    """float64[room]: of the buckets in the spans."""
    negatives: Any
    """float64[room]: the same of the negative side."""
    bounds: Any
    """float64[room]: of custom buckets."""


@maker
def new_scratch(room: Any) -> Any:
    """A Scratch for `room` (int64) spans and buckets a side. Only the head and the bits are cleared: what is counted in
    the head is written before it is read."""
    return Scratch(
        np.zeros(HEAD, np.int64), np.zeros(BITS, np.uint64), np.empty((room, 2), np.int64),
        np.empty((room, 2), np.int64), np.empty(room), np.empty(room), np.empty(room),
    )  # fmt: skip


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


@hot_step
def _take_packed(body: Any, tag: Any, at: Any, end: Any, read: Any) -> Any:
    """A field with a length; returns its end or a fault."""
    if tag == HISTOGRAM_POSITIVE_DELTAS:
        return _take_deltas(body, at, end, read.counts, read.head, H_POSITIVE, H_POSITIVE_SUM)
    if tag == HISTOGRAM_NEGATIVE_DELTAS:
        return _take_deltas(body, at, end, read.negatives, read.head, H_NEGATIVE, H_NEGATIVE_SUM)
    if tag == HISTOGRAM_POSITIVE_COUNTS:
        return _take_doubles(body, at, end, read.counts, read.head, H_POSITIVE)
    if tag == HISTOGRAM_NEGATIVE_COUNTS:
        return _take_doubles(body, at, end, read.negatives, read.head, H_NEGATIVE)
    if tag == HISTOGRAM_CUSTOM_VALUES:
        return _take_doubles(body, at, end, read.bounds, read.head, H_BOUNDS)
    if tag == HISTOGRAM_POSITIVE_SPANS:
        return _take_span(body, at, end, read.spans, read.head, H_POSITIVE_SPANS)
    if tag == HISTOGRAM_NEGATIVE_SPANS:
        return _take_span(body, at, end, read.minus, read.head, H_NEGATIVE_SPANS)
    return end


@hot_step
def _take_double(tag: Any, raw: Any, read: Any) -> None:
    """A field of eight bytes."""
    head, bits = read.head, read.bits
    if tag == HISTOGRAM_SUM:
        bits[B_SUM] = raw
    elif tag == HISTOGRAM_COUNT_FLOAT:
        bits[B_COUNT] = raw
    elif tag == HISTOGRAM_ZERO_THRESHOLD:
        bits[B_THRESHOLD] = raw
    elif tag == HISTOGRAM_ZERO_COUNT_FLOAT:
        bits[B_ZERO] = raw
    elif tag == HISTOGRAM_POSITIVE_COUNT:
        head[H_POSITIVE] = _take(read.counts, head[H_POSITIVE], bits_as_f64(raw))
    elif tag == HISTOGRAM_NEGATIVE_COUNT:
        head[H_NEGATIVE] = _take(read.negatives, head[H_NEGATIVE], bits_as_f64(raw))
    elif tag == HISTOGRAM_CUSTOM_VALUE:
        head[H_BOUNDS] = _take(read.bounds, head[H_BOUNDS], bits_as_f64(raw))


@hot_step
def _take_varint(tag: Any, raw: Any, read: Any) -> None:
    """A field that is a varint."""
    head, bits = read.head, read.bits
    if tag == HISTOGRAM_COUNT_INT:
        bits[B_COUNT] = f64_as_bits(np.float64(raw))
    elif tag == HISTOGRAM_ZERO_COUNT_INT:
        bits[B_ZERO] = f64_as_bits(np.float64(raw))
    elif tag == HISTOGRAM_SCHEMA:
        head[H_SCHEMA] = np.int64(np.int32(zigzag(raw & np.uint64(0xFFFFFFFF))))
    elif tag == HISTOGRAM_RESET_HINT:
        head[H_HINT] = np.int64(raw)
    elif tag == HISTOGRAM_TIMESTAMP:
        head[H_TIME] = np.int64(raw)
    elif tag == HISTOGRAM_START:
        head[H_START] = np.int64(raw)
    elif tag == HISTOGRAM_POSITIVE_DELTA:
        head[H_POSITIVE_SUM] += zigzag(raw)
        head[H_POSITIVE] = _take(read.counts, head[H_POSITIVE], np.float64(head[H_POSITIVE_SUM]))
    elif tag == HISTOGRAM_NEGATIVE_DELTA:
        head[H_NEGATIVE_SUM] += zigzag(raw)
        head[H_NEGATIVE] = _take(read.negatives, head[H_NEGATIVE], np.float64(head[H_NEGATIVE_SUM]))


@step
def parse_histogram(body: Any, at: Any, end: Any, read: Any) -> Any:
    """Reads the Histogram message at [at, end) into a Scratch; returns its end or a fault."""
    read.head[:] = 0
    read.bits[:] = 0
    while at < end:
        tag, after = read_tag(body, at, end)
        if after < 0:
            return after
        wire = tag & 7
        if wire == 2:
            begin, after = read_length(body, after, end)
            if begin < 0:
                return begin
            after = _take_packed(body, tag, begin, after, read)
        elif wire == 1:
            raw, after = read_double(body, after, end)
            if after >= 0:
                _take_double(tag, raw, read)
        elif wire == 0:
            raw, after = read_varint(body, after, end)
            if after >= 0:
                _take_varint(tag, raw, read)
        else:
            after = skip_value(body, after, end, tag)
        if after < 0:
            return after
        at = after
    return at
