"""How far the values of a recording usually spread: what sizes of faults are measured in, and what hides them."""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from bench.detection.recordings import Recording
from gateway.baseline.scorecard import DAY_S

Floats = NDArray[np.float64]


def running_median(x: Floats, width: int = 31) -> Floats:
    """Centred running median, edges repeated, NaN left out."""
    half = width // 2
    return np.median(sliding_window_view(np.pad(filled(x), half, mode="edge"), width), axis=1)


def filled(x: Floats) -> Floats:
    """Missing values between their neighbours, on a straight line."""
    finite = np.isfinite(x)
    if finite.all() or not finite.any():
        return x
    return np.interp(np.arange(len(x)), np.flatnonzero(finite), x[finite])


def robust_sigma(x: Floats) -> float:
    """Local noise of a stretch: 1.4826 · median |x − running median|; the mean where more than half of it is zero."""
    x = x[np.isfinite(x)]
    if len(x) < 8:
        return math.nan
    residual = np.abs(x - running_median(x))
    sigma = 1.4826 * float(np.median(residual))
    if sigma <= 0:
        sigma = 1.25 * float(residual.mean())
    return max(sigma, 1e-3 * abs(float(np.median(x))), 1e-9)


def usual_spread(x: Floats) -> float:
    """Robust σ of the values of a stretch, 1.4826 · median |x − median|, and at least that of its local noise."""
    finite = x[np.isfinite(x)]
    spread = 1.4826 * float(np.median(np.abs(finite - np.median(finite)))) if len(finite) else math.nan
    return max(robust_sigma(x), spread)


def seasonality(recording: Recording) -> float:
    """Share of the running median's variance that its mean over the time of day explains; 0 for less than 7 days."""
    per_day = round(DAY_S / recording.interval_s)
    if per_day < 12 or len(recording.values) < 7 * per_day:
        return 0.0
    smooth = running_median(recording.values)
    of_day = (np.round(recording.times_s / recording.interval_s).astype(np.int64)) % per_day
    sums = np.bincount(of_day, smooth, per_day)
    counts = np.maximum(np.bincount(of_day, minlength=per_day), 1)
    total = float(np.var(smooth))
    return 1.0 - float(np.var(smooth - (sums / counts)[of_day])) / total if total > 0 else 0.0
