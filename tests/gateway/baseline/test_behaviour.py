"""What is found, and what stays silent, at default settings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gateway.baseline.offline import OfflineResult, run_series
from gateway.baseline.settings import DetectionSettings
from kernels import series_state as state

START = 1_700_000_000.0
HOUR = 3600.0


def background(hours: float, step: float = 60.0, seed: int = 1) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """A daily wave between 80 and 120 with noise of 3."""
    times = START + np.arange(int(hours * HOUR / step)) * step
    rng = np.random.default_rng(seed)
    return times, 100 + 20 * np.sin(times / 86400 * 2 * np.pi) + 3 * rng.normal(size=len(times))


def opened(result: OfflineResult, begin: float, end: float) -> list[tuple[float, int, int]]:
    """(seconds after begin, reason, severity) of alerts that opened within [begin, end]."""
    rows = result.transitions[result.transitions["kind"] == state.OPENED]
    return [
        (row["time_ms"] / 1000 - begin, int(row["reason"]), int(row["severity"]))
        for row in rows
        if begin <= row["time_ms"] / 1000 <= end
    ]


@pytest.mark.parametrize("step", [5.0, 15.0, 60.0, 300.0])
def test_a_quiet_series_stays_silent(step: float) -> None:
    times, values = background(72 if step >= 60 else 30, step)
    assert len(run_series(times, values).transitions) == 0


@pytest.mark.parametrize("step", [5.0, 15.0, 60.0])
@pytest.mark.parametrize("age_hours", [0.5, 30])
def test_a_clear_shift_is_found_within_two_minutes(step: float, age_hours: float) -> None:
    times, values = background(age_hours + 0.5, step)
    begin = START + age_hours * HOUR
    values[times >= begin] *= 3
    found = opened(run_series(times, values), begin, begin + 1800)
    assert found
    assert found[0][0] <= 120


@pytest.mark.parametrize("step", [5.0, 10.0, 60.0])
def test_a_large_shift_after_a_day_of_past_is_told_within_three_samples(step: float) -> None:
    """A past in steps of a minute, and live samples that come more often."""
    times, values = background(26, step=60.0)
    begin = float(times[-1])
    live = begin + step * np.arange(1, 400)
    more = np.interp(live - 86400.0, times, values) + np.where(live > begin + 600, 400.0, 0.0)
    found = opened(run_series(np.concatenate([times, live]), np.concatenate([values, more])), begin + 600, begin + 1200)
    assert found
    assert found[0][0] <= max(3 * step, 45.0)


@pytest.mark.parametrize("hour", range(24))
def test_requests_that_take_five_times_as_long_are_told_within_a_minute_at_any_time_of_day(hour: int) -> None:
    """Their times summed, ten seconds a sample, in three first minutes of each hour."""
    for minute in (0, 1, 2):
        begin = START - START % 86400 + 86400 + hour * HOUR + minute * 60
        times = begin + 10.0 * np.arange(-8640, 12)
        rng = np.random.default_rng(hour)
        requests = rng.poisson(80.0 * (1.0 + 0.35 * np.cos((times / HOUR - 20.0) / 24.0 * 2.0 * np.pi)))
        slower = np.where(times >= begin, 5.0, 1.0)
        sums = slower * np.array([0.09 * np.exp(0.45 * rng.standard_normal(n)).sum() for n in requests])
        found = opened(run_series(times, np.cumsum(sums), kind="counter"), begin, begin + 120)
        assert found
        assert found[0][0] <= 60


@pytest.mark.parametrize("step", [10.0, 60.0])
@pytest.mark.parametrize("age_hours", [30, 72])
def test_one_value_far_outside_all_that_its_series_has_shown_is_told(step: float, age_hours: int) -> None:
    for seed in range(6):
        for beyond in (100.0, 300.0, 1000.0):
            times, values = background(age_hours + 0.5, step, seed)
            at = int(np.searchsorted(times, START + age_hours * HOUR))
            values[at] += beyond
            found = opened(run_series(times, values), float(times[at]), float(times[at]))
            assert len(found) == 1, (seed, beyond)


def test_a_single_value_of_a_series_whose_values_are_often_far_away_is_not_critical() -> None:
    """A mean of fifty latencies with a heavy tail (Pareto, 1.5), three days of it."""
    times = START + np.arange(0.0, 72 * HOUR, 10.0)
    for seed in range(4):
        values = np.random.default_rng(seed).pareto(1.5, (len(times), 50)).mean(axis=1)
        assert run_series(times, values).severity.max() < 4


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_errors_that_were_one_in_twenty_seconds_and_are_many_are_told_within_eight_samples(seed: int) -> None:
    """A sparse count, as errors are: silent while it counts what is usual, told when it is twenty times that."""
    times = START + np.arange(0.0, 30 * HOUR, 10.0)
    rng = np.random.default_rng(seed)
    begin = START + 28 * HOUR
    bursting = (times >= begin) & (times < begin + 120)
    values = rng.poisson(np.where(bursting, 15.0, 0.6)) / 10.0
    result = run_series(times, values)
    found = opened(result, begin, begin + 120)
    assert found
    assert found[0][0] <= 80
    assert opened(result, START, begin - 10) == []


@pytest.mark.parametrize("seed", range(12))
def test_an_error_burst_is_told_within_a_minute_also_when_there_are_few_requests(seed: int) -> None:
    """One error in a hundred requests becomes one in three, at seven in the morning."""
    begin = START - START % 86400 + 86400 + 7 * HOUR + 300
    times = begin + 10.0 * np.arange(-8640, 12)
    rng = np.random.default_rng((7, seed))
    requests = rng.poisson(70.0 * (1.0 + 0.35 * np.cos((times / HOUR - 20.0) / 24.0 * 2.0 * np.pi)))
    errors = rng.binomial(requests, np.where(times > begin, 0.36, 0.01))
    found = opened(run_series(times, np.cumsum(errors).astype(float), kind="counter"), begin, begin + 120)
    assert found
    assert found[0][0] <= 60


@pytest.mark.parametrize("step", [60.0, 3600.0])
def test_what_is_zero_nearly_always_and_is_not_for_a_while_is_told(step: float) -> None:
    """Now and then a single high value; then low ones that stay."""
    times = START + step * np.arange(2000)
    values = np.where(np.arange(2000) % 97 == 5, 15.0, 0.0)
    values[1900:1908] = 1.0
    result = run_series(times, values)
    assert [reason for _, reason, _ in opened(result, times[1900], times[1910])] == [state.SUSTAINED]
    assert opened(result, times[1900], times[1902])
    # Where it has been so for as long before, it is nothing new.
    values[1700:1708] = 1.0
    again = run_series(times, values)
    assert opened(again, times[1700], times[1710])
    assert not opened(again, times[1900], times[1910])


def test_one_lasting_shift_is_one_alert_that_resolves_as_adopted() -> None:
    times, values = background(40)
    begin = START + 36 * HOUR
    values[times >= begin] += 60
    result = run_series(times, values)
    local = [f for f in opened(result, begin, begin + 4 * HOUR) if f[1] in (state.SPIKE, state.SUSTAINED)]
    assert len(local) == 1
    closed = result.transitions[result.transitions["kind"] == state.CLOSED]
    assert state.ADOPTED in closed["closing"]


def test_severity_rises_while_a_clear_fault_lasts() -> None:
    times, values = background(31)
    begin = START + 30 * HOUR
    values[times >= begin] *= 4
    assert run_series(times, values).severity.max() == 4


def test_zero_is_found_at_once() -> None:
    times, values = background(31)
    begin = START + 30 * HOUR
    values[(times >= begin) & (times < begin + 1200)] = 0
    result = run_series(times, values)
    assert opened(result, begin, begin + 120)
    assert result.alert[-1] == 0


def hourly(days: float, seed: int = 1) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Counts of an hour, between a few at night and hundreds at noon, never zero."""
    times = START + np.arange(int(days * 24)) * HOUR
    rng = np.random.default_rng(seed)
    level = 150 + 140 * np.sin(times / 86400 * 2 * np.pi)
    return times, np.maximum(np.round(level * np.exp(0.05 * rng.normal(size=len(times)))), 1.0)


