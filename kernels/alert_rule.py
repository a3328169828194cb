"""The alert of one series: when it opens, becomes more severe, and closes."""

from __future__ import annotations

from typing import Any, Final

from kernels.adoption import settle_at
from kernels.days import USUAL, Days, Variation, mute
from kernels.findings import O_CLOSING, write_change
from kernels.jit import hot_step
from kernels.moment import Moment
from kernels.prediction import Deviation
from kernels.runs import ENTER, Run
from kernels.series_state import (
    ADOPTED,
    BACK,
    CALMER,
    CHANGED,
    CLOSED,
    FLAT,
    NOISIER,
    OPENED,
    SEASON,
    STALE,
    ZERO,
)
from kernels.strength import Strength
from kernels.zero_and_flat import flat_held_s

SLOW_HELD: Final = 1500.0
"""Seconds after which an alert on days or variation closes; four samples where those last longer."""


@hot_step
def count_calm(s: Any, deviation: float) -> None:
    """Count samples back at the reference; one that is not takes one off, or all but one of many."""
    if abs(deviation) < ENTER:
        if s.calm < 65535:
            s.calm += 1
    elif s.calm > 3:
        s.calm = 1
    elif s.calm > 0:
        s.calm -= 1


@hot_step
def open_alert(s: Any, now: Moment, d: Deviation, run: Run, reason: int, strength: Strength, out: Any) -> None:
    """An alert begins, with its run if there is one."""
    s.open = reason
    s.opened_ms = now.t
    if not run.inside:
        s.began_ms = now.t
        s.reference = d.prediction
        s.candidate = d.deseasonalised
        s.candidate_dev = d.scale
    s.score = strength.lasting
    s.severity = strength.severity
    s.held = 0
    write_change(out, OPENED, reason, strength.severity)


@hot_step
def is_of_days(reason: int) -> bool:
    """Whether an alert is on days or variation: said once, it closes by time."""
    return reason == SEASON or reason == NOISIER or reason == CALMER


@hot_step
def is_said(s: Any, step_s: float) -> bool:
    """Whether an alert on days or variation has been open long enough."""
    return bool(s.held * step_s >= max(SLOW_HELD, 4.0 * step_s))


@hot_step
def is_over(s: Any, now: Moment, run: Run, days: Days, variation: Variation) -> bool:
    """Whether what the open alert is about has ended, or has been said."""
    over = s.open == STALE
    if run.local:
        over = s.zero_run == 0 if s.open == ZERO else s.calm >= (2 if now.coarse else 3)
    elif s.open == FLAT:
        over = s.repeats == 0
    elif s.open == NOISIER or s.open == CALMER:
        over = abs(variation.wave) < USUAL * variation.usual or is_said(s, now.step_s)
    elif s.open == SEASON:
        over = not now.mature or abs(days.distance) < USUAL * days.usual or is_said(s, now.step_s)
    return bool(over)


@hot_step
def stands_for_good(s: Any, step_s: float) -> bool:
    """Whether a value that stands still, or zero, is what the series does now."""
    stands = (s.open == ZERO or s.open == FLAT) and s.held * step_s >= flat_held_s(step_s)
    if stands and s.open == FLAT:
        s.longest_repeat = s.repeats
    return bool(stands)


@hot_step
def close_alert(s: Any, now: Moment, d: Deviation, adopted: bool, local: bool, out: Any) -> None:
    """The open alert ends."""
    said = is_said(s, now.step_s)
    write_change(out, CLOSED, s.open, s.severity)
    out[O_CLOSING] = ADOPTED if adopted or (said and not local) else BACK
    if said and is_of_days(s.open):
        # From here on it is known until it is over, or usual.
        mute(s, SEASON if s.open == SEASON else NOISIER, now.t_s)
    if s.open == FLAT:
        # Where it moves again is where it is: the value it stood at says nothing of that.
        settle_at(s, d.deseasonalised, d.season)
    s.open = 0
    s.score = 0.0
    s.severity = 0


@hot_step
def hold_alert(
    s: Any, now: Moment, d: Deviation, run: Run, days: Days, variation: Variation, strength: Strength, adopted: bool,
    out: Any,
) -> bool:  # fmt: skip
    """One sample more of an open alert; adopted: its level has lasted. Returns whether the alert was given up as what
    the series does now."""
    s.score = max(s.score, strength.level)
    if s.held < 65535:
        s.held += 1
    over = is_over(s, now, run, days, variation)
    adopted = stands_for_good(s, now.step_s) or adopted
    if over or adopted:
        close_alert(s, now, d, adopted, run.local, out)
    elif strength.severity > s.severity:
        s.severity = strength.severity
        s.score = max(s.score, strength.lasting)
        write_change(out, CHANGED, s.open, strength.severity)
    return adopted
