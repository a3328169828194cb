"""Rows → a remote write 1.0 request: first the size, then the bytes.

A row is one sample and the place of its series' label blob in an arena. Rows of one series that stand next to each
other become one TimeSeries. The blob is already in wire form, so a TimeSeries is a header, a copy and samples of at
most 23 bytes. Source: prometheus/prompb/remote.proto and types.proto (WriteRequest, TimeSeries, Sample).

The arrays of places and lengths are private to the caller while both passes run: what `size_rows` has proved is what
`fill_rows` relies on.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from kernels.jit import BYTES, RF8, RI8, RU4, U1, i8, kernel, step
from kernels.prefetch import prefetch
from kernels.unaligned import copy_words, store_u8, store_u64
from kernels.wire import f64_as_bits
from proto.remote_write import SAMPLE_TIMESTAMP, SAMPLE_VALUE, V1_REQUEST_TIMESERIES, V1_SERIES_SAMPLES

FILL_SLACK: Final = 16
"""Bytes an output must have beyond the size that `size_rows` tells."""
BAD_PLACE: Final = -1
"""`size_rows`: a blob that does not lie within the arena. `fill_rows`: arguments that do not fit together."""

AHEAD: Final = 6
"""Rows ahead whose label blob is asked for: in a random order of series the copy would wait for memory."""
AHEAD_BYTES: Final = 1024
"""Of one blob, at most."""

_REQUEST_TAG: Final = np.uint64(V1_REQUEST_TIMESERIES)
_SAMPLES_TAG: Final = np.uint64(V1_SERIES_SAMPLES)
_VALUE_TAG: Final = np.uint64(SAMPLE_VALUE)
_TIME_TAG: Final = np.uint64(SAMPLE_TIMESTAMP)


@step
def varint_length(value: Any) -> Any:
    """Bytes of a uint64 as a varint; int64."""
    length = np.int64(1)
    while value >= np.uint64(0x80):
        value >>= np.uint64(7)
        length += 1
    return length


@step
def put_varint(out: Any, at: Any, value: Any) -> Any:
    """Write a uint64 as a varint; the position behind it. The caller has sized the output."""
    while value >= np.uint64(0x80):
        store_u8(out, at, value | np.uint64(0x80))
        value >>= np.uint64(7)
        at += 1
    store_u8(out, at, value)
    return at + 1


@step
def sample_body(time_ms: Any) -> Any:
    """Length of a Sample message: its value as fixed64, its time as a varint; int64."""
    return np.int64(10) + varint_length(np.uint64(time_ms))


@step
def group_end(starts: Any, first: Any, last: Any) -> Any:
    """Index behind the rows from `first` that share its series, not beyond `last`."""
    end = first + 1
    while end < last and starts[end] == starts[first]:
        end += 1
    return end


@step
def series_body(lengths: Any, times: Any, first: Any, end: Any) -> Any:
    """Length of the TimeSeries message of rows first … end - 1; int64. A sample is at most 20 bytes, header 2."""
    body = np.int64(lengths[first])
    for row in range(first, end):
        body += np.int64(2) + sample_body(times[row])
    return body


@kernel(RI8, RU4, RI8, i8, i8, i8, i8)
def size_rows(starts, lengths, times, first, max_rows, max_bytes, arena_size):  # type: ignore[no-untyped-def]
    """How many rows from `first` make one request, and of what size.

    starts: int64[n], where each row's blob begins in an arena of `arena_size` bytes; rows with equal starts are of one
    series. lengths: uint32[n]. times: int64[n], milliseconds. Stops before the series that would pass `max_bytes` (one
    series is always taken) and after `max_rows` rows.
    Returns (rows, bytes); bytes is BAD_PLACE and rows the offending index if a blob does not lie within the arena.
    """
    total = np.int64(0)
    row = first
    last = min(first + max_rows, np.int64(len(starts)), np.int64(len(lengths)), np.int64(len(times)))
    while row < last:
        if starts[row] < 0 or starts[row] > arena_size - np.int64(lengths[row]):
            return row, np.int64(BAD_PLACE)
        end = group_end(starts, row, last)
        body = series_body(lengths, times, row, end)
        size = np.int64(1) + varint_length(np.uint64(body)) + body
        if total > 0 and total + size > max_bytes:
            break
        total += size
        row = end
    return row - first, total


@kernel(BYTES, RI8, RU4, RI8, RF8, i8, i8, i8, U1)
def fill_rows(arena, starts, lengths, times, values, first, rows, size, out):  # type: ignore[no-untyped-def]
    """Write the request that `size_rows` measured to the beginning of `out`.

    arena: uint8[arena_size]. values: float64[n]. `rows` and `size` as `size_rows` returned them for the same arrays and
    `first`. out: uint8[at least size + FILL_SLACK]; bytes behind `size` may be changed.
    Returns the bytes written, or BAD_PLACE without a write if the arguments do not fit together.
    """
    last = first + rows
    if first < 0 or rows < 0 or size + FILL_SLACK > out.size:
        return np.int64(BAD_PLACE)
    if last > len(starts) or last > len(lengths) or last > len(times) or last > len(values):
        return np.int64(BAD_PLACE)
    at = np.int64(0)
    row = first
    while row < last:
        end = group_end(starts, row, last)
        if row + AHEAD < last:
            line = np.int64(0)
            while line < np.int64(lengths[row + AHEAD]) and line < AHEAD_BYTES:
                prefetch(arena, starts[row + AHEAD] + line)
                line += 64
        body = series_body(lengths, times, row, end)
        if at + body + 11 > size + FILL_SLACK or starts[row] < 0 or starts[row] > arena.size - np.int64(lengths[row]):
            return np.int64(BAD_PLACE)
        store_u8(out, at, _REQUEST_TAG)
        at = put_varint(out, at + 1, np.uint64(body))
        copy_words(arena, starts[row], np.int64(lengths[row]), out, at)
        at += np.int64(lengths[row])
        for sample in range(row, end):
            store_u8(out, at, _SAMPLES_TAG)
            store_u8(out, at + 1, np.uint64(sample_body(times[sample])))
            store_u8(out, at + 2, _VALUE_TAG)
            store_u64(out, at + 3, f64_as_bits(values[sample]))
            store_u8(out, at + 11, _TIME_TAG)
            at = put_varint(out, at + 12, np.uint64(times[sample]))
        row = end
    return at
