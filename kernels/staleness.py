"""Silence: how long a series may be silent before it counts as stopped, from its own step and gaps."""

from __future__ import annotations

import math
from typing import Any, Final

from kernels.jit import hot_step, step
from kernels.series_state import P_GAP_RATE, P_HOLE, P_SILENCE, STALE
from kernels.tail import gap_at, learn_gap

LEAST_SILENCE_S: Final = 10.0
"""However short the step, so long a delay on the way is no silence."""

LONG_SILENCE: Final = 240.0
"""Steps beyond which a hole makes the next one usual only half as long again."""


@step
def learn_silence(s: Any, p: Any) -> None:
    """Where the series' own gaps seldom reach; kept, because it costs a logarithm and a power."""
    own = 2.0 ** min(gap_at(s, p[P_GAP_RATE], p), 12.0)
    # Lengths of holes are spread over magnitudes: after one of four steps one of nine is usual, after one of twenty one
    # of a hundred. But one long silence is no leave for ever longer ones.
    longest = float(s.longest_hole)
    s.silence_steps = max(p[P_SILENCE], own, min(longest ** p[P_HOLE], max(LONG_SILENCE, 1.5 * longest)))


@hot_step
def learn_interval(s: Any, seconds: float, p: Any) -> None:
    """Follow the usual step; a gap or a burst moves it only slowly."""
    if s.count == 1:
        if s.interval == 0.0:
            s.interval = seconds
        return
    usual = float(s.interval)
    if seconds > 1.5 * usual:
        s.interval *= 1.02
    elif seconds < 0.6 * usual:
        s.interval *= 0.9
    else:
        s.interval += 0.05 * (seconds - usual)
    # The first steps tell little of gaps.
    if s.count > 8 and seconds > 1.3 * usual:
        ratio = seconds / usual
        learn_gap(s, min(math.log2(ratio), 6.0), p)
        if ratio > 2.5:
            s.longest_hole = max(s.longest_hole, min(ratio, 240.0))
        learn_silence(s, p)


@hot_step
def silence_limit_ms(s: Any, p: Any) -> int:
    """Milliseconds after the last value at which the series counts as stopped."""
    steps = s.silence_steps if s.silence_steps > 0.0 else p[P_SILENCE]
    return int(1000.0 * max(s.interval * steps, LEAST_SILENCE_S))


@step
def note_silence(s: Any, t: Any) -> bool:
    """Open the alert of a series that is silent at time t (ms); False if another one is open or little is known."""
    if s.open != 0 or s.count < 30:
        return False
    s.open = STALE
    s.opened_ms = t
    s.began_ms = s.last_ms
    s.score = 0.95
    s.severity = 4
    s.held = 0
    return True
