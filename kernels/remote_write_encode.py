"""Rows → a remote write 1.0 request: first the size, then the bytes.

Rows come ordered by series (`kernels/series_runs`): a *run* is a series and where its rows end, and becomes one
TimeSeries. Labels are kept in wire form, each once for all series that have it (`kernels/label_sets`), so a TimeSeries
is a header, a dozen copies and samples of at most 22 bytes.
Source: prometheus/prompb/remote.proto and types.proto (WriteRequest, TimeSeries, Sample).

The arrays are private to the caller while both passes run: what `size_runs` has proved is what `fill_runs` relies on.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from kernels.jit import BYTES, RF8, RI8, RU1, RU4, U1, i8, kernel, step
from kernels.label_sets import HEAD, LAST, UNIT, pair_at
from kernels.prefetch import prefetch
from kernels.unaligned import BLOCK, copy_block, store_u8, store_u64
from kernels.wire import f64_as_bits, load_u32, pointer
from proto.remote_write import SAMPLE_TIMESTAMP, SAMPLE_VALUE, V1_REQUEST_TIMESERIES, V1_SERIES_SAMPLES

HEADER: Final = 11
"""Bytes of a TimeSeries' tag and of the longest varint of its length."""
BEYOND: Final = 16
"""Bytes that a TimeSeries may end beyond the size: each is let through as if its header were the longest, which is up
to nine bytes more than it has."""
FILL_SLACK: Final = BEYOND + 2 * BLOCK
"""Bytes an output must have beyond the size that `size_runs` tells: labels are copied in blocks (`copy_labels`)."""
BAD_PLACE: Final = -1
"""`size_runs`: arrays that do not fit together. `fill_runs`: arguments that do not fit together, or labels that do not
lie within the arena."""

AHEAD: Final = 8
"""Runs ahead whose label set is asked for: in a random order of series the copy would wait for memory. The pairs that
it shares with many are in the cache, and its own mostly stand next to it."""

CLASS_BITS: Final = 0x0F
"""telemetry.kind.CLASS_MASK."""
TARGET_INFO_CLASS: Final = 7
"""telemetry.kind.TARGET_INFO."""

SIX_BYTES: Final = np.int64(1 << 35)
"""The least time, in milliseconds, whose varint has six bytes: February 1971."""
SEVEN_BYTES: Final = np.int64(1 << 42)
"""The least one with seven: May 2109."""

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
def time_length(time_ms: Any) -> Any:
    """Bytes of a time as a varint; int64. That of 1971 to 2109 is told at a glance."""
    if SIX_BYTES <= time_ms < SEVEN_BYTES:
        return np.int64(6)
    return varint_length(np.uint64(time_ms))


@step
def put_time(out: Any, at: Any, time_ms: Any) -> Any:
    """Write a time as a varint; the position behind it. Up to two bytes behind that may change."""
    if SIX_BYTES <= time_ms < SEVEN_BYTES:
        value = np.uint64(time_ms)
        spread = value & np.uint64(0x7F)
        spread |= (value << np.uint64(1)) & np.uint64(0x7F00)
        spread |= (value << np.uint64(2)) & np.uint64(0x7F0000)
        spread |= (value << np.uint64(3)) & np.uint64(0x7F000000)
        spread |= (value << np.uint64(4)) & np.uint64(0x7F00000000)
        spread |= (value << np.uint64(5)) & np.uint64(0x7F0000000000)
        store_u64(out, at, spread | np.uint64(0x8080808080))
        return at + 6
    return put_varint(out, at, np.uint64(time_ms))


@step
def run_body(length: Any, times: Any, first: Any, end: Any) -> Any:
    """Length of the TimeSeries message of rows first … end - 1 behind a blob of `length` bytes; int64."""
    body = np.int64(length)
    for row in range(first, end):
        body += np.int64(12) + time_length(times[row])
    return body


@step
def copy_carefully(arena: Any, size: Any, place: Any, length: Any, out: Any, at: Any) -> Any:
    """`copy_labels` where the arena may end."""
    end = at + length
    while at < end:
        text, count, _ = pair_at(arena, size, place, end - at)
        if count == 0:
            return False
        for i in range(count):
            out[at + i] = arena[text + i]
        at += count
        place += 4
    return True


@step
def copy_labels(arena: Any, size: Any, place: Any, length: Any, out: Any, at: Any) -> Any:
    """Whether the set at `place` makes a blob of `length` bytes, which are written to out[at:] then.

    arena: pointer to `size` bytes; out: pointer. The caller has proved that 2 * BLOCK bytes follow the blob there: most
    pairs are shorter than a block, and are copied as one without a look at their length.
    """
    end = at + length
    if place + 4 * length > size:
        return copy_carefully(arena, size, place, length, out, at)
    furthest = size - 2 * BLOCK
    while at < end:
        text = np.int64(load_u32(arena, place) & np.uint64(LAST - 1)) * UNIT + HEAD
        if text > furthest:
            return copy_carefully(arena, size, place, end - at, out, at)
        count = np.int64(load_u32(arena, text - 4))
        if np.uint64(count - 1) >= np.uint64(end - at):  # 0 as well
            return False
        copy_block(arena, text, out, at)
        if count > BLOCK:
            copy_block(arena, text + BLOCK, out, at + BLOCK)
            if count > 2 * BLOCK:
                if count > size - text:
                    return False
                done = np.int64(2 * BLOCK)
                while done + BLOCK <= count:
                    copy_block(arena, text + done, out, at + done)
                    done += BLOCK
                while done < count:
                    out[at + done] = arena[text + done]
                    done += 1
        at += count
        place += 4
    return True


