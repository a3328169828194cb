"""What a series does of its own accord: its range from day to day, the peaks of its deviations from hour to hour, and
how much it varies at each hour of the day.

Natural series come back to the same extremes, peak at the same heights and are restless at the same hours; a fault goes
beyond. Everything here is folded in once a block (an hour, or twelve samples of a slower series) or once a day.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from kernels.jit import hot_step, step
from kernels.series_state import DAY_S, HOURS, RECENT

BLOCK_S: Final = 3600
BLOCK_SAMPLES: Final = 12
DENSE_S: Final = 15.0
"""Samples closer than this say the same thing several times over."""
UP: Final = 0
DOWN: Final = 1
THIRD: Final = 2
LOW: Final = 0
HIGH: Final = 1


@hot_step
def note_recent(s: Any, deviation: float) -> None:
    """Remember a deviation in place of the oldest; the sample is counted already."""
    s.recent[s.count % RECENT] = np.int16(min(max(deviation * 16.0, -32000.0), 32000.0))


@hot_step
def third_of_recent(s: Any, side: float) -> float:
    """Third largest of the recent deviations on one side, in scales; 0 if fewer are there."""
    first, second, third = 0.0, 0.0, 0.0
    for k in range(RECENT):
        v = side * s.recent[k]
        if v > first:
            third = second
            second = first
            first = v
        elif v > second:
            third = second
            second = v
        elif v > third:
            third = v
    return third * 0.0625


@hot_step
def note_peaks(s: Any, deviation: float, third: float) -> None:
    """Deviations that may be the highest of the block."""
    if deviation > s.peak[UP]:
        s.peak[UP] = deviation
    if -deviation > s.peak[DOWN]:
        s.peak[DOWN] = -deviation
    if third > s.peak[THIRD]:
        s.peak[THIRD] = third


@step
def begin_habits(s: Any, t: int, x: float) -> None:
    """The first value."""
    s.origin = x
    s.hour_now = -1
    s.block_s = np.uint32(t // 1000 + BLOCK_S)
    s.day_s = np.uint32((t // 1000 // DAY_S + 1) * DAY_S)


@hot_step
def note_range(s: Any, x: float, previous: float, frozen: bool) -> None:
    """Widen the range of today by a pair of samples; of a run, only once it is over."""
    low = np.float32(min(x, previous) - s.origin)
    high = np.float32(max(x, previous) - s.origin)
    # The inner ends of a pair: what one sample alone does is no range.
    if frozen:
        s.pending[HIGH] = max(s.pending[HIGH], low)
        s.pending[LOW] = min(s.pending[LOW], high)
        return
    s.today[HIGH] = max(s.today[HIGH], low, s.pending[HIGH])
    s.today[LOW] = min(s.today[LOW], high, s.pending[LOW])
    s.pending[HIGH] = low
    s.pending[LOW] = high


@step
def fold_day(s: Any, now_s: int) -> None:
    """A day is over: yesterday and the week move on. One high day widens the week by half of what it was beyond."""
    first = s.yesterday[LOW] == 0.0 and s.yesterday[HIGH] == 0.0
    if first:
        s.week[LOW] = s.today[LOW]
        s.week[HIGH] = s.today[HIGH]
    else:
        d = s.today[HIGH] - s.week[HIGH]
        s.week[HIGH] += (0.5 if d > 0.0 else 0.1) * d
        d = s.today[LOW] - s.week[LOW]
        s.week[LOW] += (0.5 if d < 0.0 else 0.1) * d
    s.yesterday[LOW] = s.today[LOW]
    s.yesterday[HIGH] = s.today[HIGH]
    s.today[LOW] = s.pending[LOW]
    s.today[HIGH] = s.pending[HIGH]
    s.day_s = np.uint32((now_s // DAY_S + 1) * DAY_S)


@step
def beyond_range(s: Any, x: float, side: float, week: bool) -> float:
    """How far x lies beyond the range of today and yesterday, or of the week too; negative within it."""
    v: float = x - s.origin
    if side > 0.0:
        high: float = max(s.today[HIGH], s.yesterday[HIGH])
        if week:
            high = max(high, s.week[HIGH])
        return v - high
    low: float = min(s.today[LOW], s.yesterday[LOW])
    if week:
        low = min(low, s.week[LOW])
    return low - v


@step
def range_width(s: Any) -> float:
    """Width of the range of today and yesterday."""
    width: float = max(s.today[HIGH], s.yesterday[HIGH]) - min(s.today[LOW], s.yesterday[LOW])
    return max(width, 0.0)


@step
def fold_block(s: Any, t: int, step_s: float) -> None:
    """A block is over: its peaks join the usual ones, its variation that of the hour."""
    if s.hours < 65535:
        s.hours += 1
    a = max(1.0 / s.hours, 0.012)
    for k in range(3):
        height = math.log(max(s.peak[k], 1.0))
        s.peak_mean[k] += a * (height - s.peak_mean[k])
        d = height - s.peak_top[k]
        s.peak_top[k] += (0.5 if d > 0.0 else 0.004) * d
        s.peak[k] = 0.0
    n = float(s.hour_samples)
    if s.hour_now >= 0 and n > 0.0:
        here = s.hour_now
        # Few days are known of each hour: a quarter of the way each time.
        noise = 16.0 * (s.log_sum / n - s.log_long) - s.log_hours[here]
        s.log_hours[here] = np.int8(
            min(max(round(s.log_hours[here] + 0.25 * min(max(noise, -16.0), 16.0)), -120.0), 120.0)
        )
        if s.q_dev > 0.0:
            error = 16.0 * math.log(min(max(s.error_sum / n / s.q_dev, 0.02), 20.0)) - s.day_hours[here]
            s.day_hours[here] = np.int8(
                min(max(round(s.day_hours[here] + 0.25 * min(max(error, -16.0), 16.0)), -120.0), 120.0)
            )
    s.hour_samples = 0
    s.log_sum = 0.0
    s.error_sum = 0.0
    hour = (t // 3600000) % HOURS
    s.hour_now = hour
    s.log_usual = s.log_hours[hour] * 0.0625
    block = max(BLOCK_S, int(BLOCK_SAMPLES * step_s))
    s.block_s = np.uint32((t // 1000 // block + 1) * block)
