"""The detector's steps against their twins."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.baseline.settings import DetectionSettings, parameters
from kernels import series_state as state
from kernels.ewma import share
from kernels.seasonal import learn_season, season_of
from kernels.series_state import STATE
from kernels.staleness import learn_silence, silence_limit_ms
from kernels.tail import expected_rate, gap_at, learn_gap
from tests.reference.baseline_twin import SeasonTwin, discounted_share, gap_height


@settings(deadline=None)
@given(seconds=st.floats(1e-3, 1e4), half_life=st.floats(1.0, 1e6))
def test_share_stays_near_the_exact_weight(seconds: float, half_life: float) -> None:
    got, exact = share(seconds, half_life), discounted_share(seconds, half_life)
    assert 0 < got < 1
    assert got <= exact + 1e-12
    assert got >= exact * (1 - 0.35 * seconds / half_life - 1e-5)


@settings(max_examples=20, deadline=None)
@given(
    offset=st.integers(0, 86_400_000),
    amplitude=st.floats(1e-3, 1e6),
    seed=st.integers(0, 1000),
)
def test_season_agrees_with_its_twin(offset: int, amplitude: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    record = np.zeros(1, STATE)
    record[0]["interval"] = 300.0
    start = 1_700_000_000_000 + offset
    record[0]["cell_now"] = start // 600_000 % 144
    twin = SeasonTwin()
    for step_number in range(3 * 288):
        time = start + step_number * 300_000
        value = amplitude * (np.sin(time / 86_400_000 * 2 * np.pi) + 0.1 * rng.normal())
        learn_season(record[0], time, value)
        twin.learn(time, value)
    got = record[0]["cells"] * float(record[0]["unit"])
    # A cell is rounded to the unit each time it moves.
    assert np.abs(got - np.array(twin.cells)).max() <= 4 * float(record[0]["unit"])
    assert list(record[0]["seen"]) == twin.days
    known = [cell for cell in range(1, 143) if twin.days[cell // 8] and twin.days[(cell + 1) // 8]]
    middle = 1_700_006_400_000 - 1_700_006_400_000 % 86_400_000 + known[0] * 600_000 + 300_000
    assert season_of(record[0], middle) == pytest.approx(got[known[0]], rel=1e-6, abs=1e-12)


@settings(deadline=None)
@given(
    gaps=st.lists(st.floats(0.0, 6.0), max_size=30),
    days=st.floats(0, 60),
    rate=st.floats(1e-4, 1.0),
)
def test_gap_height_agrees_with_its_twin(gaps: list[float], days: float, rate: float) -> None:
    record, p = np.zeros(1, STATE), parameters(DetectionSettings())
    record[0]["known_days"] = days
    for gap in gaps:
        learn_gap(record[0], gap, p)
    floor, usual, excess = p[state.P_PRIOR + 3 * state.S_SILENCE : state.P_PRIOR + 3 * state.S_SILENCE + 3]
    expected = gap_height(gaps, days, rate, floor, usual, excess)
    assert gap_at(record[0], rate, p) == pytest.approx(expected, rel=1e-4)


def test_rate_falls_with_height() -> None:
    p = parameters(DetectionSettings())
    heights = np.linspace(2, 8, 13)
    rates = [expected_rate(state.S_RUN, float(h), p) for h in heights]
    assert all(a > b > 0 for a, b in pairwise(rates))


def test_silence_is_longer_for_a_series_with_gaps() -> None:
    p = parameters(DetectionSettings())
    records = np.zeros(2, STATE)
    records["interval"] = 60.0
    records["known_days"] = 5.0
    for _ in range(20):
        learn_gap(records[1], 3.0, p)
    learn_silence(records[1], p)
    steady, gappy = silence_limit_ms(records[0], p), silence_limit_ms(records[1], p)
    assert 3 * 60_000 < steady < 4 * 60_000
    assert gappy > 8 * 60_000
