"""Upper bounds of histogram buckets by series id, read from `le` and `vmrange` when a series is first met."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gateway.series.index import SeriesIndex
from gateway.telemetry.kind import CLASS_MASK, HISTOGRAM_BUCKET


def upper_bound(labels: dict[str, str]) -> float:
    """The bound of a bucket's labels, +Inf for the last; NaN where it cannot be read."""
    text = labels.get("le")
    if text is None:
        text = labels.get("vmrange", "").rpartition("...")[2]
    try:
        return float(text)
    except ValueError:
        return math.nan


class BucketBounds:
    """`array`: float64[capacity], NaN for series that are no buckets."""

    def __init__(self, index: SeriesIndex) -> None:
        self._index = index
        self.array: NDArray[np.float64] = np.full(1024, np.nan)

    def learn(self, sids: NDArray[np.uint32]) -> None:
        """Read the bounds of series that were met for the first time."""
        if len(self.array) < self._index.end_sid:
            larger = np.full(max(self._index.end_sid, 2 * len(self.array)), np.nan)
            larger[: len(self.array)] = self.array
            self.array = larger
        kinds = self._index.kinds[sids] & CLASS_MASK
        self.array[sids] = math.nan
        for sid in sids[kinds == HISTOGRAM_BUCKET]:
            self.array[sid] = upper_bound(self._index.labels(int(sid)))
