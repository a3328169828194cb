"""Tails of a statistic: how often does this series, left alone, reach so far?

A statistic makes excursions above a fixed floor; of each only the peak counts. Their number a day and the mean excess
over the floor, discounted over two weeks and shrunk towards a prior until there are enough of them, give the expected
number of peaks a day beyond a height h: rate · exp(-(h - floor) / excess). That is peaks over threshold with an
exponential excess; the statistics here are bounded or logarithmic, so the exponential is the right member of the
generalised Pareto family for them.
"""

from __future__ import annotations

import math
from typing import Any, Final

from kernels.jit import step
from kernels.series_state import P_PRIOR, P_TAIL, S_SILENCE, STREAMS

PRIOR_PEAKS: Final = 4.0
"""Excursions the prior mean excess weighs as much as."""
PRIOR_DAYS: Final = 1.0
"""Days the prior rate weighs as much as."""
DISCOUNT: Final = 0.9979409
"""Per hour: a half-life of fourteen days."""


@step
def tail_of(s: Any, k: int, p: Any) -> tuple[float, float]:
    """Peaks a day over the floor and their mean excess: the series' own, shrunk to the prior and kept near it.

    A series whose labelled faults come daily must not teach the tail that they are natural, so what a tail may learn
    is bounded: `P_TAIL` times the prior's excess at most. Silence is not bounded: many gaps make a gappy series.
    """
    rate, excess = p[P_PRIOR + 3 * k + 1], p[P_PRIOR + 3 * k + 2]
    bound = p[P_TAIL]
    weight = PRIOR_PEAKS
    if k == S_SILENCE:
        bound = 100.0
        weight = 2.0 * PRIOR_PEAKS
    if bound > 0.0:
        count = float(s.tail_count[k])
        own = (excess * weight + s.tail_excess[k]) / (weight + count)
        rate = min((rate * PRIOR_DAYS + count) / (PRIOR_DAYS + s.known_days), 10.0 * bound * rate)
        excess = min(own, bound * excess)
    return rate, excess


@step
def expected_rate(s: Any, k: int, height: float, p: Any) -> float:
    """Peaks a day of stream k expected beyond `height`."""
    rate, excess = tail_of(s, k, p)
    expected: float = rate * math.exp(-(height - p[P_PRIOR + 3 * k]) / excess)
    return expected


@step
def height_at(s: Any, k: int, rate: float, p: Any) -> float:
    """Height of stream k beyond which `rate` peaks a day are expected; never under its floor."""
    usual, excess = tail_of(s, k, p)
    floor: float = p[P_PRIOR + 3 * k]
    return floor + excess * math.log(usual / rate) if usual > rate else floor


@step
def learn_peak(s: Any, k: int, height: float, p: Any) -> None:
    """Follow an excursion of stream k; count its peak when it is over."""
    floor = p[P_PRIOR + 3 * k]
    if height > floor:
        if height > s.peaks[k]:
            s.peaks[k] = height
    elif s.peaks[k] > 0.0 and height < 0.5 * floor:
        excess = s.peaks[k] - floor
        prior = p[P_PRIOR + 3 * k + 2]
        mean = (prior * PRIOR_PEAKS + s.tail_excess[k]) / (PRIOR_PEAKS + s.tail_count[k])
        # What was worth an alert says little about what is natural.
        if excess < 6.0 * mean or k == S_SILENCE:
            s.tail_count[k] += 1.0
            s.tail_excess[k] += excess
        s.peaks[k] = 0.0


@step
def discount_tails(s: Any, seconds: float) -> None:
    """Forget slowly; once an hour is enough."""
    s.learned_s += seconds
    if s.learned_s >= 3600.0:
        s.known_days += s.learned_s / 86400.0
        s.learned_s = 0.0
        s.known_days *= DISCOUNT
        for k in range(STREAMS):
            s.tail_count[k] *= DISCOUNT
            s.tail_excess[k] *= DISCOUNT
