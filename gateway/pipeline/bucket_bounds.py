"""Upper bounds of histogram buckets by series id, read from `le` and `vmrange` when a series is first met."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from gateway.series.index import SeriesIndex
from gateway.series.label_values import distinct_values
from gateway.telemetry.kind import CLASS_MASK, HISTOGRAM_BUCKET, VMRANGE


def upper_bound(text: str) -> float:
    """The bound that `le` or `vmrange` names, +Inf for the last; NaN where it cannot be read."""
    try:
        return float(text.rpartition("...")[2])
    except ValueError:
        return math.nan


class BucketBounds:
    """`array`: float64[capacity], NaN for series that are no buckets; empty while none is known to be one."""

    def __init__(self, index: SeriesIndex) -> None:
        self._index = index
        self.array: NDArray[np.float64] = np.empty(0)

    def learn(self, sids: NDArray[np.uint32]) -> None:
        """Read the bounds of series that were met for the first time."""
        kinds = self._index.kinds[sids]
        buckets = kinds & CLASS_MASK == HISTOGRAM_BUCKET
        if len(self.array) == 0 and not buckets.any():
            return
        if len(self.array) < self._index.end_sid:
            larger = np.full(max(self._index.end_sid, 2 * len(self.array)), np.nan)
            larger[: len(self.array)] = self.array
            self.array = larger
        self.array[sids] = math.nan
        for label, of_label in (("le", kinds & VMRANGE == 0), ("vmrange", kinds & VMRANGE != 0)):
            of_kind = sids[buckets & of_label]
            if len(of_kind):
                texts, which = distinct_values(self._index, of_kind, label)
                self.array[of_kind] = np.array([upper_bound(text) for text in texts])[which]
