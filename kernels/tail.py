"""Silence's tail: how often does this series, left alone, pause for so long?

Peaks over threshold with an exponential excess, the statistic being the logarithm of a gap in steps. Gaps are a habit
of a series, so each has a tail of its own, which begins with a common one and is forgotten with a half-life of fourteen
days.
"""

from __future__ import annotations

import math
from typing import Any, Final

from kernels.jit import hot_step, step
from kernels.series_state import DAY_S, P_GAP_EXCESS, P_GAP_FLOOR, P_GAP_USUAL

PRIOR_GAPS: Final = 8.0
"""Gaps the prior mean excess weighs as much as."""
PRIOR_DAYS: Final = 1.0
"""Days the prior rate of gaps weighs as much as."""
DISCOUNT: Final = 0.9979409
"""Per hour: a half-life of fourteen days; the longest hole is forgotten twice as fast."""


@step
def gap_at(s: Any, rate: float, p: Any) -> float:
    """log2 of the gap, in steps, beyond which this series shows `rate` gaps a day; never under the floor."""
    count = float(s.gaps)
    usual = (p[P_GAP_USUAL] * PRIOR_DAYS + count) / (PRIOR_DAYS + s.known_days)
    excess = (p[P_GAP_EXCESS] * PRIOR_GAPS + s.gap_excess) / (PRIOR_GAPS + count)
    floor: float = p[P_GAP_FLOOR]
    return floor + excess * math.log(usual / rate) if usual > rate else floor


@step
def learn_gap(s: Any, gap: float, p: Any) -> None:
    """Count one gap of log2 length `gap`."""
    floor = p[P_GAP_FLOOR]
    if gap > floor:
        s.gaps += 1.0
        s.gap_excess += gap - floor


@hot_step
def discount_tails(s: Any, seconds: float) -> bool:
    """Forget slowly; once an hour is enough. True when it was done."""
    s.learned_s += seconds
    if s.learned_s < 3600.0:
        return False
    s.known_days = (s.known_days + s.learned_s / DAY_S) * DISCOUNT
    s.learned_s = 0.0
    s.gap_excess *= DISCOUNT
    s.gaps *= DISCOUNT
    s.longest_hole *= DISCOUNT * DISCOUNT
    return True
