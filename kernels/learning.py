"""What a value teaches once it has been judged: levels, losses, scales, season and days.

What an alert or a run holds frozen stands still; in a series' first samples nothing does, and steps are wide.
"""

from __future__ import annotations

from typing import Any, Final

from kernels.ewma import share
from kernels.jit import hot_step
from kernels.moment import Moment
from kernels.prediction import Deviation, is_local
from kernels.seasonal import learn_season
from kernels.series_state import LEVELS, P_SEASON, SEASON, TRENDED

YOUNG: Final = 40
"""Samples until which everything is learned with wide steps."""
DAY_S: Final = 86400.0


@hot_step
def learn_levels(s: Any, now: Moment, d: Deviation, young: bool, least: float, a_hour: float) -> None:
    """Move the local predictors and their losses. least: share of a sample in the first ones; a_hour: over an hour."""
    limit = 3.0 * d.scale
    s.season_then = d.x - d.y
    half_life = 1.5 * now.tau
    for k in range(LEVELS):
        if k == 1:
            half_life = max(6.0 * now.tau, 180.0)
        if k == 2:
            half_life = max(30.0 * now.tau, 900.0)
        away = d.y - s.levels[k]
        if k == TRENDED:
            away -= s.slope * now.w
        clipped = away if young else min(max(away, -limit), limit)
        s.losses[k] += a_hour * 0.2 * (abs(clipped) - s.losses[k]) if not young else least * (abs(away) - s.losses[k])
        if k == TRENDED:
            s.levels[k] += s.slope * now.w + 0.5 * clipped
            s.slope += 0.12 * clipped / now.w - 0.02 * s.slope
        else:
            s.levels[k] += max(share(now.w, half_life), least) * clipped


@hot_step
def learn_scales(s: Any, now: Moment, d: Deviation, young: bool, a_hour: float, a_day: float) -> None:
    """Move the mean errors of an hour and of a day, the size of what is not zero, and the share of zeros."""
    error = abs(d.z) * d.scale if young and s.count > 5 else min(abs(d.z), 3.0) * d.scale
    if s.count <= 5:
        error = abs(d.y - s.levels[1])
    s.short_dev += a_hour * (error - s.short_dev)
    s.long_dev += a_day * (error - s.long_dev)
    if d.x != 0.0:
        ax = min(abs(d.x), 6.0 * s.active) if s.active > 0.0 else abs(d.x)
        s.active += (
            max(share(now.w, DAY_S), 0.02 if s.active < ax else 0.005) * (ax - s.active) if s.active > 0.0 else 0.1 * ax
        )
    s.zero_share += a_day * ((1.0 if d.x == 0.0 else 0.0) - s.zero_share)


@hot_step
def learn_slow_level(s: Any, now: Moment, d: Deviation, young: bool, least: float) -> None:
    """Move the level of days; an alert on it holds it."""
    distance = d.x - s.slow
    if young:
        s.slow += least * distance
    elif s.open != SEASON:
        wide = 4.0 * max(s.q_dev, d.scale)
        s.slow += share(now.w, DAY_S) * min(max(d.y - s.slow, -wide), wide)


@hot_step
def learn_usual_days(s: Any, now: Moment) -> None:
    """Move what is usual of the distance from days and of variation, and gather both for the block.

    The error of days is learned anew once there is a season to be wrong about.
    """
    age_s = (now.t - s.first_ms) * 0.001
    # One in the samples since the first day, and no more than a fiftieth.
    seasoned_s = age_s - DAY_S if age_s > 90000.0 else age_s
    a_days = max(share(now.w, 172800.0), age_s / max(s.count * seasoned_s, 50.0 * age_s))
    wide = 4.0 * max(s.q_dev, 1e-300)
    s.q_dev += a_days * ((min(abs(s.q), wide) if now.mature else abs(s.q)) - s.q_dev)
    wave = s.log_short - s.log_long - s.log_usual
    if not s.log_known:
        s.log_known = 1
        s.log_long = s.log_short
        wave = 0.0
    s.log_sum += s.log_short
    s.error_sum += abs(s.q)
    if s.hour_samples < 65535:
        s.hour_samples += 1
    s.log_long += a_days * min(max(wave, -1.0), 1.0)
    s.log_dev += a_days * (min(abs(wave), 1.0) - s.log_dev)


@hot_step
def learn_value(s: Any, now: Moment, d: Deviation, p: Any) -> None:
    """Learn from one value."""
    young = s.count < YOUNG
    frozen = (s.run_side != 0.0 or is_local(s)) and not young
    least = 1.0 / s.count if young else 0.0
    a_hour = max(share(now.w, max(60.0 * now.tau, 3600.0)), least)
    a_day = max(share(now.w, DAY_S), 1.0 / min(s.count, 100000))
    if not frozen:
        learn_levels(s, now, d, young, least, a_hour)
    learn_scales(s, now, d, young, a_hour, a_day)
    learn_slow_level(s, now, d, young, least)
    if p[P_SEASON] > 0.0 and not frozen:
        # From the local level, not the value: what is clipped there cannot get into the season.
        learn_season(s, now.t, s.levels[1] + d.x - d.y - s.slow)
    if not young:
        learn_usual_days(s, now)
