"""How a series stands against its own days: its distance from season and level of days, and how much it varies.

Both are smoothed, and compared with what they usually are. A level of days that an adoption had left is taken again
when the series comes back to it within a day. An alert on either that time has closed is *muted*: said once, until its
evidence is gone or, after a day, usual.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np

from kernels.ewma import share
from kernels.exponential import natural_log
from kernels.jit import hot_step
from kernels.moment import Moment
from kernels.prediction import Deviation
from kernels.series_state import DAY_S, SEASON

USUAL: Final = 1.5
"""Times what is usual, from which days and variation are away."""

LEAST_USUAL: Final = 0.3
"""Scales that a smoothed distance from days is usually away, at least."""


class Days(NamedTuple):
    """Distance from season and level of days, in the unit of the value."""

    apart: float
    """Of this sample, as it is."""
    distance: float
    """The same, smoothed over eight samples or five minutes."""
    usual: float
    """What the smoothed one usually is, without its sign; never zero."""


class Variation(NamedTuple):
    """How far a series moves from sample to sample, as a logarithm."""

    short: float
    """Smoothed over some samples."""
    wave: float
    """The same less what is usual at this hour; 0 while days are unknown."""
    usual: float
    """How large `wave` usually is."""


@hot_step
def follow_days(s: Any, now: Moment, d: Deviation) -> Days:
    """Move the smoothed distance from season and level of days; the caller keeps it once all have seen the old one."""
    apart = d.deseasonalised - s.slow
    back_soon = now.t_s - s.slow_before_s < DAY_S
    if back_soon and abs(d.deseasonalised - s.slow_before) < 0.25 * abs(apart) and abs(apart) > 2.0 * s.q_dev:
        # Back at the level of days that an adoption had left.
        s.slow = s.slow_before
        s.slow_before_s = 0
        apart = d.deseasonalised - s.slow
        s.q = apart
    # An alert that is open lets go faster than it came.
    back = 4.0 if s.open == SEASON and abs(apart) < 0.5 * abs(s.q) else 1.0
    distance = s.q + share(back * now.weight_s, max(8.0 * now.step_s, 300.0)) * (apart - s.q)
    return Days(apart, distance, max(s.q_dev, d.scale * LEAST_USUAL))


@hot_step
def follow_variation(s: Any, now: Moment, x: float) -> Variation:
    """Move the smoothed variation; the caller keeps it once all have seen the old one."""
    moved = x - s.previous
    # Straight lines are somebody's filling, not values.
    straight = moved != 0.0 and abs(moved - s.step) <= 1e-6 * abs(moved)
    typical = 1.25 * s.long_dev
    short = float(s.log_short)
    if not straight:
        log_now = natural_log(min(min(abs(moved), 10.0 * typical) + 0.05 * typical + 1e-300, 1e308))
        if not s.log_known:
            short = log_now
        short += share(now.weight_s, max(25.0 * now.step_s, 1200.0)) * (log_now - short)
    s.step = moved
    wave = short - s.log_long - s.log_usual if now.mature else 0.0
    return Variation(short, wave, max(s.log_dev, 0.05))


@hot_step
def mute(s: Any, reason: int, t_s: int) -> None:
    """Of this reason no alert opens until it was over, or has become usual."""
    s.muted = reason
    s.muted_s = np.uint32(t_s)


@hot_step
def settle_muted(s: Any, now: Moment, days: Days, variation: Variation) -> float:
    """Unmute what is back, and take for usual what has been away for a day; returns the smoothed distance from days."""
    if s.muted == 0:
        return days.distance
    of_days = s.muted == SEASON
    if of_days:
        away = now.mature and abs(days.distance) > USUAL * days.usual
    else:
        away = abs(variation.wave) > USUAL * variation.usual
    if not away:
        s.muted = 0
        return days.distance
    if now.t_s - s.muted_s <= DAY_S:
        return days.distance
    s.muted = 0
    if not of_days:
        s.log_long += variation.wave
        return days.distance
    s.slow_before = s.slow
    s.slow_before_s = np.uint32(now.t_s)
    s.slow += days.distance
    return 0.0
