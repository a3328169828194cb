"""How rare a deviation is: the chance that a sample of this series, left alone, is as far from what was expected.

Where deviations have the tail of a power, the logarithms of their hourly maxima follow Gumbel's law (Gnedenko 1943;
Coles 2001, "An introduction to statistical modeling of extreme values", chapter 3). Its mean is the mean peak that
kernels.habits keeps of either side; its spread follows from how far the highest peak in memory lies above that. The
chance that the maximum of n samples stays below a height is the n-th power of one sample's.
"""

from __future__ import annotations

import math
from typing import Any, Final

from kernels.habits import BLOCK_S, BLOCK_SAMPLES, DENSE_S, DOWN, UP
from kernels.jit import step

KNOWN_HOURS: Final = 24
"""Blocks without which nothing is said."""
EULER: Final = 0.5772156649
"""The mean of Gumbel's law of spread one."""
HIGHEST: Final = 3.0
"""Spreads between the mean and the highest peak in memory; measured on the sets the pattern model is trained on."""
LEAST_SPREAD: Final = 0.27
"""The same: no series' tail is taken for thinner."""


@step
def chance_of(s: Any, deviation: float) -> float:
    """Chance, 0 … 1, that a sample is as far from what was expected, or further, on either side; NaN if unknown.

    deviation: in scales."""
    if s.hours < KNOWN_HOURS:
        return math.nan
    if deviation == 0.0:
        return 1.0
    k = UP if deviation > 0.0 else DOWN
    step_s = max(float(s.interval), 1e-3)
    # Peaks are noted as kernels.observe weighs samples that are close to each other.
    height = abs(deviation) * (math.sqrt(step_s / DENSE_S) if step_s < DENSE_S else 1.0)
    samples = max(max(float(BLOCK_S), BLOCK_SAMPLES * step_s) / step_s, 1.0)
    spread = max((s.peak_top[k] - s.peak_mean[k]) / HIGHEST, LEAST_SPREAD)
    reduced = (math.log(height) - s.peak_mean[k]) / spread + EULER
    # log of the chance that the highest of the block stays below, for one sample of it.
    below = -math.exp(min(-reduced, 50.0)) / samples
    return min(-2.0 * math.expm1(below), 1.0)
