"""Reads of the log's row columns: which rows are asked for, and which series a frame holds."""

from __future__ import annotations

import numpy as np

from kernels.jit import I4, I8, RI8, RU4, U8, i8, kernel, u8


@kernel(RU4, RI8, I4, i8, i8, I8)
def find_rows(ids, times_ms, slots, start_ms, end_ms, rows):  # type: ignore[no-untyped-def]
    """Rows of the series that are asked for, with start_ms <= time <= end_ms; returns how many.

    ids: uint32[n], local; times_ms: int64[n], Unix ms; slots: int32[ids known], -1 where the series is not asked for;
    rows: int64[at least n], the rows found, ascending. An id at or beyond the end of `slots` is asked for by nobody.
    Times are looked at only where the series is wanted, so that a column of them is not read for nothing.
    """
    found = 0
    for row in range(min(len(ids), len(times_ms), len(rows))):
        local = np.int64(ids[row])
        if local < len(slots) and slots[local] >= 0 and start_ms <= times_ms[row] <= end_ms:
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
