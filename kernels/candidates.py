"""Candidates: what is beyond cheap floors, weighed by the pattern model as log odds of a fault.

A candidate may come from a run, from the level of days, or from the variation. What is large beyond doubt counts
whatever the model says: trees cut where the recordings had faults, and far beyond those a value may fall on either side
of a cut that means nothing there. In a series' first day, of which no days are known yet, nothing else counts.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

from kernels.days import Days, Variation
from kernels.evidence import FEATURE_NAMES, weigh_evidence
from kernels.findings import O_CANDIDATE, O_FEATURES
from kernels.jit import hot_step
from kernels.moment import Moment
from kernels.pattern import second_table, weigh
from kernels.prediction import Deviation
from kernels.runs import Run
from kernels.series_state import (
    CALMER,
    NOISIER,
    P_LIMIT,
    P_LIMIT_CALMER,
    P_LIMIT_SLOW,
    P_LOCAL,
    P_MODEL,
    P_SLOW,
    P_VARIANCE,
    SEASON,
    SPIKE,
    SUSTAINED,
)
from kernels.sparse import SPARSE, SPARSE_LARGE

HOPELESS: Final = 3.0
"""Log odds under the limit at which the first trees end the matter."""
UNASKED: Final = -30.0
"""Log odds of what is no candidate."""
LARGE: Final = 9.0
"""Scales that three of six samples must reach to be large beyond doubt."""
UNSEEN: Final = 0.7
"""By how much, as a logarithm, they must exceed the highest three of six that the series remembers: twice."""
OUTSIDE: Final = 0.5
"""Widths of the week's range by which the last two samples must both lie outside it."""
SPARSE_UNSEEN: Final = 4.0
"""Scales that three of six samples of a sparse count must reach: its scale is what it is when it is not zero."""
ALONE: Final = 12.0
"""Scales that one sample must reach to be large beyond doubt by itself."""
ALONE_UNSEEN: Final = 1.6
"""By how much, as a logarithm, it must exceed the highest peak that the series remembers: five times."""
ALONE_OUTSIDE: Final = 2.5
"""log(1 + scales) by which it must lie outside the range of two days."""
ALONE_RARE: Final = 4.0
"""Spreads of the series' own peaks by which it must exceed their mean: where peaks are of all heights, one more is none
of the news."""
ALONE_MOST: Final = 0.9
"""Log odds over the limit that one sample may have: a medium alert. What lasts is soon three of six."""
LOOK_SPIKE: Final = 4.0
"""Floors of candidates: scales of one sample, a run's sum, scales of the third of six, errors of days, of variation."""
LOOK_RUN: Final = 5.0
LOOK_THIRD: Final = 3.0
LOOK_SLOW: Final = 2.5
LOOK_WAVE: Final = 2.5
THIRD_ABOVE_TOP: Final = FEATURE_NAMES.index("third_above_top")
BEYOND_WIDTH: Final = FEATURE_NAMES.index("beyond_width")
ABOVE_TOP: Final = FEATURE_NAMES.index("above_top")
BEYOND_DAYS: Final = FEATURE_NAMES.index("beyond_days")
RARITY: Final = FEATURE_NAMES.index("rarity")


class Floors(NamedTuple):
    """What of a sample is beyond the floors."""

    run: bool
    days: bool
    variation: bool


class Verdict(NamedTuple):
    """What speaks for an alert."""

    odds: float
    """Log odds of a fault."""
    limit: float
    """Log odds at which an alert opens."""
    reason: int
    """Its name if it does; 0 for what is ordinary."""


@hot_step
def look(s: Any, now: Moment, d: Deviation, run: Run, days: Days, variation: Variation, p: Any) -> Floors:
    """Compare a sample with the floors."""
    local = p[P_LOCAL] > 0.0 and (
        abs(d.deviation) * d.dense > LOOK_SPIKE or s.run_sum > LOOK_RUN or run.third > LOOK_THIRD
    )
    slow = p[P_SLOW] > 0.0 and now.mature and abs(days.distance) > LOOK_SLOW * days.usual and s.muted != SEASON
    wave = p[P_VARIANCE] > 0.0 and abs(variation.wave) > LOOK_WAVE * variation.usual and s.muted != NOISIER
    return Floors(local, slow, wave)


