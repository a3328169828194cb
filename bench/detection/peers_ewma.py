"""The floor: one exponentially weighted mean and one threshold, for every series.

z = |x − mean(half-life 30 samples, past only)| / (1.25 · mean of clipped |residual|, half-life 1000 samples); a sample
with z at or above the threshold is in alert.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from bench.detection.detectors import Scored

Floats = NDArray[np.float64]


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _ewma_z(values: Floats, z: Floats, expected: Floats, scale: Floats) -> None:
    fast, slow = 1.0 - 0.5 ** (1.0 / 30.0), 1.0 - 0.5 ** (1.0 / 1000.0)
    mean, deviation, seen = 0.0, 0.0, 0
    for i in range(values.shape[0]):
        x = values[i]
        z[i], expected[i], scale[i] = 0.0, mean, 1.25 * deviation
        if not np.isfinite(x):
            continue
        seen += 1
        if seen == 1:
            mean = x
            expected[i] = x
            continue
        residual = x - mean
        if seen > 30:
            z[i] = abs(residual) / max(1.25 * deviation, 1e-9 * abs(mean) + 1e-300)
        clipped = abs(residual) if seen < 100 else min(abs(residual), 5.0 * deviation + 1e-300)
        deviation += max(slow, 1.0 / seen) * (clipped - deviation)
        mean += max(fast, 1.0 / seen) * residual


@dataclass(frozen=True, slots=True)
class Ewma:
    """The floor peer as a detector."""

    threshold: float = 5.0

    def __call__(self, times_s: Floats, values: Floats, kind: str, interval_s: float) -> Scored:
        """Score one series; a counter is taken as differences."""
        x = np.maximum(np.diff(values, prepend=values[:1]), 0.0) if kind == "counter" else values
        z, expected, scale = np.empty(len(x)), np.empty(len(x)), np.empty(len(x))
        _ewma_z(np.ascontiguousarray(x), z, expected, scale)
        z = np.minimum(z, 1e6)
        return Scored(
            times_s=times_s,
            values=values,
            expected=expected,
            lower=expected - self.threshold * scale,
            upper=expected + self.threshold * scale,
            score=z,
            alert=z >= self.threshold,
            extra=np.zeros(len(x), np.bool_),
            p_value=None,
            reasons=[],
        )
