"""Percentiles of a delay over the last minutes, in fixed memory.

Delays are counted in buckets whose bounds grow by a fixed factor, one set of buckets for each ten seconds, so a
percentile is right to within one factor and old delays drop out ten seconds at a time.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

WINDOW_SECONDS: Final = 300
"""What the percentiles look back over."""
_SLOT_SECONDS: Final = 10
_SLOTS: Final = WINDOW_SECONDS // _SLOT_SECONDS + 1
_LEAST: Final = 1e-4
_FACTOR: Final = 1.1
_BUCKETS: Final = 256
"""0.1 ms · 1.1^256 is 45 days."""


class LagWindow:
    """Delays of rows, weighted by rows. Not thread-safe. `now` is seconds on a monotonic clock."""

    def __init__(self) -> None:
        self._counts = np.zeros((_SLOTS, _BUCKETS), np.int64)
        self._slot_numbers = np.full(_SLOTS, -1, np.int64)

    def add(self, now: float, seconds: float, rows: int) -> None:
        """Count `rows` rows with this delay; a negative one (a stepped clock) counts as nothing."""
        number = int(now) // _SLOT_SECONDS
        slot = number % _SLOTS
        if self._slot_numbers[slot] != number:
            self._slot_numbers[slot] = number
            self._counts[slot] = 0
        bucket = 0 if seconds <= _LEAST else min(_BUCKETS - 1, math.ceil(math.log(seconds / _LEAST, _FACTOR)))
        self._counts[slot, bucket] += rows

    def percentile(self, now: float, share: float) -> float | None:
        """Seconds that `share` of the rows did not exceed; None without rows in the window."""
        return percentile_of(self.counts(now), share)

    def counts(self, now: float) -> NDArray[np.int64]:
        """int64: rows by bucket. Those of several windows may be added before `percentile_of`."""
        number = int(now) // _SLOT_SECONDS
        kept = (self._slot_numbers >= 0) & (self._slot_numbers > number - _SLOTS)
        found: NDArray[np.int64] = self._counts[kept].sum(axis=0)
        return found


def percentile_of(counts: NDArray[np.int64], share: float) -> float | None:
    """Seconds that `share` of the rows did not exceed; None without rows. counts: see LagWindow.counts."""
    cumulative = counts.cumsum()
    total = int(cumulative[-1]) if len(cumulative) else 0
    if total == 0:
        return None
    bucket = int(np.searchsorted(cumulative, math.ceil(share * total)))
    return float(_LEAST * _FACTOR**bucket)
