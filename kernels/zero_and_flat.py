"""Values that have rules of their own beside the pattern model: zero where zero is rare, anything else where zero is
usual, and a value that no longer moves."""

from __future__ import annotations

from typing import Any, Final

from kernels.candidates import Verdict
from kernels.ewma import share
from kernels.jit import hot_step
from kernels.moment import MATURE_SAMPLES, MOST_COUNTED, Moment
from kernels.prediction import Deviation
from kernels.series_state import DAY_S, FLAT, P_FLAT, P_ZERO, SUSTAINED, ZERO
from kernels.sparse import AWAKE, AWAKE_S, MOSTLY_ZERO, note_busy

STILL: Final = 5.0
"""Times its longest repetition that a value must stand still to be stuck."""
FLAT_HELD: Final = 28800.0
"""Seconds after which an alert on a value that stands still closes; 24 samples where those last longer."""


@hot_step
def flat_held_s(step_s: float) -> float:
    """Seconds after which standing still at a value, or at zero, is taken for what the series does now."""
    return max(FLAT_HELD, 24.0 * step_s)


@hot_step
def is_odd_zero(s: Any, now: Moment, d: Deviation, p: Any) -> bool:
    """Count a zero, or the end of zeros; True where the series is zero and hardly ever was."""
    if d.value != 0.0:
        s.zero_run = 0
        return False
    if s.zero_run < 65535:
        s.zero_run += 1
    # Of this run's own zeros the share knows already.
    before = s.zero_share - (s.zero_run - 1.0) * share(now.weight_s, DAY_S)
    zero = p[P_ZERO] > 0.0 and now.warm and before < 0.002 and s.zero_run >= (2 if abs(d.deviation) > 2.0 else 3)
    return bool(zero and s.zero_run * now.step_s < flat_held_s(now.step_s))


@hot_step
def note_repeat(s: Any, x: float) -> None:
    """Count how often the value has repeated itself, or learn from its movement."""
    if x == s.previous:
        if s.repeats < MOST_COUNTED:
            s.repeats += 1
    else:
        s.longest_repeat = max(s.longest_repeat * 0.9999, min(float(s.repeats), 2.0 * s.longest_repeat + 2.0))
        s.repeats = 0
        stride = abs(x - s.previous)
        s.stride += max(0.005, 1.0 / s.count) * (min(stride, 4.0 * s.stride) - s.stride)


@hot_step
def is_stuck(s: Any, now: Moment, p: Any) -> bool:
    """Whether the value no longer moves, where it always did."""
    flat = s.repeats >= 8 and p[P_FLAT] > 0.0 and now.warm and s.longest_repeat < 8.0
    # What is mostly zero stands still of its own accord, and shows it only after a while.
    known = s.count - s.repeats
    flat = flat and (known > 200 or (now.mature and known > MATURE_SAMPLES and s.zero_share < 0.3))
    if flat:
        flat = s.repeats >= max(8.0 + STILL * s.longest_repeat, 600.0 / now.step_s)
    return bool(flat)


@hot_step
def judge_zero_and_flat(s: Any, now: Moment, d: Deviation, verdict: Verdict, p: Any) -> Verdict:
    """Put the verdict of these rules above that of the pattern model where it says more."""
    odds, limit, reason = verdict.odds, verdict.limit, verdict.reason
    if is_odd_zero(s, now, d, p):
        odds = max(odds, limit + (1.0 if s.zero_run < 3 else 4.0))
        reason = ZERO
    awake = note_busy(s, d.value, max(AWAKE, int(AWAKE_S / now.step_s + 0.5)))
    if awake and now.mature and s.zero_share > MOSTLY_ZERO and odds < limit + 1.0:
        odds = limit + 1.0
        reason = SUSTAINED
    note_repeat(s, d.value)
    if is_stuck(s, now, p) and reason != ZERO and odds < limit + 3.0:
        odds = limit + 3.0
        reason = FLAT
    return Verdict(odds, limit, reason)
