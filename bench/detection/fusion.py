"""One score for many series of one machine, for the figures of multivariate sets.

A score says how far its series is from what is usual by a measure that is the same for all series; how often a series
comes so far of its own accord differs. So each series' score is raised by how rare it is among that series' scores of
the time before the judged rows (the half that published multivariate detectors are trained on; no label is read), a
fifth for each power of ten, and the five highest of the machine are averaged: few series show a fault, one alone is
often noise. Where all rows are judged, the scores up to then are the time before.
"""

from __future__ import annotations

import math

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
HIGHEST = 5
RARITY = 0.2
"""What a power of ten in rarity adds to a score."""
_CELLS = 1024


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def rarity_of(score: Floats, known: int) -> Floats:
    """-log10 of the share of a series' former scores that were as high, told apart to a thousandth.

    score: float64[n], 0 … 1. known: rows that are compared with; 0: for every row all up to it.
    """
    out = np.empty(len(score))
    # A Fenwick tree of how many former scores lie in each thousandth.
    tree = np.zeros(_CELLS + 1, np.int64)
    seen = 0
    for i in range(len(score)):
        cell = min(max(int(score[i] * 1000.0), 0), _CELLS - 1)
        below, k = 0, cell
        while k > 0:
            below += tree[k]
            k -= k & -k
        out[i] = -math.log10((seen - below + 1) / (seen + 1))
        if known == 0 or i < known:
            seen += 1
            k = cell + 1
            while k <= _CELLS:
                tree[k] += 1
                k += k & -k
    return out


def fuse(scores: Floats, known: int) -> dict[str, Floats]:
    """The machine's score, float64[rows], by the name of the way it is made. scores: float64[series, rows]."""
    ordered = np.sort(scores, axis=0)[::-1]
    rare = np.array([rarity_of(score, known) for score in scores])
    raised = np.sort(scores + RARITY * rare, axis=0)[::-1]
    return {
        "max": ordered[0],
        "top5": ordered[:HIGHEST].mean(axis=0),
        "mean": ordered.mean(axis=0),
        "raised": raised[:HIGHEST].mean(axis=0),
    }
