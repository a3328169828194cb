"""What rows tell of their sender's care: pauses in its series, and values that changed their unit."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

GAP_STEPS: Final = 3.0
LEAST_GAP_SECONDS: Final = 30.0
LONGEST_GAP_SECONDS: Final = 86_400.0
"""What is silent for longer has ended and begins anew."""
_KNOWN_STEP: Final = 8
"""Points after which the step of a series is known."""
_FACTORS: Final = np.array([8.0, 60.0, 100.0, 1e3, 3600.0, 1e6, 1e9])
UNIT_FACTORS: Final = np.concatenate([1.0 / _FACTORS[::-1], _FACTORS])
"""Between units that are taken for each other: bits and bytes, (milli-, micro-, nano-) seconds, minutes and hours,
shares and per cent, bytes and their multiples (of which those by 1024 are near those by 1000)."""
_NEAR: Final = 0.1
"""Natural logarithm of a ratio's distance from a factor."""


def pauses(sids: NDArray[np.uint32], times_ms: NDArray[np.int64], states: NDArray[Any]) -> NDArray[np.float64]:
    """float64[n]: seconds without a point before each row, where that is a gap, else 0. Of rows that the baselines,
    `states` (STATE[capacity]), have not taken yet. A frame that spans more time than a gap is a backlog: no gaps."""
    found = np.zeros(len(sids))
    if len(sids) == 0 or times_ms.max() - times_ms.min() >= 1000.0 * LEAST_GAP_SECONDS:
        return found
    known = np.flatnonzero(sids < len(states))
    known = known[states["count"][sids[known]] >= _KNOWN_STEP]
    own = sids[known]
    seconds = (times_ms[known] - states["last_ms"][own]) / 1000.0
    least = np.maximum(GAP_STEPS * states["interval"][own].astype(np.float64), LEAST_GAP_SECONDS)
    found[known] = np.where((seconds > least) & (seconds < LONGEST_GAP_SECONDS), seconds, 0.0)
    return found


def unit_changes(values: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.int64]:
    """int64[n]: number of the UNIT_FACTORS that a value is of what was expected; −1 for none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = values / expected
        distance = np.abs(np.log(ratio)[:, None] - np.log(UNIT_FACTORS))
    distance[~np.isfinite(distance)] = np.inf
    nearest = distance.argmin(axis=1) if len(values) else np.empty(0, np.int64)
    return np.where(distance.min(axis=1, initial=np.inf) < _NEAR, nearest, -1)
