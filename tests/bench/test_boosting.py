"""Boosted trees: they learn what is there to learn, and ask only what they may."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.detection.boosting import fit
from bench.detection.train import table_of
from kernels.pattern import TREE, weigh

Candidates = tuple[NDArray[np.float32], NDArray[np.int8], NDArray[np.float64]]
BOUND = 0.4


@pytest.fixture
def candidates() -> Candidates:
    """Eight columns of which the third alone says what is a fault, but for one in twenty."""
    rng = np.random.default_rng(5)
    features = rng.normal(size=(4000, 8)).astype(np.float32)
    fault = (features[:, 2] > BOUND) ^ (rng.random(4000) < 0.05)
    return features, fault.astype(np.int8), np.ones(4000)


def test_what_decides_is_asked_and_the_loss_falls(candidates: Candidates) -> None:
    features, fault, weight = candidates
    half = 2000
    model = fit(features[:half], fault[:half], weight[:half], trees=60,
                watch=(features[half:], fault[half:], weight[half:]))  # fmt: skip
    assert int(np.argmax(model.gains)) == 2
    # The entropy of one wrong label in twenty is 0.199.
    assert model.loss < 0.27 < 0.6 < model.constant_loss


def test_no_question_is_about_an_unasked_column(candidates: Candidates) -> None:
    features, fault, weight = candidates
    model = fit(features, fault, weight, trees=30, unasked=[2, 5])
    assert not {2, 5} & {int(j) for questions in model.features for j in questions}
    assert model.gains[[2, 5]].sum() == 0


def test_a_larger_ridge_makes_smaller_leaves(candidates: Candidates) -> None:
    features, fault, weight = candidates
    small, large = (fit(features, fault, weight, trees=1, ridge=ridge) for ridge in (1.0, 1000.0))
    assert np.abs(large.leaves[0]).max() < np.abs(small.leaves[0]).max()


def test_the_kernel_reads_the_table_as_the_model_means_it(candidates: Candidates) -> None:
    features, fault, weight = candidates
    model = fit(features, fault, weight, trees=40)
    table = table_of(model)
    assert len(table) == 2 + 40 * TREE
    for row in features[:50].astype(np.float64):
        expected = model.bias
        for questions, thresholds, leaves in zip(model.features, model.thresholds, model.leaves, strict=True):
            expected += leaves[
                sum(int(row[j] > t) << k for k, (j, t) in enumerate(zip(questions, thresholds, strict=True)))
            ]
        assert weigh(row, 0, table, 0, -np.inf) == pytest.approx(expected, rel=1e-12)
