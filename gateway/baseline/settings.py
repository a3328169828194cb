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


# Scales at which one sample alone, and two of three samples, open an alert.
_THRESHOLDS: Final[dict[str, tuple[float, float]]] = {
    "quiet": (24.0, 10.0),
    "balanced": (15.0, 6.5),
    "keen": (10.0, 5.0),
}


def parameters(settings: DetectionSettings) -> NDArray[np.float64]:
    """The kernels' parameter vector (see kernels.series_state)."""
    p = np.zeros(state.PARAMETERS, np.float64)
    p[state.P_WARM_UP_MS] = 1000.0 * settings.warm_up
    p[state.P_INSTANT], p[state.P_PERSIST] = _THRESHOLDS[settings.sensitivity]
    p[state.P_EXCEED] = 4.0
    p[state.P_SEASON] = 1.0
    p[state.P_ZERO] = 1.0
    p[state.P_FLAT] = 1.0
    p[state.P_STALE] = 1.0
    p[state.P_ADOPT] = 16.0
    return p
