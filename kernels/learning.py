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
from kernels.series_state import DAY_S, LEVELS, P_SEASON, SEASON, TRENDED

WIDE_STEP_SAMPLES: Final = 40
"""Samples of a series' beginning in which each weighs as one in those so far and nothing is clipped or frozen: nothing
is known yet that they could be away from. Fewer than the samples without which the pattern model is not asked
(kernels.moment.MATURE_SAMPLES)."""
FIRST_SAMPLES: Final = 5
"""Samples of which the error is the distance from the level, as their deviations are not known."""
CLIP: Final = 3.0
"""Scales to which a deviation is cut before levels and mean errors learn from it, so that an outlier moves them by no
more than the edge of what is usual would."""
LOSS_GAIN: Final = 0.2
"""Of an hour's share that losses learn with: a predictor is chosen for how it does over many hours, not for one."""
LEVEL_GAIN: Final = 0.5
"""Of the trended level, which is an alpha-beta filter: of each error, half goes to the level …"""
SLOPE_GAIN: Final = 0.12
"""… and so much to the slope, a sample: between critical damping (0.09 at that gain) and the least error of a straight
line (0.17, Benedict and Bordner 1962)."""
SLOPE_DECAY: Final = 0.02
"""A sample: a slope that nothing supports halves in 34 samples, so that no trend goes on for ever."""
ACTIVE_CLIP: Final = 6.0
"""Times the usual size to which the size of a value that is not zero is cut."""
ACTIVE_FIRST: Final = 0.1
"""Of the first such size: one value says little, and a size that is too small grows fast."""
ACTIVE_GROWTH: Final = 0.02
ACTIVE_DECAY: Final = 0.005
"""Least shares of a sample in that size, up and down: it follows the larger values, for a scale that is too small makes
alerts."""
MOST_WEIGHED: Final = 100000
"""Samples so far, beyond which the share of one in the mean of days falls no further."""
WIDE: Final = 4.0
"""Times the usual error of days at which a distance from days is cut."""
SEASON_KNOWN_S: Final = DAY_S + 3600
"""Age from which errors of days are counted from the second day on; an hour of that must have passed first, as its
seconds are divided by."""
DAYS_HALF_LIFE_S: Final = 2 * DAY_S
DAYS_LEAST_SAMPLES: Final = 50.0
"""No sample weighs more than one of so many in the error of days."""


@hot_step
def learn_levels(s: Any, now: Moment, d: Deviation, young: bool, least: float, a_hour: float) -> None:
    """Move the local predictors and their losses. least: share of a sample in the first ones; a_hour: over an hour."""
    limit = CLIP * d.scale
    s.season_then = d.value - d.deseasonalised
    half_life = 1.5 * now.step_s
    for k in range(LEVELS):
        if k == 1:
            half_life = max(6.0 * now.step_s, 180.0)
        if k == 2:
            half_life = max(30.0 * now.step_s, 900.0)
        away = d.deseasonalised - s.levels[k]
        if k == TRENDED:
            away -= s.slope * now.weight_s
        if young:
            clipped = away
            s.losses[k] += least * (abs(away) - s.losses[k])
        else:
            clipped = min(max(away, -limit), limit)
            s.losses[k] += a_hour * LOSS_GAIN * (abs(clipped) - s.losses[k])
        if k == TRENDED:
            s.levels[k] += s.slope * now.weight_s + LEVEL_GAIN * clipped
            s.slope += SLOPE_GAIN * clipped / now.weight_s - SLOPE_DECAY * s.slope
        else:
            s.levels[k] += max(share(now.weight_s, half_life), least) * clipped


@hot_step
def learn_active(s: Any, now: Moment, size: float) -> None:
    """Move the usual size of what is not zero. size: of this value, in its unit."""
    if s.active <= 0.0:
        s.active += ACTIVE_FIRST * size
        return
    size = min(size, ACTIVE_CLIP * s.active)
    if s.active < size:
        least = ACTIVE_GROWTH
    else:
        least = ACTIVE_DECAY
    s.active += max(share(now.weight_s, DAY_S), least) * (size - s.active)


@hot_step
def learn_scales(s: Any, now: Moment, d: Deviation, young: bool, a_hour: float, a_day: float) -> None:
    """Move the mean errors of an hour and of a day, the size of what is not zero, and the share of zeros."""
    if s.count <= FIRST_SAMPLES:
        error = abs(d.deseasonalised - s.levels[1])
    elif young:
        error = abs(d.deviation) * d.scale
    else:
        error = min(abs(d.deviation), CLIP) * d.scale
    s.short_dev += a_hour * (error - s.short_dev)
    s.long_dev += a_day * (error - s.long_dev)
    if d.value != 0.0:
        learn_active(s, now, abs(d.value))
    s.zero_share += a_day * ((1.0 if d.value == 0.0 else 0.0) - s.zero_share)


@hot_step
def learn_slow_level(s: Any, now: Moment, d: Deviation, young: bool, least: float) -> None:
    """Move the level of days; an alert on it holds it."""
    distance = d.value - s.slow
    if young:
        s.slow += least * distance
    elif s.open != SEASON:
        wide = WIDE * max(s.q_dev, d.scale)
        s.slow += share(now.weight_s, DAY_S) * min(max(d.deseasonalised - s.slow, -wide), wide)


@hot_step
def learn_usual_days(s: Any, now: Moment) -> None:
    """Move what is usual of the distance from days and of variation, and gather both for the block.

    The error of days is learned anew once there is a season to be wrong about.
    """
    age_s = (now.t - s.first_ms) * 0.001
    seasoned_s = age_s
    if age_s > SEASON_KNOWN_S:
        seasoned_s = age_s - DAY_S
    # One in the samples since the first day, at the rate in which they came.
    least = age_s / max(s.count * seasoned_s, DAYS_LEAST_SAMPLES * age_s)
    a_days = max(share(now.weight_s, DAYS_HALF_LIFE_S), least)
    distance = float(abs(s.q))
    if now.mature:
        distance = min(distance, WIDE * max(s.q_dev, 1e-300))
    s.q_dev += a_days * (distance - s.q_dev)
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
    young = s.count < WIDE_STEP_SAMPLES
    frozen = (s.run_side != 0.0 or is_local(s)) and not young
    least = 1.0 / s.count if young else 0.0
    a_hour = max(share(now.weight_s, max(60.0 * now.step_s, 3600.0)), least)
    a_day = max(share(now.weight_s, DAY_S), 1.0 / min(s.count, MOST_WEIGHED))
    if not frozen:
        learn_levels(s, now, d, young, least, a_hour)
    learn_scales(s, now, d, young, a_hour, a_day)
    learn_slow_level(s, now, d, young, least)
    if p[P_SEASON] > 0.0 and not frozen:
        # From the local level, not the value: what is clipped there cannot get into the season.
        learn_season(s, now.t, s.levels[1] + d.value - d.deseasonalised - s.slow)
    if not young:
        learn_usual_days(s, now)
