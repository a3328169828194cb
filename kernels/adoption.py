"""Adoption: the level of a run that lasts too long becomes the level of the series.

With an open alert that takes `adopt` samples and a steady level, or half as many again; a run that brought no alert is
adopted after a few samples, and at once where the series only comes back to the level before the last adoption.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from kernels.days import USUAL, Days, mute
from kernels.jit import hot_step, step
from kernels.moment import Moment
from kernels.runs import end_run
from kernels.series_state import LEVELS, P_ADOPT, SEASON, ZERO

LONGEST: Final = 1.5
"""Times the samples of an adoption after which also an unsteady level is adopted."""
ADOPT_S: Final = 1200.0
"""Seconds a level must last to be adopted where samples are far apart; two of them at least."""
SILENT_ADOPT: Final = 10
"""Samples after which a run that brought no alert becomes the new level."""
RETURN_S: Final = 43200
"""Seconds within which a series comes back to the level before the last adoption."""


@step
def shift_levels(s: Any, level: float) -> None:
    """Take `level` for the local level."""
    for k in range(LEVELS):
        s.levels[k] = level
    s.slope = 0.0


@hot_step
def settle_at(s: Any, level: float, season: float) -> None:
    """Go on from `level`, outside any run."""
    s.season_then = season
    shift_levels(s, level)
    end_run(s)


@hot_step
def adopts_alert(s: Any, step_s: float, scale: float, p: Any) -> bool:
    """Whether the level of the open alert, which is on the level of just now, has lasted long enough."""
    if p[P_ADOPT] <= 0.0 or s.open == 0 or s.open == ZERO:
        return False
    need = max(p[P_ADOPT], 240.0 / step_s) if step_s < 90.0 else min(max(ADOPT_S / step_s, 2.0), p[P_ADOPT])
    steady = s.candidate_dev < 3.0 * scale
    return bool(s.held >= LONGEST * need or (s.calm == 0 and steady and s.held >= need))


@hot_step
def adopts_silently(s: Any, now: Moment, scale: float, p: Any) -> bool:
    """Whether a run without an alert on it has lasted long enough."""
    if p[P_ADOPT] <= 0.0 or s.run_side == 0.0:
        return False
    steady = s.candidate_dev < 3.0 * scale
    returned = now.t_s - s.fallback_s < RETURN_S and abs(s.candidate - s.fallback) < 3.0 * scale and s.run_count >= 2
    return bool(s.run_count >= max(SILENT_ADOPT, 150.0 / now.step_s) or (returned and steady))


@hot_step
def adopt(s: Any, now: Moment, season: float, days: Days, alerted: bool) -> None:
    """Take the level of the run for that of the series. alerted: an alert has told of it."""
    if alerted and s.muted == 0 and abs(days.distance) > USUAL * days.usual:
        # The days will show the same change a little later: it was said.
        mute(s, SEASON, now.t_s)
    s.fallback = s.reference
    s.fallback_s = np.uint32(now.t_s)
    settle_at(s, s.candidate, season)