def test_zeros_of_an_hourly_series_that_is_never_zero_are_found_also_at_night() -> None:
    for at in (70, 82):
        times, values = hourly(6)
        values[at : at + 6] = 0
        result = run_series(times, values)
        assert state.ZERO in [reason for _, reason, _ in opened(result, times[at], times[at + 5])]
        assert result.alert[at + 7] == 0, "over with the first value that is not zero, however far the level has moved"


def test_a_series_that_becomes_zero_for_good_is_one_alert_that_ends() -> None:
    times, values = background(60)
    values[times >= START + 30 * HOUR] = 0
    result = run_series(times, values)
    assert len([f for f in opened(result, START, times[-1]) if f[1] == state.ZERO]) <= 1
    assert result.alert[-1] == 0


def test_a_new_level_of_an_hourly_series_is_adopted_after_two_samples() -> None:
    times, values = hourly(10)
    values[200:] += 10 * (values.max() - values.min())
    alert = run_series(times, values).alert
    assert np.flatnonzero(alert).tolist() == [200, 201, 202], "the one that opened it, and two more"


def test_an_hourly_series_that_freezes_is_found_after_three_days_of_past() -> None:
    times, values = hourly(6)
    values[80:] = values[79]
    found = [reason for _, reason, _ in opened(run_series(times, values), times[80], times[-1])]
    assert state.FLAT in found


@pytest.mark.parametrize("seed", range(1, 9))
def test_while_an_alert_is_open_a_score_is_the_highest_so_far_or_where_its_severity_begins(seed: int) -> None:
    times, values = background(31, seed=seed)
    begin = START + 30 * HOUR
    values[(times >= begin) & (times < begin + 900)] *= 3
    result = run_series(times, values)
    score = result.score[np.flatnonzero(result.alert)].astype(np.float64)
    so_far = np.concatenate([[0.0], np.maximum.accumulate(score)[:-1]])
    above_severity = score - np.select([score >= 0.9, score >= 0.7], [0.9, 0.7], 0.5)
    assert score.min() >= 0.5
    assert ((score > so_far - 1e-6) | (above_severity <= 0.005)).all()
    assert (score >= 0.9).mean() > 0.5
    assert ((score >= 0.9) & (score < 0.91)).any(), "a critical alert that only goes on"


