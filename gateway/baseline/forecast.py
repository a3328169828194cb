"""What a series will probably be: its own past put forward, with intervals from how wrong that was before.

Simple forecasts compete on the series itself: the last value held, and the days or weeks before (the last one, or a
discounted mean of several), each with what the present is away from them fading out at some speed. All are made again
as of moments in the past; those with small errors there are mixed, and the errors of the mixture, per step ahead, are
the intervals (split conformal prediction over rolling origins). Nothing is assumed of the errors but that they go on.

Sources: Hyndman and Athanasopoulos, "Forecasting: principles and practice", 3rd edition, sections 5.2, 5.10 and 13.4;
Stankevičiūtė, Alaa and van der Schaar 2021, "Conformal time-series forecasting".
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.errors import RequestError

DAY_S: Final = 86400.0
WEEK_S: Final = 7 * DAY_S
MOST_STEPS: Final = 288
"""Steps ahead at most: a longer horizon gets longer steps."""
MOST_HISTORY: Final = 4096
"""Steps looked back at most."""
ORIGINS: Final = 32
"""Moments of the past as of which the forecasts are made again."""
PERIODS: Final = 8
"""Days or weeks averaged at most."""
DISCOUNT: Final = 0.9
"""Of each day or week before."""
FADING: Final = (0.1, 0.4, 1.5, 6.0)
"""Half-lives, in shares of the horizon, with which the present's distance from the past fades."""
RECENT: Final = 3
"""Steps that say where the present is."""
PICKY: Final = 8.0
"""Power of the error's inverse that weighs a forecast in the mixture."""
LEAST: Final = 8
"""Values without which nothing is forecast."""
_STEPS_S: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Forecast:
    """A forecast of one series. Arrays: float64[steps ahead]."""

    step_s: float
    times_s: Floats
    """Unix seconds at which each step begins; the first is one step behind the last value."""
    expected: Floats
    lower: Floats
    upper: Floats
    """Bounds that hold `level` of the values, as far as the past is a guide; NaN where there was no past to ask."""
    level: float
    parts: dict[str, float] = field(default_factory=dict)
    """What was mixed, by weight."""
    origins: int = 0
    """Moments of the past that the weights and the intervals rest on."""
    error: float = math.nan
    """Mean absolute error as of those moments."""
    seasonal_naive_error: float = math.nan
    """The same of "as a day before" (of the last value held, where a day is not known)."""


def step_of(times_s: Floats, horizon_s: float) -> float:
    """Seconds of a step: the values' own, made longer until the horizon has no more than MOST_STEPS."""
    gaps = np.diff(times_s)
    gaps = gaps[gaps > 0.0]
    own = float(np.median(gaps)) if len(gaps) else 60.0
    least = max(own * 0.999, horizon_s / MOST_STEPS)
    for step in _STEPS_S:
        if step >= least:
            return float(step)
    return math.ceil(least / DAY_S) * DAY_S


def on_grid(times_s: Floats, values: Floats, step_s: float) -> tuple[Floats, float]:
    """Means by step, oldest first, and when the last step begins; NaN where nothing is known."""
    place = np.floor(times_s / step_s).astype(np.int64)
    last = int(place.max())
    first = max(int(place.min()), last - MOST_HISTORY + 1)
    chosen = (place >= first) & np.isfinite(values)
    place = place[chosen] - first
    number = np.bincount(place, minlength=last - first + 1)
    total = np.bincount(place, values[chosen], minlength=last - first + 1)
    return np.divide(total, number, out=np.full(len(number), np.nan), where=number > 0), last * step_s


def _filled(grid: Floats, day: int) -> Floats:
    """Holes filled by the day before where it is known, else by the value before."""
    out = grid.copy()
    for i in np.flatnonzero(np.isnan(out)):
        if i >= day > 0 and np.isfinite(out[i - day]):
            out[i] = out[i - day]
        elif i > 0:
            out[i] = out[i - 1]
    known = np.flatnonzero(np.isfinite(out))
    out[: known[0]] = out[known[0]]
    return out


def _seasonal(y: Floats, ends: NDArray[np.int64], ahead: int, period: int, periods: int) -> tuple[Floats, Floats]:
    """For each end (steps known), the periods before put forward: (float64[ends, ahead], the present's distance)."""
    weights = DISCOUNT ** np.arange(periods)
    weights /= weights.sum()
    # The steps ahead, and the last few known ones, as if they were ahead.
    offsets = np.arange(-RECENT, ahead)
    phase = np.where(offsets >= 0, offsets % period, offsets)
    out = np.zeros((len(ends), len(offsets)))
    for k, weight in enumerate(weights):
        out += weight * y[ends[:, None] + phase[None, :] - (k + 1) * period]
    recent = y[ends[:, None] + np.arange(-RECENT, 0)[None, :]]
    away = np.mean(recent - out[:, :RECENT], axis=1)
    return out[:, RECENT:], away


