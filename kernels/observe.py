"""One value of one series: predict, weigh the evidence, run the alert rule, learn.

Cheap floors on a sample, on a run, on the pattern of days and on the variation make a value a candidate; the pattern
model (kernels.pattern) weighs its evidence (kernels.evidence) as log odds, and an alert opens at the limit that
`sensitivity` sets. Zeros, values that stand still and silence have rules of their own.

A *run* is a stretch of samples on one side of a reference that was frozen when it began. While it lasts the local
levels do not learn; when it ends they go on; when it lasts too long its own level is adopted.

The steps stand in modules of their own, and pass on what they found as named tuples, which the compiler takes apart:
`moment` (when), `prediction` (how far from what was expected), `runs`, `days` (level of days, variation), `candidates`
and `zero_and_flat` (is it a fault), `strength` (score), `alert_rule`, `adoption`, `learning`.
"""

from __future__ import annotations

from typing import Any, Final

from kernels.adoption import adopt, adopts_alert, adopts_silently
from kernels.alert_rule import count_calm, hold_alert, open_alert
from kernels.candidates import Verdict, weigh_candidate
from kernels.days import Days, Variation, follow_days, follow_variation, settle_muted
from kernels.findings import O_DEVIATION, O_EXPECTED, O_LOWER, O_SCORE, O_UPPER, clear_findings
from kernels.habits import note_peaks, note_range
from kernels.jit import hot_step
from kernels.learning import learn_value
from kernels.moment import Moment, arrive, begin_series
from kernels.prediction import Deviation, deviation_of
from kernels.runs import Run, follow_run
from kernels.series_state import P_BAND
from kernels.staleness import learn_silence
from kernels.strength import score_of, show_coarse, strength_of
from kernels.tail import discount_tails
from kernels.zero_and_flat import judge_zero_and_flat

LARGEST: Final = 1e30
"""What is larger counts as this much: deviations are kept in 32 bits, and one that does not fit would be infinite, the
next not a number, and the series deaf for good."""


@hot_step
def observe_value(s: Any, t: int, x: float, p: Any, out: Any) -> None:
    """One value of one series at time t (ms, later than the last): score, then learn. Fills `out` (kernels.findings);
    s: its record, p: the parameters (both kernels.series_state)."""
    x = min(max(x, -LARGEST), LARGEST)
    clear_findings(out, x)
    if s.count == 0:
        begin_series(s, t, x)
        return
    now = arrive(s, t, p)
    d = deviation_of(s, now, x, p)
    write_band(d, p, out)
    run = follow_run(s, now, d)
    days = follow_days(s, now, d)
    variation = follow_variation(s, now, x)
    verdict = judge_zero_and_flat(s, now, d, weigh_candidate(s, now, d, run, days, variation, p, out), p)
    previous = s.previous
    s.previous = x
    distance = alert(s, now, d, run, days, variation, verdict, p, out)
    note_peaks(s, d.deviation * d.dense, run.third)
    note_range(s, x, previous, s.run_side != 0.0 or run.local)
    learn_value(s, now, d, p)
    s.q = distance
    s.log_short = variation.short
    if discount_tails(s, now.weight_s):
        learn_silence(s, p)


@hot_step
def write_band(d: Deviation, p: Any, out: Any) -> None:
    """What was expected, and how far from it the value is."""
    out[O_EXPECTED] = d.expected
    out[O_LOWER] = d.expected - p[P_BAND] * d.scale
    out[O_UPPER] = d.expected + p[P_BAND] * d.scale
    out[O_DEVIATION] = d.deviation


@hot_step
def alert(
    s: Any, now: Moment, d: Deviation, run: Run, days: Days, variation: Variation, verdict: Verdict, p: Any, out: Any
) -> float:
    """Score the sample and run the alert rule; returns the smoothed distance from days that is to be kept."""
    strength = strength_of(s, now, d.deviation, verdict)
    out[O_SCORE] = score_of(s, now, d, strength)
    was_open = s.open != 0
    count_calm(s, d.deviation)
    adopted = run.local and adopts_alert(s, now.step_s, d.scale, p)
    silently = not run.local and adopts_silently(s, now, d.scale, p)
    if was_open:
        adopted = hold_alert(s, now, d, run, days, variation, strength, adopted, out)
    elif strength.lasting >= 0.5 and not silently:
        open_alert(s, now, d, run, verdict.reason, strength, out)
    if now.coarse and now.warm:
        show_coarse(s, d, verdict, strength, was_open, out)
    if (adopted and run.local) or silently:
        adopt(s, now, d.season, days, adopted)
    return settle_muted(s, now, days, variation)
