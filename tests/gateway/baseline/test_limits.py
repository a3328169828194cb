"""Time to a limit: the slope against its slow twin, leaks found in time, and what is no leak."""

from __future__ import annotations

import math
from itertools import combinations
from statistics import median
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.baseline.limits import LimitChange, LimitDetector, slopes
from kernels.series_state import CLOSED, OPENED

START = 1_700_006_400_000  # midnight
HOUR = 60


def slow_slope(values: list[float]) -> float:
    known = [(step, value) for step, value in enumerate(values) if not math.isnan(value)]
    pairs = sorted((b - a) / (j - i) for (i, a), (j, b) in combinations(known, 2))
    return pairs[round((len(pairs) - 1) / 2)] if len(known) >= 3 else math.nan


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(math.nan)), min_size=8, max_size=8), min_size=1, max_size=4
    )
)
def test_the_slope_is_the_median_of_all_pairs(rows: list[list[float]]) -> None:
    found = slopes(np.array(rows))
    for row, values in enumerate(rows):
        expected = slow_slope(values)
        assert found.middle[row] == pytest.approx(expected, nan_ok=True)
        if not math.isnan(expected):
            assert found.surely[row] <= found.at_least[row] <= found.middle[row] <= found.at_most[row]
            steps = [(v - expected * step) for step, v in enumerate(values) if not math.isnan(v)]
            assert found.level[row] == pytest.approx(median(steps) + expected * 7, rel=1e-6, abs=1e-3)


def test_bounds_hold_as_often_as_they_say() -> None:
    draw = np.random.default_rng(3)
    rows = 0.1 * np.arange(30) + draw.normal(0.0, 2.0, (600, 30))
    found = slopes(rows)
    assert 0.85 <= np.mean(found.at_most > 0.1) <= 0.96
    assert 0.85 <= np.mean(found.at_least < 0.1) <= 0.96
    flat = slopes(rows - 0.1 * np.arange(30))
    assert np.mean(flat.surely > 0.0) <= 0.004


class Case(NamedTuple):
    """A series in steps of a minute and its limit."""

    values: np.ndarray
    limit: float = 100.0
    falling: bool = False


def run(cases: dict[str, Case]) -> dict[str, list[LimitChange]]:
    """What is said of each, all beside each other in one detector, as it has them."""
    detector = LimitDetector()
    slots = np.array([detector.add(case.limit, falling=case.falling) for case in cases.values()])
    values = np.full((max(len(case.values) for case in cases.values()), len(cases)), np.nan)
    for column, case in enumerate(cases.values()):
        values[: len(case.values), column] = case.values
    found: dict[str, list[LimitChange]] = {name: [] for name in cases}
    names = dict(zip(slots.tolist(), cases, strict=True))
    for minute, row in enumerate(values):
        here = ~np.isnan(row)
        times = np.full(np.count_nonzero(here), START + minute * 60_000)
        for change in detector.observe(slots[here], times, row[here]):
            found[names[change.slot]].append(change)
    return found


def tides(days: float, seed: int = 5) -> np.ndarray:
    """Between 30 and 60 over the day, in steps of a minute."""
    minutes = np.arange(round(days * 24 * HOUR))
    return (
        45.0
        - 15.0 * np.cos(2 * np.pi * minutes / (24 * HOUR))
        + np.random.default_rng(seed).normal(0, 1.0, len(minutes))
    )


def leak(hours: int) -> np.ndarray:
    """A tide that is drawn to 100 within its last hours."""
    values = tides(1.75)
    begin = len(values) - hours * HOUR
    values[begin:] += np.linspace(0.0, 100.0 - values[begin], hours * HOUR)
    return values


def draining() -> np.ndarray:
    """Free space, of which two hours take most; then it is given back."""
    free = 500.0 + np.random.default_rng(2).normal(0.0, 1.0, 30 * HOUR)
    free[26 * HOUR : 28 * HOUR] -= np.linspace(0.0, 300.0, 2 * HOUR)
    return free


def tide_seen_from(hour: int) -> np.ndarray:
    """A tide whose first value is of that hour of the first day."""
    values = tides(1.75, seed=5 + hour)
    values[: hour * HOUR] = math.nan
    return values


