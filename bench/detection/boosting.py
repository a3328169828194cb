"""Gradient boosting of small trees with the same question on every path of a level, on the logistic loss.

Friedman, "Greedy function approximation" (2001), with second-order leaves and histograms of at most 48 bins a feature.
Each tree looks at half of the candidates and half of the features (Friedman, "Stochastic gradient boosting", 2002),
which takes a quarter of the time; its leaves are those of all candidates.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

import numba
import numpy as np
from numpy.typing import NDArray

from kernels.pattern import DEPTH, LEAVES

Floats = NDArray[np.float64]
BINS = 48
RATE = 0.12
RIDGE = 8.0


@dataclass(slots=True)
class Boosting:
    """bias; per tree: features int[DEPTH], thresholds float[DEPTH], leaves float[LEAVES]. gains: by feature."""

    bias: float
    features: list[NDArray[np.int64]] = field(default_factory=list)
    thresholds: list[Floats] = field(default_factory=list)
    leaves: list[Floats] = field(default_factory=list)
    gains: Floats = field(default_factory=lambda: np.zeros(0))
    best: int = 0
    loss: float = float("nan")
    constant_loss: float = float("nan")


@numba.njit(cache=True)  # type: ignore[untyped-decorator]
def _histograms(
    binned: NDArray[np.uint8], rows: NDArray[np.int64], asked: NDArray[np.int64], leaf: NDArray[np.uint8], g: Floats,
    h: Floats, leaves: int,
) -> tuple[Floats, Floats]:  # fmt: skip
    sums, weights = np.zeros((len(asked), leaves, BINS)), np.zeros((len(asked), leaves, BINS))
    for q in range(len(asked)):
        j = asked[q]
        for i in rows:
            sums[q, leaf[i], binned[j, i]] += g[i]
            weights[q, leaf[i], binned[j, i]] += h[i]
    return sums, weights


def _best_question(sums: Floats, weights: Floats, ridge: float) -> tuple[int, int, float]:
    """(feature, last bin of the lower side, gain)."""
    g, h = np.cumsum(sums, axis=2), np.cumsum(weights, axis=2)
    total_g, total_h = g[:, :, -1:], h[:, :, -1:]
    gain = g**2 / (h + ridge) + (total_g - g) ** 2 / (total_h - h + ridge) - total_g**2 / (total_h + ridge)
    by_bin = gain.sum(axis=1)[:, :-1]
    j, b = np.unravel_index(int(np.argmax(by_bin)), by_bin.shape)
    return int(j), int(b), float(by_bin[j, b])


def _loss(odds: Floats, fault: Floats, weight: Floats) -> float:
    return float((weight * (np.logaddexp(0.0, odds) - fault * odds)).sum() / weight.sum())


def _leaf_of(features: NDArray[np.float32], questions: NDArray[np.int64], thresholds: Floats) -> NDArray[np.int64]:
    leaf = np.zeros(len(features), np.int64)
    for k in range(DEPTH):
        leaf += (features[:, questions[k]] > thresholds[k]).astype(np.int64) << k
    return leaf


def fit(
    features: NDArray[np.float32], fault: NDArray[np.int8], weight: Floats, *, trees: int,
    watch: tuple[NDArray[np.float32], NDArray[np.int8], Floats] | None = None, start: Floats | None = None,
    ridge: float = RIDGE, unasked: Collection[int] = (),
) -> Boosting:  # fmt: skip
    """Fit so many trees. features: float32[n, k]; fault: 0 or 1; watch: candidates that say how many trees are best;
    start: log odds that another model gives already (the bias is 0 then); ridge: what is added to a leaf's curvature;
    unasked: columns of features that no question may be about.
    """
    y = fault.astype(np.float64)
    bias = 0.0
    if start is None:
        share = float((weight * y).sum() / weight.sum())
        bias = float(np.log(share / (1 - share)))
    model = Boosting(bias=bias, gains=np.zeros(features.shape[1]))
    edges = [
        np.unique(np.quantile(features[:, j], np.linspace(0, 1, BINS + 1)[1:-1]).astype(np.float32))
        for j in range(features.shape[1])
    ]
    binned = np.array(
        [np.searchsorted(edges[j], features[:, j], side="left") for j in range(features.shape[1])], np.uint8
    )
    odds = np.full(len(y), model.bias) if start is None else start.copy()
    watched = np.full(len(watch[1]), model.bias) if watch else np.zeros(0)
    if watch:
        model.constant_loss = model.loss = _loss(watched, watch[1].astype(np.float64), watch[2])
    rng = np.random.default_rng(len(y))
    askable = np.setdiff1d(np.arange(features.shape[1]), np.array(list(unasked), np.int64))
    for number in range(1, trees + 1):
        rows = np.flatnonzero(rng.random(len(y)) < 0.5)
        asked = np.sort(rng.permutation(askable)[: -(-len(askable) // 2)])
        chance = 1.0 / (1.0 + np.exp(-odds))
        g, h = weight * (y - chance), weight * chance * (1 - chance)
        leaf = np.zeros(len(y), np.uint8)
        questions, thresholds = np.zeros(DEPTH, np.int64), np.zeros(DEPTH)
        for k in range(DEPTH):
            sums, weights = _histograms(binned, rows, asked, leaf, g, h, 1 << k)
            q, b, gain = _best_question(sums, weights, ridge)
            j = int(asked[q])
            b = min(b, len(edges[j]) - 1)
            questions[k], thresholds[k] = j, float(edges[j][b])
            model.gains[j] += gain
            leaf += ((binned[j] > b).astype(np.uint8)) << np.uint8(k)
        leaves = RATE * np.bincount(leaf, g, LEAVES) / (np.bincount(leaf, h, LEAVES) + ridge)
        odds += leaves[leaf]
        model.features.append(questions)
        model.thresholds.append(thresholds)
        model.leaves.append(leaves)
        if watch:
            watched += leaves[_leaf_of(watch[0], questions, thresholds)]
            loss = _loss(watched, watch[1].astype(np.float64), watch[2])
            if loss < model.loss:
                model.loss, model.best = loss, number
    return model
