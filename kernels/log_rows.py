"""Reads of the log's row columns: which rows are asked for, and which series a frame holds."""

from __future__ import annotations

import numpy as np

from kernels.jit import I4, I8, RI8, RU4, U8, i8, kernel, u8


@kernel(RU4, RI8, RI8, RI8, RI8, I4, i8, i8, I8, I8)
def find_rows(ids, times_ms, ids_at, times_at, counts, slots, start_ms, end_ms, frames, rows):  # type: ignore[no-untyped-def]
    """Rows of the series that are asked for, with start_ms <= time <= end_ms, of many frames; returns how many.

    ids, times_ms: one piece of memory, seen as uint32[] and as int64[]; ids_at, times_at: int64[f], where a frame's
    columns of local ids and of times (Unix ms) begin in them; counts: int64[f], its rows; slots: int32[ids known], -1
    where the series is not asked for. frames, rows: int64[most], filled with the frame and the row in it, ascending;
    the search ends when they are full. A frame whose columns do not lie wholly in the memory has no rows, and an id at
    or beyond the end of `slots` is asked for by nobody. Times are read only where the series is wanted.
    """
    found = 0
    most = min(len(frames), len(rows))
    for frame in range(min(len(ids_at), len(times_at), len(counts))):
        n, first, times = counts[frame], ids_at[frame], times_at[frame]
        if n < 0 or first < 0 or times < 0 or first > len(ids) - n or times > len(times_ms) - n:
            continue
        for row in range(n):
            local = np.int64(ids[first + row])
            if local < len(slots) and slots[local] >= 0 and start_ms <= times_ms[times + row] <= end_ms:
                if found == most:
                    return found
                frames[found] = frame
                rows[found] = row
                found += 1
    return found


@kernel(RU4, u8, U8)
def note_blocks(ids, block, occurs_in):  # type: ignore[no-untyped-def]
    """Add `block`, a set of bits, to what each series of a frame occurs in.

    ids: uint32[n], local; occurs_in: uint64[ids known]. Ids at or beyond its end are passed over.
    """
    for row in range(len(ids)):
        local = np.int64(ids[row])
        if local < len(occurs_in):
            occurs_in[local] |= block
