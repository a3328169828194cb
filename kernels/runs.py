"""Runs: stretches of samples on one side of a reference that was frozen when they began.

While a run lasts the local levels do not learn. It ends when its samples no longer add up (a cumulative sum, each
sample capped) or come back within one scale; the level it has is the candidate for an adoption (kernels.adoption).
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from kernels.habits import note_recent, third_of_recent
from kernels.jit import hot_step
from kernels.moment import Moment
from kernels.prediction import Deviation, is_local

ENTER: Final = 2.5
"""Scales at which a run begins."""
DRIFT_RUN: Final = 2.0
"""Scales a sample of a run must be beyond the reference to add to it."""
CAP: Final = 9.0
"""Scales at which one sample's addition to a run is capped."""
LARGEST_SUM: Final = 60.0
QUIET: Final = 4
"""Samples within one scale, in a row, that end a run."""


class Run(NamedTuple):
    """What one sample has to do with runs."""

    inside: bool
    """It belongs to a run, which may have ended with it."""
    local: bool
    """Before it an alert on the level of just now was open."""
    third: float
    """Third largest of the recent deviations on the run's side, in scales; 0 outside."""


@hot_step
def end_run(s: Any) -> None:
    """The local levels go on."""
    s.run_side = 0.0
    s.run_sum = 0.0


@hot_step
def begin_run(s: Any, now: Moment, d: Deviation, side: float, local: bool) -> None:
    """From here on samples are compared with the prediction of this one, unless an open alert has a reference."""
    s.run_side = side
    s.run_sum = 0.0
    s.run_count = 0
    s.quiet = 0
    s.onset = 0.0
    if not local:
        s.reference = d.prediction
        s.candidate = d.deseasonalised
        s.candidate_dev = d.scale
        if s.open == 0:
            s.began_ms = now.t


@hot_step
def continue_run(s: Any, d: Deviation) -> float:
    """Add a sample to the run, and end it if that was all; returns the third largest of the recent deviations."""
    s.run_count += 1
    if s.run_count <= 2:
        s.onset = max(s.onset, abs(d.value - s.previous))
    s.quiet = s.quiet + 1 if abs(d.deviation) < 1.0 else 0
    s.run_sum = min(s.run_sum + d.dense * (min(s.run_side * d.deviation, CAP) - DRIFT_RUN), LARGEST_SUM)
    third = third_of_recent(s, s.run_side)
    if s.run_sum <= 0.0 or s.quiet >= QUIET:
        end_run(s)
    return third


@hot_step
def follow_run(s: Any, now: Moment, d: Deviation) -> Run:
    """Begin, continue, turn or end a run by one sample."""
    note_recent(s, d.deviation * d.dense)
    local = is_local(s)
    inside = s.run_side != 0.0
    side = 1.0 if d.deviation > 0.0 else -1.0
    if inside and side != s.run_side and abs(d.deviation) > ENTER:
        # Through the reference to the other side: a run of its own.
        s.run_side = side
        s.run_sum = 0.0
    if not inside and abs(d.deviation) > ENTER:
        begin_run(s, now, d, side, local)
        inside = True
    third = continue_run(s, d) if inside else 0.0
    if inside or local:
        a = 1.0 / min(s.run_count + 1.0, 6.0)
        away = d.deseasonalised - s.candidate
        s.candidate += a * away
        s.candidate_dev += a * (abs(away) - s.candidate_dev)
    return Run(inside, local, third)
