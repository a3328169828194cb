"""Which series of a frame had a point that is recent."""

from __future__ import annotations

import numpy as np

from kernels.jit import RI8, RU4, U4, i8, kernel, u4


@kernel(RU4, RI8, i8, u4, U4)
def note_seen(sids, times_ms, later_than_ms, mark, seen):  # type: ignore[no-untyped-def]
    """Set seen[sid] to `mark` for each row whose time lies behind `later_than_ms`.

    sids: uint32[n]; times_ms: int64[n], Unix ms; seen: uint32[capacity]. Sids at or beyond the capacity are passed
    over.
    """
    for row in range(min(len(sids), len(times_ms))):
        sid = np.int64(sids[row])
        if times_ms[row] > later_than_ms and sid < len(seen):
            seen[sid] = mark
