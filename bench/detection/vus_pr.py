"""VUS-PR: the volume under the precision-recall surface over thresholds and label buffers.

Source: Paparrizos et al., "Volume Under the Surface", PVLDB 15 (2022), and the reading of it used by TSB-AD (Liu and
Paparrizos, NeurIPS 2024), whose published tables these figures stand beside. For every buffer w = 0 … W each labelled
range is widened by w // 2 samples on both sides with weights √(1 − d / w); at 250 thresholds, taken at equal ranks of
the score, precision = TP / predicted and recall = min(TP / ((P + L) / 2), 1) · (ranges touched / ranges), where TP is
the weight of the predicted samples and L the labelled samples plus the predicted weight of the buffers; the average
precision of that curve is averaged over w. W is the length of the series' strongest period (autocorrelation).
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
THRESHOLDS = 250


def period_of(values: Floats) -> int:
    """Window of a series: lag of the highest local maximum of its autocorrelation among 3 … 303, else 125."""
    x = values[:20000].astype(np.float64)
    finite = np.isfinite(x)
    if finite.sum() < 10:
        return 125
    x = np.interp(np.arange(len(x)), np.flatnonzero(finite), x[finite])
    x = x - x.mean()
    size = 1 << (2 * len(x) - 1).bit_length()
    spectrum = np.fft.rfft(x, size)
    covariance = np.fft.irfft(spectrum * np.conj(spectrum), size)[: min(401, len(x))]
    if covariance[0] <= 0:
        return 125
    acf = (covariance / covariance[0])[3:]
    peaks = np.flatnonzero((acf[1:-1] > acf[:-2]) & (acf[1:-1] > acf[2:])) + 1
    if len(peaks) == 0:
        return 125
    best = int(peaks[np.argmax(acf[peaks])])
    return 125 if best < 3 or best > 300 else best + 3


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _surface(
    level: NDArray[np.int64], labels: NDArray[np.int8], predicted: Floats, starts: NDArray[np.int64],
    ends: NDArray[np.int64], window: int, core: Floats, levels: int,
) -> float:  # fmt: skip
    """Mean over w of the average precision. level[i]: first threshold index at which sample i is predicted."""
    n, events = len(level), len(starts)
    total_labels = 0.0
    for i in range(n):
        total_labels += labels[i]
    weight = np.zeros(n)
    # First threshold that touches each range, widened step by step.
    touched = np.empty(events, np.int64)
    for e in range(events):
        touched[e] = levels
        for i in range(starts[e], ends[e] + 1):
            touched[e] = min(touched[e], level[i])
    volume = 0.0
    for w in range(window + 1):
        half = w // 2
        buffer = np.zeros(levels)
        for e in range(events):
            if half > 0:
                if starts[e] - half >= 0:
                    touched[e] = min(touched[e], level[starts[e] - half])
                if ends[e] + half < n:
                    touched[e] = min(touched[e], level[ends[e] + half])
            for d in range(1, half + 1):
                add = np.sqrt(1.0 - d / w)
                if ends[e] + d < n:
                    weight[ends[e] + d] += add
                if starts[e] - d >= 0:
                    weight[starts[e] - d] += add
        # Each buffer sample counts once, with a weight of at most 1; taking it clears it for the next w.
        for e in range(events):
            for d in range(1, half + 1):
                for i in (ends[e] + d, starts[e] - d):
                    if 0 <= i < n and weight[i] > 0.0:
                        if labels[i] == 0:
                            buffer[level[i]] += min(weight[i], 1.0)
                        weight[i] = 0.0
        # Ranges whose buffers meet are one.
        first_touch = np.zeros(levels)
        ranges = 0
        best = levels
        for e in range(events):
            best = min(best, touched[e])
            if e == events - 1 or ends[e] + half < starts[e + 1] - half:
                ranges += 1
                if best < levels:
                    first_touch[best] += 1.0
                best = levels
        in_buffer, seen, previous, area = 0.0, 0.0, 0.0, 0.0
        for k in range(levels):
            in_buffer += buffer[k]
            seen += first_touch[k]
            tp = core[k] + in_buffer
            recall = min(tp / ((total_labels + total_labels + in_buffer) / 2.0), 1.0) * seen / ranges
            area += (recall - previous) * tp / predicted[k]
            previous = recall
        volume += area
    return volume / (window + 1)


def vus_pr(labels: NDArray[np.int8], score: Floats, window: int) -> float:
    """VUS-PR of one series. labels: int8[n], 1 abnormal; score: float64[n]; NaN without labelled samples."""
    labels = np.where(labels == 1, 1, 0).astype(np.int8)
    if not labels.any():
        return float("nan")
    descending = -np.sort(-score)
    thresholds = descending[np.linspace(0, len(score) - 1, THRESHOLDS).astype(np.int64)]
    level = np.searchsorted(-thresholds, -score, side="left").astype(np.int64)
    counts = np.bincount(level, minlength=THRESHOLDS + 1)[:THRESHOLDS]
    in_core = np.bincount(level[labels == 1], minlength=THRESHOLDS + 1)[:THRESHOLDS]
    edges = np.diff(labels, prepend=np.int8(0), append=np.int8(0))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    return float(
        _surface(level, labels, np.cumsum(counts).astype(np.float64), starts.astype(np.int64), ends.astype(np.int64),
                 int(window), np.cumsum(in_core).astype(np.float64), THRESHOLDS)
    )  # fmt: skip