def tide_seen_again_from(hour: int) -> np.ndarray:
    """A tide of two days that comes back at that hour after a day and more without values."""
    values = tides(5.75, seed=5 + hour)
    values[48 * HOUR : (96 + hour) * HOUR] = math.nan
    return values


@pytest.fixture(scope="module")
def said() -> dict[str, list[LimitChange]]:
    """Some days of several series."""
    return run(
        {
            "leak of 1 h": Case(leak(1)),
            "leak of 6 h": Case(leak(6)),
            "tide": Case(tides(2.5), limit=65.0),
            **{f"tide from {hour}:00": Case(tide_seen_from(hour), limit=65.0) for hour in (14, 20)},
            **{f"tide again from {hour}:00": Case(tide_seen_again_from(hour), limit=65.0) for hour in (18, 20, 23)},
            "noise": Case(np.random.default_rng(1).normal(90.0, 2.0, 10 * HOUR)),
            "level": Case(np.full(10 * HOUR, 99.9)),
            "draining": Case(draining(), 0.0, falling=True),
        }
    )


@pytest.mark.parametrize("hours", [1, 6])
def test_a_leak_is_found_with_half_of_its_time_left(said: dict[str, list[LimitChange]], hours: int) -> None:
    begin = round(1.75 * 24 * HOUR) - hours * HOUR
    (opened,) = [c for c in said[f"leak of {hours} h"] if c.kind == OPENED]
    after = (opened.opened_ms - START) / 60_000 - begin
    assert 0 < after <= hours * HOUR / 2
    assert opened.earliest_s <= opened.likely_s
    assert opened.earliest_s < 6 * 3600
    left = hours * HOUR - after
    assert opened.earliest_s / 60 <= left * 1.6, "the minutes before the leak still hold the slope down"


def test_tides_are_silent_and_so_is_noise(said: dict[str, list[LimitChange]]) -> None:
    assert said["tide"] == said["noise"] == said["level"] == []


@pytest.mark.parametrize("hour", [14, 20])
def test_a_first_day_is_a_day_long_whenever_it_begins(said: dict[str, list[LimitChange]], hour: int) -> None:
    assert said[f"tide from {hour}:00"] == []


@pytest.mark.parametrize("hour", [18, 20, 23])
def test_a_tide_that_was_away_for_more_than_a_day_is_silent(said: dict[str, list[LimitChange]], hour: int) -> None:
    assert said[f"tide again from {hour}:00"] == []


def test_what_runs_down_and_what_is_given_back(said: dict[str, list[LimitChange]]) -> None:
    found = said["draining"]
    assert [c.kind for c in found if c.kind in (OPENED, CLOSED)] == [OPENED, CLOSED]
    opened = found[0]
    assert opened.per_hour == pytest.approx(-150.0, rel=0.2)
    assert 26 * HOUR < (opened.opened_ms - START) / 60_000 <= 27 * HOUR
    assert (found[-1].time_ms - START) / 60_000 <= 28.8 * HOUR


def test_slots_are_used_again_and_a_dropped_one_ends_its_alert() -> None:
    detector = LimitDetector(capacity=1)
    one, two = detector.add(math.nan), detector.add(100.0)
    rows = np.array([one, two])
    changes: list[LimitChange] = []
    for minute in range(2 * HOUR):
        used = 50.0 + max(0, minute - HOUR) * 0.8
        changes += detector.observe(rows, np.full(2, START + minute * 60_000), np.array([used, used]))
    assert {c.slot for c in changes} == {two}, "without a limit there is nothing to say"
    ended = detector.drop(two)
    assert ended is not None
    assert ended.kind == CLOSED
    assert detector.drop(one) is None
    assert len(detector) == 0
    assert {detector.add(1.0), detector.add(1.0)} == {one, two}


def test_gaps_and_late_rows_are_taken_as_they_come() -> None:
    detector = LimitDetector()
    slot = np.array([detector.add(100.0)])
    for minute in (0, 1, 2, 50, 49, 51, 4000, 3999):
        assert detector.observe(slot, np.array([START + minute * 60_000]), np.array([math.nan])) == []
        assert detector.observe(slot, np.array([START + minute * 60_000]), np.array([10.0])) == []
