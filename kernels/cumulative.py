"""Rows of a frame → rows for the target: what the target would ignore is sorted out, deltas become running totals.

The rules of folding. A series of kind DELTA has a running total and the end of the last interval that was added.
- The first interval sets both. A later interval is added if it ends after the last one and, where its start is known
  (0 < start <= time), starts no earlier than the last one ended. Anything else overlaps or repeats: it is counted and
  not added.
- A gap between intervals changes nothing: the total goes on.
- A stale marker passes through and is not added.
- A negative increment of a monotonic sum is counted and not added, for the total would fall as if the sender had begun
  anew. The sum of a histogram may go down.
- A sid that was given to another series (its generation changed) starts anew.
- A histogram is one point: its count decides for all its rows whether the interval is added. Where a bucket was not
  part of the last interval that was added, the bounds have changed; then count, sum and buckets all start anew, so that
  buckets are cumulative over their bounds at any time. Bounds that only fall away leave the rest true.
  Exponential ranges hold one range each and need no such start.
Sources: OpenTelemetry metrics data model, "Sums: Delta-to-Cumulative"; for changed bounds the Collector's
deltatocumulative processor, which restarts such a point too.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from kernels.jit import BYTES, F8, I8, RF8, RI8, RU1, RU4, RU8, U4, U8, i8, kernel, step, u1
from kernels.wire import f64_as_bits, fold_multiply, load_u64

DELTA_BIT: Final = 0x10
"""telemetry.kind.DELTA."""
CLASS_BITS: Final = 0x0F
"""telemetry.kind.CLASS_MASK."""
TARGET_INFO_CLASS: Final = 7
"""telemetry.kind.TARGET_INFO."""
COUNT_CLASS: Final = 3
"""telemetry.kind.HISTOGRAM_COUNT."""
SUM_CLASS: Final = 4
"""telemetry.kind.HISTOGRAM_SUM."""
BUCKET_CLASS: Final = 5
"""telemetry.kind.HISTOGRAM_BUCKET."""
VMRANGE_BIT: Final = 0x40
"""telemetry.kind.VMRANGE."""
MONOTONIC_DELTA: Final = 0x12
"""telemetry.kind.COUNTER | telemetry.kind.DELTA, without NON_MONOTONIC."""
STALE_NAN: Final = np.uint64(0x7FF0000000000002)
"""telemetry.kind.STALE_NAN_BITS."""

KEPT: Final = 0
NOT_A_NUMBER: Final = 1
TOO_FAR_AHEAD: Final = 2
OUT_OF_RETENTION: Final = 3
DELTA_OVERLAP: Final = 4
DELTA_NOT_FINITE: Final = 5
SERIES_GONE: Final = 6
DELTA_NEGATIVE: Final = 7
VERDICTS: Final = 8
"""Length of one row of the counts; the verdicts above index it."""
RESTARTS: Final = 2 * VERDICTS
"""Place of the number of delta histograms that started anew because their bounds changed."""
COUNTS: Final = RESTARTS + 1
"""Length of the counts."""

NEVER: Final = np.int64(-(2**63))
"""End of the last interval of a series that has none."""


@kernel(RU4, RU1, RU4, U4, F8, I8, U4)
def claim_deltas(sids, kinds, generations, claimed, totals, ends, fresh):  # type: ignore[no-untyped-def]
    """Make room for the delta series of a frame that have not been seen, or whose sid has changed hands.

    sids: uint32[n]. kinds: uint8[capacity], generations: uint32[capacity], of the series index.
    claimed: uint32[states], generation + 1 of the series whose total stands there, 0 for none. totals: float64[states],
    ends: int64[states]. fresh: uint32[n], receives the sids that were claimed, each once.
    Returns how many were. Sids at or beyond the shortest array are passed over.
    """
    limit = min(min(len(kinds), len(generations)), min(len(claimed), min(len(totals), len(ends))))
    found = 0
    for row in range(min(len(sids), len(fresh))):
        sid = np.int64(sids[row])
        if sid < limit and kinds[sid] & u1(DELTA_BIT):
            mark = np.uint32(generations[sid] + np.uint32(1))
            if claimed[sid] != mark:
                claimed[sid] = mark
                totals[sid] = 0.0
                ends[sid] = NEVER
                fresh[found] = np.uint32(sid)
                found += 1
    return found


@step
def blob_digest(arena: Any, start: Any, length: Any, key: Any) -> Any:
    """(high, low): keyed 128-bit digest of arena[start:start + length], which lies within the arena.

    Words of eight bytes, the last one filled with zeros, go through two lanes of folded 64 × 64 → 128 bit products, as
    in wyhash. It stands in files, so it never changes within a format version. Not for passwords: the key only keeps
    senders from aiming at a collision. key: uint64[4].
    """
    high = key[0] ^ np.uint64(length)
    low = key[1] + np.uint64(length)
    done = np.int64(0)
    while done < length:
        if start + done + 8 <= arena.size:
            word = load_u64(arena, start + done)
        else:
            word = np.uint64(0)
            for index in range(arena.size - start - done):
                word |= np.uint64(arena[start + done + index]) << np.uint64(8 * index)
        left = length - done
        if left < 8:
            word &= (np.uint64(1) << np.uint64(8 * left)) - np.uint64(1)
        high = fold_multiply(high ^ word, key[2] ^ low)
        low = fold_multiply(low ^ word ^ key[3], key[2] + high)
        done += 8
    return fold_multiply(high ^ key[1], low ^ key[3]), fold_multiply(low ^ key[0], high ^ key[2])


@kernel(BYTES, RU8, RU4, RU4, i8, RU8, U8, U8)
def label_digests(arena, label_offsets, label_lengths, sids, count, key, high, low):  # type: ignore[no-untyped-def]
    """128-bit keyed digests of the label blobs of sids[:count], written to high[sid] and low[sid].

    arena: uint8[total]; label_offsets: uint64[capacity]; label_lengths: uint32[capacity]; key: uint64[4];
    high, low: uint64[states]. A blob outside the arena has the digest of an empty one.
    """
    limit = min(min(len(label_offsets), len(label_lengths)), min(len(high), len(low)))
    for index in range(min(count, len(sids))):
        sid = np.int64(sids[index])
        if sid >= limit:
            continue
        start = np.int64(label_offsets[sid])
        length = np.int64(label_lengths[sid])
        if start < 0 or start > arena.size - length:
            start = np.int64(0)
            length = np.int64(0)
        high[sid], low[sid] = blob_digest(arena, start, length, key)


@step
def overlaps(start: Any, time: Any, last: Any) -> Any:
    """Whether an interval that begins at `start` (0: unknown) and ends at `time` reaches back behind `last`."""
    return time <= last or (0 < start <= time and start < last)


@step
def begin_histogram(
    row: Any, n: Any, start: Any, time: Any, sids: Any, starts_ms: Any, times_ms: Any, kinds: Any, states: Any,
    totals: Any, ends: Any,
) -> Any:  # fmt: skip
    """(row behind the point, whether its interval overlaps, whether it starts anew) of the delta histogram whose count
    stands in `row`. The totals of a point that starts anew are zero when this returns. Every sid of the rows up to the
    one returned is under `states`, and `kinds` is at least as long.
    """
    last = ends[sids[row]]
    overlapping = overlaps(start, time, last)
    restarts = False
    behind = row + 1
    while behind < n:
        sid = np.int64(sids[behind])
        if sid >= states or times_ms[behind] != time or (len(starts_ms) > 0 and starts_ms[behind] != start):
            break
        kind = np.int64(kinds[sid])
        part = kind & CLASS_BITS
        if not kind & DELTA_BIT or (part != BUCKET_CLASS and part != SUM_CLASS):
            break
        if part == BUCKET_CLASS and not kind & VMRANGE_BIT and ends[sid] != last:
            restarts = True
        behind += 1
    if overlapping:
        restarts = False
    if restarts:
        for other in range(row, behind):
            totals[sids[other]] = 0.0
    return behind, overlapping, restarts


@kernel(RU4, RI8, RI8, RF8, RU1, RU4, i8, i8, F8, I8, U4, I8, F8, I8)
def fold_rows(  # type: ignore[no-untyped-def]
    sids,
    starts_ms,
    times_ms,
    values,
    kinds,
    label_lengths,
    oldest_ms,
    latest_ms,
    totals,
    ends,
    out_sids,
    out_times,
    out_values,
    counts,
):
    """One frame's rows, in order: judge each, fold deltas, and pack the rows that go out.

    sids: uint32[n]; starts_ms: int64[n] or empty where no start is known; times_ms: int64[n]; values: float64[n].
    kinds, label_lengths: of the series index, by sid; a length of 0 says that the sid is free. Rows before `oldest_ms`
    or after `latest_ms` are sorted out. totals, ends: running totals by sid, changed here; `claim_deltas` has run for
    this frame. out_sids: uint32, out_times: int64, out_values: float64: receive the rows that go out, so they hold n
    entries at least.
    counts: int64[COUNTS], raised by the number of rows of each verdict, those of target_info from VERDICTS on, and by
    the histograms that started anew at RESTARTS.
    Returns how many rows go out, or −1 with nothing changed if the arrays do not fit together.

    A delta is folded before the target's retention is asked, so that the totals do not depend on when this runs.
    """
    n = len(sids)
    limit = min(len(kinds), len(label_lengths))
    states = min(limit, min(len(totals), len(ends)))
    if len(times_ms) < n or len(values) < n or (len(starts_ms) > 0 and len(starts_ms) < n) or len(counts) < COUNTS:
        return -1
    if min(len(out_sids), min(len(out_times), len(out_values))) < n:
        return -1
    at = 0
    point_end, point_overlaps = 0, False
    for row in range(n):
        sid = np.int64(sids[row])
        if sid >= limit or label_lengths[sid] == 0:
            counts[SERIES_GONE] += 1
            continue
        kind = np.int64(kinds[sid])
        apart = 1 if kind & CLASS_BITS == TARGET_INFO_CLASS else 0
        time = times_ms[row]
        value = values[row]
        verdict = KEPT
        stale = False
        if value != value:
            stale = f64_as_bits(value) == STALE_NAN
            if not stale:
                verdict = NOT_A_NUMBER
        if verdict == KEPT and time > latest_ms:
            verdict = TOO_FAR_AHEAD
        if verdict == KEPT and kind & DELTA_BIT and not stale:
            start = starts_ms[row] if len(starts_ms) > 0 else np.int64(0)
            if sid >= states:
                verdict = SERIES_GONE
            elif np.isinf(value):
                verdict = DELTA_NOT_FINITE
            elif value < 0.0 and kind == MONOTONIC_DELTA:
                verdict = DELTA_NEGATIVE
            else:
                if row >= point_end and kind & CLASS_BITS == COUNT_CLASS:
                    point_end, point_overlaps, restarts = begin_histogram(
                        row, n, start, time, sids, starts_ms, times_ms, kinds, states, totals, ends
                    )
                    if restarts:
                        counts[RESTARTS] += 1
                if point_overlaps if row < point_end else overlaps(start, time, ends[sid]):
                    verdict = DELTA_OVERLAP
                else:
                    totals[sid] += value
                    ends[sid] = time
                    value = totals[sid]
        if verdict == KEPT and time < oldest_ms:
            verdict = OUT_OF_RETENTION
        counts[apart * VERDICTS + verdict] += 1
        if verdict == KEPT:
            out_sids[at] = np.uint32(sid)
            out_times[at] = time
            out_values[at] = value
            at += 1
    return at
