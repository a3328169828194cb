"""The score where samples are far apart: against its slow twin, and what it promises of whole series."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.baseline.offline import OfflineResult, run_series
from kernels.novelty import show_novelty
from kernels.rarity import chance_of
from kernels.series_state import CHANGED, OPENED, STATE
from tests.reference.baseline_twin import NoveltyTwin

START_S = 1_699_833_600.0

# Steps of 1/64, so that no sum lies a rounding error beside a hundredth.
_EXACT = st.integers(-640, 640).map(lambda k: k / 64.0)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(_EXACT, _EXACT, st.booleans()), min_size=1, max_size=60), st.sampled_from([10, 100]))
def test_what_is_shown_agrees_with_its_twin(samples: list[tuple[float, float, bool]], hours: int) -> None:
    state = np.zeros(1, STATE)[0]
    state["hours"], state["interval"] = hours, 300.0
    state["peak_mean"], state["peak_top"] = 1.0, 2.0
    twin = NoveltyTwin()
    out = np.zeros(1)
    for z, odds, alerts in samples:
        before = 0.6 if alerts else 0.1
        out[0] = before
        show_novelty(state, z, odds, out, 0)
        want = twin.shown(chance_of(state, z), odds, alerts)
        assert out[0] == pytest.approx(before if want is None else want, abs=1e-6)
        # The kernel and the twin may floor a hundredth apart.
        assert abs(state["novel"] - 100.0 * twin.demanded) <= 1.0 + 1e-6
        state["novel"] = round(100.0 * twin.demanded)


def _coarse(step_s: float, *, jumps: tuple[int, ...] = (), length: int = 1, by: float = 30.0) -> OfflineResult:
    rng = np.random.default_rng(5)
    n = 4000
    values = 100.0 + rng.normal(size=n)
    for at in jumps:
        values[at : at + length] += by
    return run_series(START_S + step_s * np.arange(n), values)


@pytest.mark.parametrize("step_s", [300.0, 3600.0])
def test_one_half_is_reached_where_an_alert_opens_or_grows_and_nowhere_else(step_s: float) -> None:
    result = _coarse(step_s, jumps=(2000, 2600, 3200), length=12)
    changed = result.transitions[np.isin(result.transitions["kind"], (OPENED, CHANGED))]
    rows = set(changed["row"].tolist())
    assert (changed["kind"] == OPENED).any()
    assert rows == set(np.flatnonzero(result.score >= 0.5).tolist())
    assert {2000, 2600, 3200} & rows


def test_the_score_of_a_lasting_change_is_highest_at_its_beginning() -> None:
    result = _coarse(300.0, jumps=(3000,), length=40)
    during = result.score[3000:3040]
    assert int(np.argmax(during)) <= 2
    assert (during[5:] < 0.25).mean() > 0.9


def test_what_comes_again_soon_is_shown_lower_and_after_a_rest_as_before() -> None:
    state = np.zeros(1, STATE)[0]
    state["hours"], state["interval"] = 100, 300.0
    state["peak_mean"], state["peak_top"] = 1.0, 2.0

    def shown(z: float) -> float:
        out = np.full(1, 0.1)
        show_novelty(state, z, -30.0, out, 0)
        return float(out[0])

    first = shown(20.0)
    assert first > 0.25
    assert shown(20.0) == 0.1
    for _ in range(60):
        shown(0.5)
    assert shown(20.0) == first
