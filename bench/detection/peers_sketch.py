"""A second floor: the mean of the time of day, two tracked deviations, and a vote of samples.

Ten-minute bins of the day, each the mean of its days; deviation = |x − bin|, tracked over an hour and over a day, the
larger counts. Four of six samples beyond five of it on one side are an alert; nothing is learned while it is open.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray

from bench.detection.detectors import Scored

Floats = NDArray[np.float64]
BINS = 144
WINDOW = 6
NEEDED = 4


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _vote(
    times_s: Floats, values: Floats, step: float, threshold: float,
    z: Floats, expected: Floats, scale: Floats, alert: NDArray[np.bool_],
) -> None:  # fmt: skip
    bins, days = np.zeros(BINS), np.zeros(BINS)
    recent = np.zeros(WINDOW)
    hour = 1.0 - 0.5 ** (1.0 / max(3600.0 / step, 4.0))
    day = 1.0 - 0.5 ** (1.0 / max(86400.0 / step, 24.0))
    level, by_hour, by_day = 0.0, 0.0, 0.0
    current, gathered, samples = -1, 0.0, 0
    seen, calm, firing = 0, 0, False
    for i in range(values.shape[0]):
        x, b = values[i], int(times_s[i] // 600) % BINS
        z[i], alert[i] = 0.0, firing
        if not np.isfinite(x):
            continue
        seen += 1
        if seen == 1:
            level = x
        expected[i] = bins[b] if days[b] > 0 else level
        residual = x - expected[i]
        scale[i] = 1.25 * max(by_hour, by_day)
        if seen > 30:
            z[i] = min(abs(residual) / max(scale[i], 1e-9 * abs(expected[i]) + 1e-300), 1e6)
        beyond = z[i] > threshold
        recent[seen % WINDOW] = np.sign(residual) if beyond else 0.0
        if not firing:
            firing = seen * step > 86400.0 and max((recent > 0).sum(), (recent < 0).sum()) >= NEEDED
            calm = 0
        else:
            calm = 0 if beyond else calm + 1
            firing = calm < WINDOW
        alert[i] = firing
        if firing:
            continue
        clipped = min(abs(residual), threshold * scale[i]) if seen > 100 else abs(residual)
        by_hour += max(hour, 1.0 / seen) * (clipped - by_hour)
        by_day += max(day, 1.0 / seen) * (clipped - by_day)
        level += max(hour, 1.0 / seen) * (x - level)
        if b != current:
            if samples > 0:
                bins[current] += max(1.0 / (days[current] + 1.0), 0.2) * (gathered / samples - bins[current])
                days[current] += 1
            current, gathered, samples = b, 0.0, 0
        gathered += x
        samples += 1


@dataclass(frozen=True, slots=True)
class Sketch:
    """The vote as a detector. threshold: in tracked deviations."""

    threshold: float = 5.0

    def __call__(self, times_s: Floats, values: Floats, kind: str, interval_s: float) -> Scored:
        """Score one series; a counter is taken as differences."""
        x = np.maximum(np.diff(values, prepend=values[:1]), 0.0) if kind == "counter" else values
        z, expected, scale = np.zeros(len(x)), np.zeros(len(x)), np.zeros(len(x))
        alert = np.zeros(len(x), np.bool_)
        _vote(times_s, np.ascontiguousarray(x), interval_s, self.threshold, z, expected, scale, alert)
        return Scored(
            times_s=times_s, values=values, expected=expected, lower=expected - self.threshold * scale,
            upper=expected + self.threshold * scale, score=z, alert=alert, extra=np.zeros(len(x), np.bool_),
            p_value=None, reasons=[],
        )  # fmt: skip
