"""Lag percentiles over the last five minutes, from one observation a frame.

A ring of ten-second slots, each a histogram over logarithmic buckets, so an observation costs one increment and the
memory is fixed. Quantiles are exact to the width of a bucket (12 %).
"""

from __future__ import annotations

import math
import threading

import numpy as np

from gateway.clock import Clock

_SLOT_SECONDS = 10
_SLOTS = 30
_BUCKETS = 160
_GROWTH = math.log(1.12)
_SMALLEST = 1e-4  # seconds


class LagWindow:
    """Weighted lag observations of the last `_SLOTS * _SLOT_SECONDS` seconds. Any thread may call."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts = np.zeros((_SLOTS, _BUCKETS), np.int64)
        self._slot_number = np.full(_SLOTS, -1, np.int64)
        self._lock = threading.Lock()

    def observe(self, seconds: float, weight: int = 1) -> None:
        """Record that `weight` rows took `seconds`."""
        bucket = 0
        if seconds > _SMALLEST:
            bucket = min(_BUCKETS - 1, 1 + int(math.log(seconds / _SMALLEST) / _GROWTH))
        number = int(self._clock.monotonic()) // _SLOT_SECONDS
        slot = number % _SLOTS
        with self._lock:
            if self._slot_number[slot] != number:
                self._slot_number[slot] = number
                self._counts[slot] = 0
            self._counts[slot, bucket] += weight

    def quantile(self, q: float) -> float:
        """Seconds under which a share `q` of the rows stayed; 0.0 when nothing was observed."""
        number = int(self._clock.monotonic()) // _SLOT_SECONDS
        with self._lock:
            total = self._counts[self._slot_number > number - _SLOTS].sum(axis=0)
        cumulative = np.cumsum(total)
        if cumulative[-1] == 0:
            return 0.0
        bucket = int(np.searchsorted(cumulative, q * cumulative[-1]))
        return 0.0 if bucket == 0 else _SMALLEST * math.exp(bucket * _GROWTH)
