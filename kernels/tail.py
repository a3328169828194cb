"""Tails: how often would this series, left alone, stand so far out?

For the statistics of values a common tail is taken: peaks a day over a floor and their mean excess, measured once over
unlabelled series (docs/detection.md), so that expected peaks a day beyond h are rate · exp(-(h - floor) / excess):
peaks over threshold with an exponential excess, the statistics being logarithmic. A tail fitted to each series alone
was tried and dropped: it learns that daily faults are natural, and finds less at any number of false alerts.

Silence has a tail of its own, because gaps are a habit of a series; it is forgotten with a half-life of fourteen days.
"""

from __future__ import annotations

import math
from typing import Any, Final

from kernels.jit import step
from kernels.series_state import P_PRIOR, S_SILENCE

PRIOR_GAPS: Final = 8.0
"""Gaps the prior mean excess weighs as much as."""
PRIOR_DAYS: Final = 1.0
"""Days the prior rate of gaps weighs as much as."""
DISCOUNT: Final = 0.9979409
"""Per hour: a half-life of fourteen days."""


@step
def expected_rate(k: int, height: float, p: Any) -> float:
    """Peaks a day of stream k expected beyond `height`."""
    expected: float = p[P_PRIOR + 3 * k + 1] * math.exp(-(height - p[P_PRIOR + 3 * k]) / p[P_PRIOR + 3 * k + 2])
    return expected


@step
def gap_at(s: Any, rate: float, p: Any) -> float:
    """log2 of the gap, in steps, beyond which this series shows `rate` gaps a day; never under the floor."""
    at = P_PRIOR + 3 * S_SILENCE
    count = float(s.gaps)
    usual = (p[at + 1] * PRIOR_DAYS + count) / (PRIOR_DAYS + s.known_days)
    excess = (p[at + 2] * PRIOR_GAPS + s.gap_excess) / (PRIOR_GAPS + count)
    floor: float = p[at]
    return floor + excess * math.log(usual / rate) if usual > rate else floor


@step
def learn_gap(s: Any, gap: float, p: Any) -> None:
    """Count one gap of log2 length `gap`."""
    floor = p[P_PRIOR + 3 * S_SILENCE]
    if gap > floor:
        s.gaps += 1.0
        s.gap_excess += gap - floor


@step
def discount_tails(s: Any, seconds: float) -> bool:
    """Forget slowly; once an hour is enough. True when it was done."""
    s.learned_s += seconds
    if s.learned_s < 3600.0:
        return False
    s.known_days = (s.known_days + s.learned_s / 86400.0) * DISCOUNT
    s.learned_s = 0.0
    s.gap_excess *= DISCOUNT
    s.gaps *= DISCOUNT
    return True
