"""Forecasts: a known season is found again, intervals hold what they promise, odd pasts give declared answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gateway.baseline.forecast import LEAST, MOST_STEPS, WEEK_S, forecast, on_grid, step_of
from gateway.errors import RequestError

HOUR = 3600.0
START = 1_700_006_400.0
Floats = NDArray[np.float64]


def daily(days: int, step_s: float, noise: float, seed: int = 1, slope: float = 0.0) -> tuple[Floats, Floats]:
    """A day's wave around 100 with noise."""
    times = START + np.arange(0.0, days * 86400.0, step_s)
    rng = np.random.default_rng(seed)
    wave = 100.0 + 30.0 * np.sin(2 * np.pi * times / 86400.0) + slope * (times - START) / 86400.0
    return times, wave + rng.normal(0.0, noise, len(times))


def test_a_daily_wave_is_forecast_closer_than_the_day_before_and_within_its_noise() -> None:
    times, values = daily(14, 600.0, 5.0)
    found = forecast(times[: -6 * 6], values[: -6 * 6], horizon_s=6 * HOUR)
    truth = 100.0 + 30.0 * np.sin(2 * np.pi * found.times_s / 86400.0)
    assert found.step_s == 600.0
    assert found.times_s[0] == times[-6 * 6]
    assert np.abs(found.expected - truth).mean() < 3.0
    assert found.error < 0.85 * found.seasonal_naive_error
    assert abs(sum(found.parts.values()) - 1.0) < 1e-9


def test_a_weekend_is_known_after_some_weeks() -> None:
    times = START + np.arange(0.0, 35 * 86400.0, HOUR)
    weekend = (times // 86400.0).astype(int) % 7 < 2
    values = np.where(weekend, 10.0, 100.0) + np.random.default_rng(2).normal(0.0, 2.0, len(times))
    cut = 28 * 24
    found = forecast(times[:cut], values[:cut], horizon_s=WEEK_S)
    assert np.abs(found.expected - np.where(weekend[cut : cut + 168], 10.0, 100.0)).mean() < 5.0


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_intervals_hold_about_the_share_that_they_promise(level: float) -> None:
    inside: list[float] = []
    for seed in range(40):
        times, values = daily(10, 1800.0, 4.0, seed)
        ahead = 24
        found = forecast(times[:-ahead], values[:-ahead], horizon_s=12 * HOUR, level=level)
        held = (values[-ahead:] >= found.lower) & (values[-ahead:] <= found.upper)
        inside.append(float(held.mean()))
    assert level - 0.1 < np.mean(inside) < min(level + 0.15, 0.995)


def test_intervals_widen_with_the_distance_where_a_value_wanders() -> None:
    values = np.cumsum(np.random.default_rng(3).normal(size=2000))
    found = forecast(START + 60.0 * np.arange(2000.0), values, horizon_s=2 * HOUR)
    width = found.upper - found.lower
    assert (np.diff(width) >= -1e-9).all()
    assert width[-1] > 2.0 * width[0]


def test_a_constant_stays_what_it_is() -> None:
    found = forecast(START + 60.0 * np.arange(500.0), np.full(500, 7.0), horizon_s=HOUR)
    assert (found.expected == 7.0).all()
    assert (found.lower == 7.0).all()
    assert (found.upper == 7.0).all()


def test_holes_are_bridged_by_the_day_before_and_no_error_is_counted_in_them() -> None:
    times, values = daily(10, 600.0, 1.0)
    hole = (times > times[-1] - 86400.0) & (times < times[-1] - 6 * HOUR)
    found = forecast(times[~hole], values[~hole], horizon_s=6 * HOUR)
    truth = 100.0 + 30.0 * np.sin(2 * np.pi * found.times_s / 86400.0)
    assert np.abs(found.expected - truth).mean() < 3.0


def test_a_long_horizon_has_longer_steps() -> None:
    times, values = daily(10, 60.0, 1.0)
    found = forecast(times, values, horizon_s=3 * 86400.0)
    assert len(found.expected) <= MOST_STEPS
    assert found.step_s * len(found.expected) >= 3 * 86400.0


def test_too_little_past_is_refused_with_the_number_it_takes() -> None:
    with pytest.raises(RequestError, match=f"at least {LEAST}"):
        forecast(np.arange(3.0), np.arange(3.0), horizon_s=HOUR)
    with pytest.raises(RequestError, match="shorter horizon"):
        forecast(START + np.arange(100.0), np.arange(100.0), horizon_s=30 * 86400.0)


def test_the_grid_holds_means_and_names_holes() -> None:
    grid, last = on_grid(np.array([0.0, 30.0, 60.0, 200.0]), np.array([1.0, 3.0, 5.0, 9.0]), 60.0)
    assert last == 180.0
    np.testing.assert_array_equal(grid, [2.0, 5.0, np.nan, 9.0])
    assert step_of(np.array([0.0, 15.0, 30.0]), 60.0) == 15.0


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.floats(-1e12, 1e12) | st.just(np.nan),
            st.floats(allow_nan=True, allow_infinity=True, width=32),
        ),
        max_size=60,
    ),
    st.floats(60.0, 30 * 86400.0),
)
def test_any_past_gives_a_forecast_or_a_declared_refusal(past: list[tuple[float, float]], horizon_s: float) -> None:
    times = np.array([t for t, _ in past], np.float64)
    values = np.array([v for _, v in past], np.float64)
    try:
        found = forecast(times, values, horizon_s=horizon_s)
    except RequestError:
        return
    assert np.isfinite(found.expected).all()
    assert not (found.lower > found.expected).any()
    assert not (found.upper < found.expected).any()
