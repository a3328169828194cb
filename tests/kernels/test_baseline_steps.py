"""The detector's steps against their twins."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.baseline.parameters import parameters
from gateway.baseline.settings import DetectionSettings
from kernels import series_state as state
from kernels.evidence import FEATURES
from kernels.ewma import share
from kernels.exponential import natural_exp, natural_log
from kernels.habits import begin_habits, beyond_range, fold_day, note_range, note_recent, third_of_recent
from kernels.pattern import DEPTH, FIRST, LEAVES, TREE, second_table, weigh
from kernels.seasonal import learn_season, season_of
from kernels.series_state import STATE
from kernels.sparse import note_busy
from kernels.staleness import learn_silence, silence_limit_ms
from kernels.tail import gap_at, learn_gap
from tests.reference.baseline_twin import (
    SeasonTwin,
    awake,
    discounted_share,
    gap_height,
    silence_steps,
    third_largest,
    tree_odds,
)


@settings(deadline=None)
@given(seconds=st.floats(1e-3, 1e4), half_life=st.floats(1.0, 1e6))
def test_share_stays_near_the_exact_weight(seconds: float, half_life: float) -> None:
    got, exact = share(seconds, half_life), discounted_share(seconds, half_life)
    assert 0 < got < 1
    assert got <= exact + 1e-12
    assert got >= exact * (1 - 0.35 * seconds / half_life - 1e-5)


@settings(deadline=None)
@given(x=st.floats(min_value=2.3e-308, max_value=1.7e308))
def test_natural_log_agrees_with_the_library(x: float) -> None:
    assert natural_log(x) == pytest.approx(math.log(x), rel=5e-16, abs=5e-16)


@settings(deadline=None)
@given(x=st.floats(min_value=-1000, max_value=1000))
def test_natural_exp_agrees_with_the_library(x: float) -> None:
    assert natural_exp(x) == pytest.approx(math.exp(min(max(x, -690.0), 690.0)), rel=1e-15)


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
    record[0]["cell_now"] = start // 900_000 % 96
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
    known = [cell for cell in range(1, 95) if twin.days[cell // 8] and twin.days[(cell + 1) // 8]]
    middle = 1_700_006_400_000 - 1_700_006_400_000 % 86_400_000 + known[0] * 900_000 + 450_000
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
    floor, usual, excess = p[state.P_GAP_FLOOR], p[state.P_GAP_USUAL], p[state.P_GAP_EXCESS]
    expected = gap_height(gaps, days, rate, floor, usual, excess)
    assert gap_at(record[0], rate, p) == pytest.approx(expected, rel=1e-4)


@settings(deadline=None)
@given(deviations=st.lists(st.floats(-100, 100), min_size=1, max_size=12), side=st.sampled_from([1.0, -1.0]))
def test_third_of_recent_agrees_with_its_twin(deviations: list[float], side: float) -> None:
    record = np.zeros(1, STATE)
    for deviation in deviations:
        record[0]["count"] += 1
        note_recent(record[0], deviation)
    # Kept in sixteenths.
    assert third_of_recent(record[0], side) == pytest.approx(third_largest(deviations, side), abs=1 / 16)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1000), trees=st.integers(0, FIRST + 8))
def test_pattern_agrees_with_its_twin(seed: int, trees: int) -> None:
    rng = np.random.default_rng(seed)
    tables = []
    for count in (trees, 3):
        parts = [np.array([count, rng.normal()])]
        for _ in range(count):
            questions = np.column_stack([rng.integers(0, FEATURES, DEPTH), rng.normal(size=DEPTH)])
            parts += [questions.reshape(-1), rng.normal(size=LEAVES)]
        tables.append(np.concatenate(parts))
    features, table = rng.normal(size=FEATURES), np.concatenate(tables)
    first = tree_odds(list(features), list(tables[0]), DEPTH)
    assert weigh(features, 0, table, 0, -1e9) == pytest.approx(first)
    at = second_table(table, 0)
    assert at == len(tables[0])
    assert weigh(features, 0, table, at, -1e9) == pytest.approx(tree_odds(list(features), list(tables[1]), DEPTH))
    # What is hopeless after the first trees is not followed further.
    begun = tree_odds(list(features), list(tables[0]), DEPTH, only=FIRST)
    assert weigh(features, 0, table, 0, 1e9) == pytest.approx(begun)


def test_the_shipped_tables_ask_of_features_there_are() -> None:
    table = parameters(DetectionSettings())[state.P_MODEL :]
    at, tables = 0, 0
    while at < len(table):
        assert np.isfinite(table[at : at + 2]).all()
        count = int(table[at])
        assert count > 0
        trees = table[at + 2 : at + 2 + count * TREE].reshape(count, TREE)
        questions = trees[:, : 2 * DEPTH : 2]
        assert ((questions >= 0) & (questions < FEATURES) & (questions == np.round(questions))).all()
        at = second_table(table, at)
        tables += 1
    assert (at, tables) == (len(table), 2)


def test_a_range_is_that_of_pairs_and_moves_on_with_the_days() -> None:
    record = np.zeros(1, STATE)[0]
    day = 1_700_006_400_000
    begin_habits(record, day, 100.0)
    values = [100.0, 101.0, 500.0, 100.0, 99.0, 98.0]
    for value, previous in zip(values[1:], values, strict=False):
        note_range(record, value, previous, False)
    # The single 500 is no range; nor is what a run that lasts does.
    assert beyond_range(record, 103.0, 1.0, False) == pytest.approx(2.0)
    note_range(record, 300.0, 300.0, True)
    assert beyond_range(record, 103.0, 1.0, False) == pytest.approx(2.0)
    note_range(record, 98.0, 300.0, False)
    assert beyond_range(record, 303.0, 1.0, False) == pytest.approx(3.0)
    fold_day(record, day // 1000 + 86400)
    assert beyond_range(record, 303.0, 1.0, False) == pytest.approx(3.0)
    fold_day(record, day // 1000 + 2 * 86400)
    assert beyond_range(record, 303.0, 1.0, False) > 100.0
    assert beyond_range(record, 303.0, 1.0, True) < beyond_range(record, 303.0, 1.0, False)


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


@settings(deadline=None)
@given(hole=st.floats(0.0, 240.0), gaps=st.lists(st.floats(0.5, 6.0), max_size=5))
def test_silence_agrees_with_its_twin(hole: float, gaps: list[float]) -> None:
    p = parameters(DetectionSettings())
    record = np.zeros(1, STATE)[0]
    record["interval"], record["longest_hole"], record["known_days"] = 60.0, hole, 10.0
    for gap in gaps:
        learn_gap(record, gap, p)
    learn_silence(record, p)
    own = 2.0 ** min(gap_at(record, p[state.P_GAP_RATE], p), 12.0)
    assert float(record["silence_steps"]) == pytest.approx(
        silence_steps(float(record["longest_hole"]), p[state.P_SILENCE], own), rel=1e-5
    )


@settings(deadline=None)
@given(values=st.lists(st.sampled_from([0.0, 1.0, 1.0, -2.5]), min_size=1, max_size=80), least=st.integers(3, 15))
def test_a_stretch_away_from_zero_agrees_with_its_twin(values: list[float], least: int) -> None:
    record = np.zeros(1, STATE)[0]
    for n, value in enumerate(values):
        assert note_busy(record, value, least) == awake(values[: n + 1], least)