@kernel(RU4, RI8, RI8, RU4, RU1, i8, i8, i8, i8)
def size_runs(  # type: ignore[no-untyped-def]
    series, ends, times, label_lengths, kinds, run, row, max_rows, max_bytes
):
    """How far one request goes that begins with `row`, which belongs to `run`, and of what size it is.

    series: uint32[r], the series of each run; ends: int64[r], the row behind it, rising. times: int64[n], milliseconds.
    label_lengths: uint32, kinds: uint8, by series: length of the label blob, and telemetry.kind. Stops before the run
    that would pass `max_bytes` (a first one is always taken) and after `max_rows` rows, within a run if need be.
    Returns (run, row) of the next request, the bytes, and how many of the rows are of target_info. Bytes are BAD_PLACE
    and `run` the offending one if a run lies outside its arrays.
    """
    total, apart = np.int64(0), np.int64(0)
    limit = min(len(label_lengths), len(kinds))
    last = min(row + max_rows, np.int64(len(times)))
    if run < 0 or row < 0:
        return run, row, np.int64(BAD_PLACE), apart
    while row < last and run < min(len(series), len(ends)):
        sid = np.int64(series[run])
        if sid >= limit or ends[run] <= row or ends[run] > len(times):
            return run, row, np.int64(BAD_PLACE), apart
        end = min(ends[run], last)
        body = run_body(label_lengths[sid], times, row, end)
        size = np.int64(1) + varint_length(np.uint64(body)) + body
        if total > 0 and total + size > max_bytes:
            break
        total += size
        if np.int64(kinds[sid]) & CLASS_BITS == TARGET_INFO_CLASS:
            apart += end - row
        row = end
        if row == ends[run]:
            run += 1
    return run, row, total, apart


@kernel(BYTES, RU4, RI8, RI8, RF8, RU4, RU4, i8, i8, i8, i8, U1)
def fill_runs(  # type: ignore[no-untyped-def]
    arena, series, ends, times, values, label_sets, label_lengths, run, row, last, size, out
):
    """Write the request of rows `row` … last - 1, which `size_runs` measured, to the beginning of `out`.

    arena, label_sets: see kernels.label_sets; label_sets and label_lengths: uint32, by series. values: float64[n].
    `last` and `size` as `size_runs` returned them for the same arrays, `run` and `row`. out: uint8[at least size +
    FILL_SLACK]; bytes behind `size` may be changed.
    Returns the bytes written, or BAD_PLACE without a write beyond the output if the arguments do not fit together or a
    label set does not make a blob of its length.
    """
    limit = min(len(label_sets), len(label_lengths))
    if run < 0 or row < 0 or size < 0 or size + FILL_SLACK > out.size or last > min(len(times), len(values)):
        return np.int64(BAD_PLACE)
    texts, body_out, arena_size = pointer(arena), pointer(out), np.int64(arena.size)
    runs = min(len(series), len(ends))
    at = np.int64(0)
    while row < last:
        if run >= runs:
            return np.int64(BAD_PLACE)
        sid = np.int64(series[run])
        if sid >= limit or ends[run] <= row:
            return np.int64(BAD_PLACE)
        end = min(ends[run], last)
        if run + AHEAD < runs and np.int64(series[run + AHEAD]) < limit:
            soon = np.int64(label_sets[np.int64(series[run + AHEAD])]) * UNIT
            prefetch(texts, soon)
            prefetch(texts, soon + 64)
        length = np.int64(label_lengths[sid])
        body = run_body(length, times, row, end)
        if at + body + HEADER > size + BEYOND:
            return np.int64(BAD_PLACE)
        store_u8(out, at, _REQUEST_TAG)
        at = put_varint(out, at + 1, np.uint64(body))
        if not copy_labels(texts, arena_size, np.int64(label_sets[sid]) * UNIT, length, body_out, at):
            return np.int64(BAD_PLACE)
        at += length
        for sample in range(row, end):
            store_u8(out, at, _SAMPLES_TAG)
            store_u8(out, at + 1, np.uint64(np.int64(10) + time_length(times[sample])))
            store_u8(out, at + 2, _VALUE_TAG)
            store_u64(out, at + 3, f64_as_bits(values[sample]))
            store_u8(out, at + 11, _TIME_TAG)
            at = put_time(out, at + 12, times[sample])
        row = end
        run += 1
    return at
