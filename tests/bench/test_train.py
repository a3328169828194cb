"""What the pattern model may be trained on."""

from __future__ import annotations

import pytest

from bench.detection.train import PASSES, trainable


def test_the_sets_that_are_trained_on_allow_it() -> None:
    assert trainable(PASSES) == list(PASSES)


@pytest.mark.parametrize("name", ["wsd", "aiops_kpi", "skab", "ett"])
def test_a_set_whose_licence_does_not_allow_training_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        trainable([*PASSES, name])
