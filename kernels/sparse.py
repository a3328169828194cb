"""What is mostly zero: how long it stays away from zero when it does."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from kernels.jit import step

MOST: Final = 15
"""Samples that are counted."""


@step
def note_busy(s: Any, x: float, least: int) -> bool:
    """Count a sample of a stretch that is not zero.

    True for the one sample at which the stretch is `least` long and more than twice as long as the longest that has
    ended. No more than MOST are counted: after a stretch of eight there is nothing more to say.
    """
    packed = np.int64(s.busy)
    length = packed & 15
    longest = packed >> 4
    if x == 0.0:
        if length > longest:
            longest = length
        s.busy = np.uint8(longest << 4)
        return False
    if length == MOST:
        return False
    s.busy = np.uint8((longest << 4) | (length + 1))
    return bool(length + 1 == max(least, 2 * longest + 1))
