"""Which series of a batch a reader meets for the first time."""

from __future__ import annotations

import numpy as np

from kernels.jit import RU4, U4, kernel


@kernel(RU4, RU4, U4, U4)
def first_seen(sids, generations, known, found):  # type: ignore[no-untyped-def]
    """Collect the series ids of a batch whose generation differs from the one known, each once.

    sids: uint32[n]. generations: uint32[capacity], of now. known: uint32[capacity], what the reader knew; updated.
    found: uint32[at least n], filled from the front. Ids beyond either array are left out. Returns how many were found.
    """
    count = np.int64(0)
    limit = min(np.int64(len(generations)), np.int64(len(known)))
    for row in range(len(sids)):
        sid = np.int64(sids[row])
        if sid < limit and known[sid] != generations[sid]:
            known[sid] = generations[sid]
            found[count] = sids[row]
            count += 1
    return count
