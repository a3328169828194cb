"""What is mostly zero: how long it stays away from zero when it does."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from kernels.jit import step

MOST: Final = 15
"""Samples that are counted."""


@step
def note_busy(s: Any, x: float) -> int:
    """Count a sample of a stretch that is not zero. The length of the stretch if it is more than twice as long as the
    longest that has ended, else 0. Longer ones than MOST are not told apart, so that after one of eight there is no
    more to say.
    """
    packed = np.int64(s.busy)
    length = packed & 15
    longest = packed >> 4
    if x == 0.0:
        if length > longest:
            longest = length
        s.busy = np.uint8(longest << 4)
        return 0
    if length < MOST:
        length += 1
    s.busy = np.uint8((longest << 4) | length)
    return int(length) if length > 2 * longest else 0