def test_a_level_that_was_adopted_is_not_told_again_by_the_pattern_of_days() -> None:
    times, values = background(80)
    begin = START + 60 * HOUR
    values[times >= begin] += 60
    found = opened(run_series(times, values), begin, begin + 12 * HOUR)
    assert len(found) == 1


def test_a_value_that_freezes_is_found() -> None:
    times, values = background(34)
    begin = START + 30 * HOUR
    values[times >= begin] = values[times < begin][-1]
    assert state.FLAT in [reason for _, reason, _ in opened(run_series(times, values), begin, begin + 1800)]


def test_a_series_that_stops_is_found_within_three_intervals() -> None:
    times, values = background(31)
    gone = (times > START + 30 * HOUR) & (times < START + 30.5 * HOUR)
    last = times[~gone & (times <= START + 30 * HOUR)][-1]
    result = run_series(times[~gone], values[~gone])
    assert result.extra.sum() == 1
    row = int(np.flatnonzero(result.extra)[0])
    assert np.isnan(result.values[row])
    assert 180 < result.times_s[row] - last <= 240
    assert result.alert[row] == 1
    assert result.alert[row + 1] == 0


def test_leaks_are_mostly_found_before_half_of_them_is_over() -> None:
    """Over eight noises, because the odds come to their limit about then: one noise says little."""
    first = []
    for seed in range(1, 9):
        times, values = background(60, seed=seed)
        begin = START + 54 * HOUR
        values += np.where(times >= begin, (times - begin) / (6 * HOUR) * 150, 0)
        found = opened(run_series(times, values), begin, begin + 6 * HOUR)
        assert found
        first.append(found[0][0])
    assert np.median(first) < 3 * HOUR
    assert max(first) < 3.5 * HOUR


def test_nothing_before_the_warm_up_is_over() -> None:
    times, values = background(1, 15.0)
    values[(times > START + 200) & (times < START + 500)] *= 10
    result = run_series(times, values)
    assert result.score[times < START + 600].max() == 0
    assert not opened(result, START, START + 599)


def test_a_counter_reset_and_one_late_scrape_stay_silent() -> None:
    times, values = background(30)
    total = np.cumsum(np.abs(values))
    total[times >= START + 20 * HOUR] -= total[times >= START + 20 * HOUR][0] - 1
    keep = np.ones(len(times), bool)
    keep[1500] = False
    assert len(run_series(times[keep], total[keep], kind="counter").transitions) == 0


def test_late_and_repeated_points_are_counted_not_scored() -> None:
    times, values = background(5)
    order = np.arange(len(times))
    order[[100, 101]] = order[[101, 100]]
    times = times[order].copy()
    times[200] = times[199]
    result = run_series(times, values[order])
    assert (result.late, result.repeated) == (1, 1)
    assert np.isnan(result.expected[[101, 200]]).all()


@settings(max_examples=8, deadline=None)
@given(exponent=st.integers(-12, 12), seed=st.integers(0, 50))
def test_the_unit_of_a_value_does_not_matter(exponent: int, seed: int) -> None:
    times, values = background(31, seed=seed)
    values[(times >= START + 30 * HOUR) & (times < START + 30.3 * HOUR)] += 40
    one, other = run_series(times, values), run_series(times, values * 2.0**exponent)
    np.testing.assert_array_equal(one.alert, other.alert)
    np.testing.assert_allclose(one.expected * 2.0**exponent, other.expected, rtol=1e-6)


def test_sensitivity_is_ordered() -> None:
    times, values = background(240)
    rng = np.random.default_rng(3)
    for begin in range(200, 240, 4):
        chosen = (times >= START + begin * HOUR) & (times < START + begin * HOUR + 600)
        values[chosen] += rng.uniform(10, 60)
    counts = [
        len(opened(run_series(times, values, settings=DetectionSettings(sensitivity=s)), START, times[-1]))
        for s in ("quiet", "balanced", "keen")
    ]
    assert counts[0] <= counts[1] <= counts[2]
    assert counts[2] > 0


def test_below_an_alert_the_score_orders_by_how_unusual_a_stretch_is() -> None:
    times, values = background(60)
    begin = START + 50 * HOUR
    bump = (times >= begin) & (times < begin + 600)
    values[bump] += 9.0
    result = run_series(times, values)
    given = ~result.extra
    later = result.times_s[given] > START + 30 * HOUR
    score = result.score[given]
    inside = np.flatnonzero(bump)[3:]
    assert score[inside].min() > np.quantile(score[later & ~bump], 0.9)
    assert (score[later & (result.alert[given] == 0)] < 0.5).all()
