"""The chance of a deviation: against its slow twin, and against what series with known tails really do."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.baseline.offline import run_series
from kernels.rarity import chance_of
from kernels.series_state import STATE
from tests.reference.baseline_twin import chance_twin

START_S = 1_699_833_600.0


@settings(max_examples=200, deadline=None)
@given(
    st.floats(-1e6, 1e6),
    st.floats(0.0, 6.0),
    st.floats(0.0, 6.0),
    st.sampled_from([1.0, 5.0, 15.0, 60.0, 300.0, 3600.0]),
    st.integers(0, 100),
)
def test_chance_agrees_with_its_twin(z: float, mean: float, above: float, interval: float, hours: int) -> None:
    state = np.zeros(1, STATE)[0]
    state["hours"], state["interval"] = hours, interval
    state["peak_mean"], state["peak_top"] = mean, mean + above
    side = 0 if z > 0 else 1
    expected = chance_twin(z, float(state["peak_mean"][side]), float(state["peak_top"][side]), interval, hours)
    found = chance_of(state, z)
    if math.isnan(expected):
        assert math.isnan(found)
    else:
        assert 0.0 <= found <= 1.0
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("tail", ["normal", "student"])
def test_of_a_series_with_noise_alone_as_many_samples_are_rare_as_said(tail: str) -> None:
    counts, scored = np.zeros(3), 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        n = 20_000
        noise = rng.normal(size=n) if tail == "normal" else rng.standard_t(3, size=n)
        chance = run_series(START_S + 60.0 * np.arange(n), 100.0 + noise).chance[3000:]
        chance = chance[np.isfinite(chance)]
        counts += [(chance <= level).sum() for level in (1e-1, 1e-2, 1e-3)]
        scored += len(chance)
    empirical = counts / scored
    # Thin tails are taken for thicker ones, never the other way round.
    assert 0.03 < empirical[0] < 0.2
    assert empirical[1] < 0.02
    assert empirical[2] < 0.003


def test_a_larger_deviation_is_never_more_likely() -> None:
    state = np.zeros(1, STATE)[0]
    state["hours"], state["interval"], state["peak_mean"], state["peak_top"] = 200, 60.0, 1.2, 2.0
    chances = [chance_of(state, z) for z in np.geomspace(0.01, 1000.0, 200)]
    assert all(a >= b for a, b in pairwise(chances))
    assert chances[0] > 0.9
    assert chances[-1] < 1e-6
