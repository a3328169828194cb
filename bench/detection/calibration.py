"""Calibration: how often the score's implied tail probability is undercut on clean spans, over how often it should."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bench.detection.detectors import Scored
from bench.detection.protocol import scored_time
from bench.detection.recordings import Recording

LEVELS = (1e-2, 1e-3, 1e-4, 1e-5)


def exceedances(recording: Recording, scored: Scored) -> NDArray[np.float64] | None:
    """[clean samples, of them with p ≤ 1e-2, …, 1e-5]; None if the detector implies no probability.

    Clean: scored time, labelled normal, at least an hour (or 30 samples) away from every other label.
    """
    if scored.p_value is None:
        return None
    p = scored.p_value[~scored.extra]
    margin = max(3600.0, 30 * recording.interval_s)
    start, end = scored_time(recording)
    clean = (recording.times_s >= start) & (recording.times_s <= end) & np.isfinite(p) & np.isfinite(recording.values)
    for event in recording.events:
        clean &= ~((recording.times_s >= event.start - margin) & (recording.times_s <= event.end + margin))
    for span in recording.neutral:
        clean &= ~((recording.times_s >= span.start - margin) & (recording.times_s <= span.end + margin))
    return np.array([clean.sum(), *((p[clean] <= level).sum() for level in LEVELS)], np.float64)


def ratios(total: NDArray[np.float64]) -> dict[str, float]:
    """Empirical over nominal rate at each level, from summed exceedances."""
    return {
        f"{level:.0e}": float(total[k + 1] / (total[0] * level)) if total[0] else float("nan")
        for k, level in enumerate(LEVELS)
    }
