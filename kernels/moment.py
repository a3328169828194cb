"""When a value comes: the step it stands for, how long the series is known, and what is folded in by the clock."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from kernels.habits import begin_habits, fold_block, fold_day
from kernels.jit import hot_step, step
from kernels.novelty import COARSE_S
from kernels.seasonal import CELL_MS
from kernels.series_state import CELLS, LEVELS, P_WARM_UP_MS
from kernels.staleness import learn_interval

MATURE_S: Final = 72000.0
"""Seconds and samples after which the pattern model is asked."""
MATURE_SAMPLES: Final = 48
MOST_COUNTED: Final = 4000000000
"""Where counts of 32 bits stop."""


class Moment(NamedTuple):
    """The time of a value, and what is known of its series by then."""

    t: int
    """Unix milliseconds."""
    t_s: int
    """Unix seconds."""
    step_s: float
    """Usual step of the series, seconds."""
    weight_s: float
    """Seconds the value stands for: since the last one, three steps at most."""
    warm: bool
    """Enough is known for alerts."""
    mature: bool
    """Enough is known of days for the pattern model."""
    coarse: bool
    """Samples are far apart (kernels.novelty)."""


@step
def begin_series(s: Any, t: int, x: float) -> None:
    """The first value."""
    s.first_ms = t
    s.last_ms = t
    for k in range(LEVELS):
        s.levels[k] = x
    s.slow = x
    s.reference = x
    s.candidate = x
    s.fallback = x
    s.previous = x
    s.count = 1
    s.chosen = 1
    s.cell_now = (t // CELL_MS) % CELLS
    begin_habits(s, t, x)


@hot_step
def arrive(s: Any, t: int, p: Any) -> Moment:
    """Count a value at time t (ms, later than the last), and fold in the block and the day that are over by then."""
    seconds = max((t - s.last_ms) * 0.001, 0.001)
    learn_interval(s, seconds, p)
    step_s = float(s.interval)
    weight_s = min(seconds, 3.0 * step_s)
    s.last_ms = t
    if s.count < MOST_COUNTED:
        s.count += 1
    age_s = (t - s.first_ms) * 0.001
    warm = (t - s.first_ms) >= p[P_WARM_UP_MS] and s.count > 16
    mature = age_s >= MATURE_S and s.count > MATURE_SAMPLES
    t_s = t // 1000
    if t_s >= s.block_s:
        fold_block(s, t, step_s)
    if t_s >= s.day_s:
        fold_day(s, t_s)
    return Moment(t, t_s, step_s, weight_s, warm, mature, step_s > COARSE_S)
