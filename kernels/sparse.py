"""What is often zero: from when a series counts as such, and how long it stays away from zero when it does."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from kernels.jit import step

SPARSE: Final = 0.3
"""Share of zeros from which a series is a sparse count."""
SPARSE_LARGE: Final = 6.0
"""Scales that three of six samples must reach in a sparse count, whatever the model says."""
MOSTLY_ZERO: Final = 0.9
"""Share of zeros from which it is unusual to be anything else for long."""
AWAKE: Final = 3
"""Samples in a row that such a series must not be zero for, and seconds; more than twice as many as it ever was."""
AWAKE_S: Final = 180.0
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
