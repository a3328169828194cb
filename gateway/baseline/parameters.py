"""The kernels' parameter vector: constants of the detector, the limits of each sensitivity, the pattern model."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.baseline.settings import DetectionSettings
from kernels import series_state as state

_LIMITS: Final[dict[str, tuple[float, float]]] = {"quiet": (1.4, 4.0), "balanced": (0.4, 3.3), "keen": (-0.8, 2.2)}
"""Log odds of the pattern model at which an alert opens: for runs, and for all else."""


@cache
def _pattern_model() -> NDArray[np.float64]:
    """The table of kernels.pattern, as `python -m bench.detection.train` made it."""
    path = Path(__file__).with_name("pattern.npz")
    if not path.exists():
        return np.zeros(4)
    with np.load(path) as file:
        return np.asarray(file["table"], np.float64)


def parameters(settings: DetectionSettings) -> NDArray[np.float64]:
    """The kernels' parameter vector (see kernels.series_state)."""
    p = np.zeros(state.P_MODEL, np.float64)
    p[state.P_WARM_UP_MS] = 1000.0 * settings.warm_up
    p[state.P_LIMIT], p[state.P_LIMIT_SLOW] = _LIMITS[settings.sensitivity]
    p[state.P_LIMIT_CALMER] = p[state.P_LIMIT_SLOW] + 1.0
    for flag in range(state.P_SEASON, state.P_STALE + 1):
        p[flag] = 1.0
    p[state.P_ADOPT] = 16.0
    p[state.P_CHOICE] = 1.0
    p[state.P_SILENCE] = 3.2
    p[state.P_GAP_RATE] = 0.02
    p[state.P_GAP_FLOOR], p[state.P_GAP_USUAL], p[state.P_GAP_EXCESS] = 0.4, 0.1, 0.35
    p[state.P_HOLE] = 4.0
    p[state.P_BAND] = 4.0
    return np.concatenate([p, _pattern_model()])
