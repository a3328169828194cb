"""The NAB score with its three profiles.

Source: Lavin and Ahmad, "Evaluating Real-time Anomaly Detection Algorithms", ICMLA 2015, in the reading of the
benchmark's published results: positions are counted in rows, a window counts once and most at its beginning, every
detection outside a window costs. A file's first 15 % (at most 750 rows) are not scored.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Profile:
    """Weights of a window found, a detection outside, and a window missed."""

    found: float
    false: float
    missed: float


PROFILES = {
    "standard": Profile(1.0, 0.11, 1.0),
    "low_fp": Profile(1.0, 0.22, 1.0),
    "low_fn": Profile(1.0, 0.11, 2.0),
}


@dataclass(slots=True)
class FileScores:
    """One file: raw score of every row, and the first and last row of each window, in order."""

    score: Floats
    windows: Sequence[tuple[int, int]]


def _sigmoid(position: float) -> float:
    return -1.0 if position >= 3.0 else 2.0 / (1.0 + math.exp(5.0 * position)) - 1.0


_BEST = _sigmoid(-1.0)


def row_gains(rows: int, windows: Sequence[tuple[int, int]]) -> tuple[Floats, NDArray[np.int64]]:
    """Unweighted gain of a detection in each row (positive in a window, negative outside), and its window or -1.

    Rows of the probation have window -2.
    """
    gain = np.full(rows, -1.0)
    window_of = np.full(rows, -1, np.int64)
    for w, (first, last) in enumerate(windows):
        width = last - first + 1
        for i in range(first, last + 1):
            gain[i] = _sigmoid(-(last - i + 1) / width) / _BEST
            window_of[i] = w
        until = windows[w + 1][0] if w + 1 < len(windows) else rows
        for i in range(last + 1, until):
            gain[i] = _sigmoid((i - last) / (width - 1)) if width > 1 else -1.0
    window_of[: min(int(0.15 * rows), 750)] = -2
    return gain, window_of


def file_score(file: FileScores, threshold: float, profile: Profile) -> float:
    """Score of one file at a threshold, as the benchmark's result files print it."""
    gain, window_of = row_gains(len(file.score), file.windows)
    hit = file.score >= threshold
    total = float(profile.false * gain[hit & (window_of == -1)].sum())
    for w in np.unique(window_of[window_of >= 0]):
        rows = hit & (window_of == w)
        total += max(profile.found * float(gain[rows].max()), -profile.missed) if rows.any() else -profile.missed
    return total


def normalised(score: float, windows: int, profile: Profile) -> float:
    """On the scale where a detector that never speaks has 0 and a perfect one 100."""
    worst, best = -profile.missed * windows, profile.found * windows
    return 100.0 * (score - worst) / (best - worst)


def corpus_score(files: Sequence[FileScores], threshold: float, profile: Profile) -> float:
    """Normalised score of a corpus at one threshold."""
    total = sum(file_score(file, threshold, profile) for file in files)
    return normalised(total, sum(len(file.windows) for file in files), profile)


def best_score(files: Sequence[FileScores], profile: Profile) -> tuple[float, float]:
    """Normalised score at the threshold that is best on these very files (the benchmark's own rule), and it."""
    scores, deltas = [], []
    floor = 0.0
    for file in files:
        gain, window_of = row_gains(len(file.score), file.windows)
        outside = window_of == -1
        scores.append(file.score[outside])
        deltas.append(profile.false * gain[outside])
        for w in np.unique(window_of[window_of >= 0]):
            rows = np.flatnonzero(window_of == w)
            rows = rows[np.argsort(-file.score[rows], kind="stable")]
            reached = np.maximum.accumulate(np.maximum(profile.found * gain[rows], -profile.missed))
            scores.append(file.score[rows])
            deltas.append(np.diff(reached, prepend=-profile.missed))
            floor -= profile.missed
    flat_scores, flat_deltas = np.concatenate(scores), np.concatenate(deltas)
    order = np.argsort(-flat_scores, kind="stable")
    ordered = flat_scores[order]
    totals = floor + np.cumsum(flat_deltas[order])
    last_of_tie = np.append(ordered[1:] != ordered[:-1], True)
    windows = sum(len(file.windows) for file in files)
    k = int(np.argmax(np.where(last_of_tie, totals, -np.inf)))
    if totals[k] < floor:
        return normalised(floor, windows, profile), math.inf
    return normalised(float(totals[k]), windows, profile), float(ordered[k])


def window_rows(times_s: Floats, windows: Sequence[tuple[float, float]]) -> list[tuple[int, int]]:
    """Rows at which windows given as times begin and end."""
    out = []
    for start, end in windows:
        first, last = int(np.argmax(times_s == start)), int(np.argmax(times_s == end))
        if times_s[first] != start or times_s[last] != end:
            raise ValueError("a window begins or ends at a time that is not in the file")
        out.append((first, last))
    return out
