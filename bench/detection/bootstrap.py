"""Confidence intervals by resampling whole series: points of one series are not independent, series are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gateway.baseline.scorecard import Scorecard

Interval = tuple[float, float]


def ratio_interval(
    numerators: Sequence[float], denominators: Sequence[float], *, seed: int, draws: int = 1000
) -> Interval:
    """95 % interval of Σ numerators / Σ denominators over resampled series; NaN where nothing is to divide by."""
    a, b = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    if len(a) == 0 or b.sum() == 0:
        return (float("nan"), float("nan"))
    rng = np.random.default_rng(seed)
    picks = rng.integers(0, len(a), (draws, len(a)))
    top, bottom = a[picks].sum(axis=1), b[picks].sum(axis=1)
    ratios: NDArray[np.float64] = top[bottom > 0] / bottom[bottom > 0]
    low, high = np.quantile(ratios, [0.025, 0.975])
    return (float(low), float(high))


def recall_interval(cards: Sequence[Scorecard], *, seed: int) -> Interval:
    """95 % interval of the event recall."""
    return ratio_interval([c.found for c in cards], [len(c.events) for c in cards], seed=seed)


def false_share_interval(cards: Sequence[Scorecard], *, seed: int) -> Interval:
    """95 % interval of the share of false alerts."""
    return ratio_interval([c.false_alerts for c in cards], [c.alerts for c in cards], seed=seed)
