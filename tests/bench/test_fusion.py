"""How the scores of a machine's series become one: against counting by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.detection.fusion import fuse, rarity_of


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 1000), min_size=1, max_size=80), st.integers(0, 90))
def test_rarity_is_the_share_of_former_scores_as_high(thousandths: list[int], known: int) -> None:
    # In the middle of a thousandth, so that no rounding moves a score to the next one.
    score = (np.array(thousandths) + 0.5) / 1000.0
    found = rarity_of(score, known)
    for i, now in enumerate(score):
        past = score[: min(i, known) if known else i]
        assert found[i] == pytest.approx(-np.log10((np.sum(past >= now) + 1) / (len(past) + 1)))


def test_a_series_that_is_never_high_counts_for_more_than_one_that_often_is() -> None:
    rng = np.random.default_rng(2)
    quiet, restless = 0.05 * rng.random((5, 2000)), 0.45 * rng.random((5, 2000))
    quiet[:, 1500] = 0.3
    fused = fuse(np.concatenate([quiet, restless]), 1000)
    assert int(np.argmax(fused["raised"][1000:])) == 500
    assert fused["top5"][1500] < fused["top5"].max()