@hot_step
def name_reason(s: Any, d: Deviation, run: Run, days: Days, variation: Variation, beyond: Floors) -> int:
    """The kind of evidence that is furthest beyond its floor gives the name."""
    local_by = max(abs(d.deviation) * d.dense / 8.0, s.run_sum / 15.0, run.third / 6.0) if beyond.run else 0.0
    slow_by = abs(days.distance) / (5.0 * days.usual) if beyond.days else 0.0
    wave_by = abs(variation.wave) / (4.5 * variation.usual) if beyond.variation else 0.0
    if local_by >= slow_by and local_by >= wave_by:
        reason = SPIKE if s.run_count <= 1 else SUSTAINED
    elif slow_by >= wave_by:
        reason = SEASON
    else:
        reason = NOISIER if variation.wave > 0.0 else CALMER
    return reason


@hot_step
def limit_of(beyond: Floors, wave: float, p: Any) -> float:
    """Log odds at which a candidate becomes an alert."""
    limit: float = p[P_LIMIT]
    if not beyond.run:
        limit = p[P_LIMIT_SLOW] if beyond.days or wave > 0.0 else p[P_LIMIT_CALMER]
    return limit


@hot_step
def beyond_doubt(size: float, least: float) -> float:
    """Log odds over the limit of what is so many scales, where so many are least."""
    return 2.0 * math.log(max(size, 0.1) / least)


@hot_step
def odds_of_unseen(s: Any, height: float, third: float, evidence: Any) -> float:
    """Log odds over the limit of recent samples, or of one, that are large beyond doubt against all that the series has
    shown too; UNASKED of what is not.

    height, third: of the sample, and of three of the last six, in scales.
    """
    odds = UNASKED
    if (
        height > ALONE
        and evidence[O_FEATURES + ABOVE_TOP] > ALONE_UNSEEN
        and evidence[O_FEATURES + BEYOND_DAYS] > ALONE_OUTSIDE
        and evidence[O_FEATURES + RARITY] > ALONE_RARE
    ):
        odds = min(beyond_doubt(height, ALONE), ALONE_MOST)
    least = SPARSE_UNSEEN if s.zero_share > SPARSE and s.run_side > 0.0 else LARGE
    if (
        third > least
        and evidence[O_FEATURES + THIRD_ABOVE_TOP] > UNSEEN
        and evidence[O_FEATURES + BEYOND_WIDTH] > OUTSIDE
    ):
        odds = max(odds, beyond_doubt(third, least))
    return odds


@hot_step
def ask_model(
    s: Any, now: Moment, d: Deviation, run: Run, days: Days, wave: float, beyond: Floors, limit: float, p: Any, out: Any
) -> float:
    """Log odds of the pattern model, or of what is large beyond doubt; leaves the features in `out`."""
    out[O_CANDIDATE] = (1.0 if beyond.run else 0.0) + (2.0 if beyond.days else 0.0) + (4.0 if beyond.variation else 0.0)
    weigh_evidence(
        s, now.t, d.value, d.deseasonalised, d.error, d.deviation, run.third, d.scale, days.apart, days.distance, wave,
        d.expected, d.dense, out, O_FEATURES,
    )  # fmt: skip
    table = P_MODEL if beyond.run else second_table(p, P_MODEL)
    # Where samples are far apart also hopeless odds have their place in the score.
    odds = weigh(out, O_FEATURES, p, table, -math.inf if now.coarse else limit - HOPELESS)
    if s.zero_share > SPARSE and s.run_side > 0.0 and run.third > SPARSE_LARGE:
        # A count that is mostly zero and is not any more. The model has seen few of these, and how far they usually go
        # is known from what they are when they are not zero.
        odds = max(odds, limit + 1.0 + 2.0 * math.log(run.third / SPARSE_LARGE))
    if beyond.run and not now.coarse:
        odds = max(odds, limit + odds_of_unseen(s, abs(d.deviation) * d.dense, run.third, out))
    return odds


@hot_step
def weigh_candidate(
    s: Any, now: Moment, d: Deviation, run: Run, days: Days, variation: Variation, p: Any, out: Any
) -> Verdict:
    """What the evidence says of one sample."""
    odds = UNASKED
    limit: float = p[P_LIMIT]
    reason = 0
    beyond = look(s, now, d, run, days, variation, p)
    if now.warm and (beyond.run or beyond.days or beyond.variation):
        if now.mature:
            limit = limit_of(beyond, variation.wave, p)
            odds = ask_model(s, now, d, run, days, variation.wave, beyond, limit, p, out)
        else:
            odds = limit + beyond_doubt(run.third, LARGE)
        reason = name_reason(s, d, run, days, variation, beyond)
    return Verdict(odds, limit, reason)
