"""Slow twin of bench.detection.vus_pr: the definition, sample by sample and threshold by threshold."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray


def _ranges(labels: list[int]) -> list[tuple[int, int]]:
    out, start = [], None
    for i, label in enumerate([*labels, 0]):
        if label and start is None:
            start = i
        if not label and start is not None:
            out.append((start, i - 1))
            start = None
    return out


def vus_pr(labels: NDArray[np.int8], score: NDArray[np.float64], window: int) -> float:
    """Volume under the precision-recall surface, buffers 0 … window."""
    n = len(score)
    core = [int(label == 1) for label in labels]
    ranges = _ranges(core)
    ordered = sorted((float(s) for s in score), reverse=True)
    thresholds = [ordered[int(i)] for i in np.linspace(0, n - 1, 250)]
    volumes = []
    for w in range(window + 1):
        half = w // 2
        weight = [float(c) for c in core]
        for first, last in ranges:
            for d in range(1, half + 1):
                if last + d < n:
                    weight[last + d] += math.sqrt(1 - d / w)
                if first - d >= 0:
                    weight[first - d] += math.sqrt(1 - d / w)
        weight = [min(x, 1.0) for x in weight]
        wide: list[tuple[int, int]] = []
        last_end = -1
        for first, last in ranges:
            a, b = max(first - half, 0), min(last + half, n - 1)
            # Buffers that meet make one range; clamped at the recording's ends.
            if wide and first - half <= last_end:
                wide[-1] = (wide[-1][0], b)
            else:
                wide.append((a, b))
            last_end = last + half
        area, before = 0.0, 0.0
        for threshold in thresholds:
            predicted = [float(s) >= threshold for s in score]
            tp = sum(weight[i] for i in range(n) if predicted[i])
            labelled = sum(1.0 if core[i] else (weight[i] if predicted[i] else 0.0) for i in range(n))
            touched = sum(any(predicted[a : b + 1]) for a, b in wide)
            recall = min(tp / ((sum(core) + labelled) / 2), 1.0) * touched / len(wide)
            area += (recall - before) * tp / sum(predicted)
            before = recall
        volumes.append(area)
    return sum(volumes) / len(volumes)