def _counts(least: int, period: int) -> list[int]:
    """How many periods may be averaged by forecasts made after `least` known steps."""
    return sorted({1, min((least - RECENT) // period, PERIODS)} - {0})


def _candidates(
    y: Floats, ends: NDArray[np.int64], ahead: int, periods: dict[str, tuple[int, list[int]]]
) -> dict[str, Floats]:
    """Name → float64[ends, ahead]. periods: name → (steps, how many are averaged)."""
    steps = np.arange(1, ahead + 1)
    out = {"last value": np.repeat(y[ends - 1][:, None], ahead, axis=1)}
    for name, (period, counts) in periods.items():
        for count in counts:
            base, away = _seasonal(y, ends, ahead, period, count)
            label = f"{name} before" if count == 1 else f"mean of {count} {name}s"
            out[label] = base
            for share in FADING:
                fade = 0.5 ** (steps / (share * ahead))
                out[f"{label}, from where it is (fading {share:g})"] = base + away[:, None] * fade
    return out


def _bounds(errors: Floats, level: float) -> tuple[Floats, Floats]:
    """What to add to a forecast for its interval, by step. errors: float64[origins, ahead], NaN unknown.

    Quantiles of the errors of the step and its neighbours, with the correction for few of them, never narrower than
    those of an earlier step.
    """
    ahead = errors.shape[1]
    low, high = np.full(ahead, np.nan), np.full(ahead, np.nan)
    reach = max(1, ahead // 12)
    for step in range(ahead):
        near = errors[:, max(0, step - reach) : step + reach + 1]
        near = near[np.isfinite(near)]
        if len(near) < LEAST:
            continue
        # Neighbouring errors of one origin say nearly the same: the origins are what counts as independent.
        independent = max(LEAST, min(errors.shape[0], len(near)))
        tail = max(0.0, (1.0 - level) / 2.0 - 1.0 / (independent + 1) * (1.0 - level))
        low[step], high[step] = np.quantile(near, tail), np.quantile(near, 1.0 - tail)
    known = np.isfinite(low)
    if known.any():
        low, high = (
            np.interp(np.arange(ahead), np.flatnonzero(known), low[known]),
            np.interp(np.arange(ahead), np.flatnonzero(known), high[known]),
        )
        low, high = np.minimum.accumulate(np.minimum(low, 0.0)), np.maximum.accumulate(np.maximum(high, 0.0))
    return low, high


def forecast(times_s: Floats, values: Floats, *, horizon_s: float, level: float = 0.9) -> Forecast:
    """Forecast a series from its values, in any order, NaN and infinities left out.

    times_s: float64[n], Unix seconds; values: float64[n]; horizon_s: how far ahead, seconds; level: share of the values
    that the interval shall hold. Raises RequestError when there are fewer than LEAST values, or nothing to forecast.
    """
    finite = np.isfinite(values) & np.isfinite(times_s)
    times_s, values = times_s[finite], values[finite]
    if len(values) < LEAST:
        raise RequestError(f"{len(values)} values are too few for a forecast; at least {LEAST} are needed")
    order = np.argsort(times_s, kind="stable")
    times_s, values = times_s[order], values[order]
    step_s = step_of(times_s, horizon_s)
    grid, last_s = on_grid(times_s, values, step_s)
    if np.count_nonzero(np.isfinite(grid)) < LEAST:
        raise RequestError(f"the values cover fewer than {LEAST} steps of {step_s:g} s; ask for a shorter horizon")
    ahead = max(1, math.ceil(horizon_s / step_s))
    periods = {
        name: round(seconds / step_s)
        for name, seconds in (("day", DAY_S), ("week", WEEK_S))
        if seconds / step_s >= 4 and (seconds / step_s).is_integer()
    }
    y = _filled(grid, periods.get("day", 0))
    n = len(y)
    # Moments of the past: as many as leave room ahead of them and enough behind.
    usable = {name: period for name, period in periods.items() if n - period - RECENT >= max(ahead // 2, 4)}
    longest = max(usable.values(), default=0)
    first = max(longest + RECENT, LEAST // 2, n // 3)
    last_end = n - max(1, min(ahead, (n - first) // 2))
    ends = np.unique(np.linspace(first, last_end, ORIGINS).astype(np.int64)) if last_end >= first else np.array([n - 1])
    averaged = {name: (period, _counts(int(ends.min()), period)) for name, period in usable.items()}
    made = _candidates(y, ends, ahead, averaged)
    index = ends[:, None] + np.arange(ahead)[None, :]
    truth = np.where(index < n, grid[np.minimum(index, n - 1)], np.nan)
    errors = {name: float(np.nanmean(np.abs(one - truth))) for name, one in made.items()}
    floor = max(min(errors.values()), 1e-12 * (1.0 + float(np.abs(y).max())))
    weights = {name: (floor / max(error, floor)) ** PICKY for name, error in errors.items()}
    weights = {name: weight for name, weight in weights.items() if weight > 0.01}
    total = sum(weights.values())
    weights = {name: weight / total for name, weight in sorted(weights.items(), key=lambda pair: -pair[1])}
    now = _candidates(y, np.array([n]), ahead, averaged)
    past, expected = np.zeros_like(truth), np.zeros(ahead)
    for name, weight in weights.items():
        past += weight * made[name]
        expected += weight * now[name][0]
    low, high = _bounds(truth - past, level)
    naive = "day before" if "day before" in errors else "last value"
    return Forecast(
        step_s=step_s,
        times_s=last_s + step_s * np.arange(1.0, ahead + 1.0, dtype=np.float64),
        expected=expected,
        lower=expected + low,
        upper=expected + high,
        level=level,
        parts=weights,
        origins=len(ends),
        error=float(np.nanmean(np.abs(truth - past))),
        seasonal_naive_error=errors[naive],
    )
