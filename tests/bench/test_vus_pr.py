"""VUS-PR against its slow twin, and at the values its definition fixes."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.detection.vus_pr import period_of, vus_pr
from tests.reference.vus_pr import vus_pr as slow_vus_pr


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(5, 60), st.integers(0, 12), st.booleans())
def test_agrees_with_the_slow_twin(seed: int, length: int, window: int, ties: bool) -> None:
    rng = np.random.default_rng(seed)
    labels = (rng.random(length) < 0.3).astype(np.int8)
    labels[rng.integers(length)] = 1
    score = rng.integers(0, 4, length).astype(np.float64) if ties else rng.random(length)
    assert vus_pr(labels, score, window) == pytest.approx(slow_vus_pr(labels, score, window), abs=1e-12)


def test_a_perfect_score_without_buffer_is_one() -> None:
    labels = np.zeros(1000, np.int8)
    labels[500:520] = 1
    assert vus_pr(labels, labels.astype(np.float64), 0) == pytest.approx(1.0)


def test_a_constant_score_earns_the_share_of_abnormal_samples() -> None:
    labels = np.zeros(1000, np.int8)
    labels[500:520] = 1
    assert vus_pr(labels, np.zeros(1000), 0) == pytest.approx(0.02)


def test_without_labels_there_is_no_figure() -> None:
    assert math.isnan(vus_pr(np.zeros(10, np.int8), np.arange(10.0), 3))


def test_period_is_the_strongest_lag() -> None:
    assert period_of(np.sin(np.arange(3000) * 2 * np.pi / 50)) == 50
    assert period_of(np.ones(100)) == 125
