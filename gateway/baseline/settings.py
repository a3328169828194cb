"""Settings of the detector: the [detection] section."""

from __future__ import annotations

from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from gateway.settings_types import Duration, Settings
from kernels import series_state as state

Sensitivity = Literal["quiet", "balanced", "keen"]


class DetectionSettings(Settings, frozen=True, kw_only=True):
    """How series are scored and when a deviation becomes an alert."""

    enabled: bool = True
    """Score series at all. Off: points are forwarded, nothing is learned and nothing alerts."""
    sensitivity: Sensitivity = "balanced"
    """Where on the measured trade-off between missed and false alerts the alert rule stands (docs/detection.md)."""
    warm_up: Duration = Duration(600.0)
    """How long a series is only learned from after its first point; its score is 0 until then."""


_BUDGETS: Final[dict[str, float]] = {"quiet": 0.004, "balanced": 0.02, "keen": 0.08}
"""Natural excursions a day and stream that an alert may stand for."""

_PRIORS: Final[dict[int, tuple[float, float, float]]] = {
    # stream: floor, rate a day, mean excess
    state.S_SPIKE: (1.8, 1.1, 0.6),
    state.S_RUN: (2.5, 1.0, 0.39),
    state.S_SLOW: (3.0, 0.25, 1.4),
    state.S_NOISIER: (3.0, 0.3, 0.95),
    state.S_CALMER: (3.0, 0.25, 0.95),
    state.S_SILENCE: (0.4, 0.1, 0.35),
}
"""What is taken of a tail before the series has shown its own."""


def parameters(settings: DetectionSettings) -> NDArray[np.float64]:
    """The kernels' parameter vector (see kernels.series_state)."""
    p = np.zeros(state.PARAMETERS, np.float64)
    p[state.P_WARM_UP_MS] = 1000.0 * settings.warm_up
    p[state.P_BUDGET] = _BUDGETS[settings.sensitivity]
    for flag in range(state.P_SEASON, state.P_STALE + 1):
        p[flag] = 1.0
    p[state.P_ADOPT] = 16.0
    p[state.P_CHOICE] = 1.0
    p[state.P_SILENCE] = 3.2
    p[state.P_BAND] = 4.0
    for stream, prior in _PRIORS.items():
        p[state.P_PRIOR + 3 * stream : state.P_PRIOR + 3 * stream + 3] = prior
    return p
