"""What the detector remembers of a series: one fixed-size record, and the names of its parameters.

`STATE` is a numpy dtype and, as `STATES`, the type kernels take. A record is all zeros for a series never seen.
Values are float64 where a large offset with a small movement must survive, float32 elsewhere. Fields stand by how often
they are touched, because a record that is not in the cache costs as much as it has lines touched: first what every
point touches (`TOUCHED` bytes), then what a run adds, the season's cells, of which a point touches two, and the rest.
Cells are int16 in units of `unit`, so that a day at fifteen minutes costs 192 bytes.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import from_dtype, types

CELLS: Final = 96
"""Season cells of a day, fifteen minutes each."""
RECENT: Final = 6
"""Deviations kept as they came."""
HOURS: Final = 24
DAY_S: Final = 86400
DAY_MS: Final = 1000 * DAY_S

LEVELS: Final = 4
"""Local predictors: half-lives of 1.5, 6 and 30 samples, and a level with a slope for smooth series."""
TRENDED: Final = 3
"""The one with a slope."""

STATE: Final[np.dtype[Any]] = np.dtype(
    [
        # Touched by every point: how values arrive.
        ("last_ms", np.int64),  # time of the last value scored; 0 = never
        ("raw_ms", np.int64),  # time of the last row taken, scored or not
        ("raw", np.float64),  # its value as it came: increments of counters
        ("previous", np.float64),  # last value scored: repeats
        ("first_ms", np.int64),
        ("interval", np.float32),  # learned step, seconds
        ("silence_steps", np.float32),  # steps without a point that make it stale; 0 = not known yet
        ("count", np.uint32),  # values scored or learned from
        ("generation", np.uint32),
        # Where the series stands, its season taken off.
        ("levels", np.float64, (LEVELS,)),
        ("slope", np.float64),  # per second, of the trended level
        ("slow", np.float64),  # level over a day
        ("losses", np.float32, (LEVELS,)),  # mean absolute error of each predictor, over a day
        ("short_dev", np.float32),  # mean absolute error of the chosen one, over an hour
        ("long_dev", np.float32),  # the same over a day
        ("stride", np.float32),  # mean step between unequal values: what a coarse value moves by
        ("step", np.float32),  # last value less the one before
        ("season_then", np.float32),  # season when the levels last learned
        ("active", np.float32),  # mean absolute value where it is not zero
        ("zero_share", np.float32),
        ("zero_run", np.uint16),
        # The alert, and what stands for one.
        ("open", np.uint8),  # 0 closed, else reason
        ("chosen", np.uint8),  # predictor in use
        ("muted", np.uint8),  # reason whose alert was closed by time, until its evidence is gone
        ("severity", np.uint8),
        ("calm", np.uint16),  # samples back at the reference
        ("recent", np.int16, (RECENT,)),  # the last deviations, in sixteenths of a scale
        ("run_sum", np.float32),
        ("run_side", np.float32),  # +1, -1; 0 = no run
        ("usual_dev", np.float32),  # mean distance from what was expected, over the whole life
        ("recent_dev", np.float32),  # the same over the last samples
        ("recent_score", np.float32),  # score of the evidence over the last samples
        ("repeats", np.uint32),  # of the last value in a row
        ("longest_repeat", np.float32),  # forgetting maximum of it
        # Days and variation.
        ("slow_before_s", np.uint32),
        ("q", np.float32),  # smoothed distance from season and slow level
        ("q_dev", np.float32),
        ("log_short", np.float32),  # smoothed log of the step from sample to sample
        ("log_long", np.float32),  # the same over two days
        ("log_usual", np.float32),  # of this hour of the day, less log_long
        ("log_dev", np.float32),  # how far log_short usually is from log_long + log_usual
        ("log_known", np.uint8),  # the two logs have a first value
        ("busy", np.uint8),  # samples in a row that are not zero, up to 15; times 16, the most before that ended
        # What is gathered for the block, the day, the cell.
        ("hour_samples", np.uint16),
        ("block_s", np.uint32),  # Unix seconds at which the block ends
        ("day_s", np.uint32),  # Unix seconds at which the day ends
        ("log_sum", np.float32),  # of log_short over the block
        ("error_sum", np.float32),  # of the error of days over the block
        ("peak", np.float32, (3,)),  # of the block: one sample up, one down, third of the recent
        ("origin", np.float64),  # the ranges count from here
        ("pending", np.float32, (2,)),  # lowest and highest of a run that may yet be adopted
        ("today", np.float32, (2,)),  # lowest and highest pair of samples
        ("learned_s", np.float32),  # seconds since the last discount
        ("season_gain", np.float32),  # 0 … 1: how far the season is trusted
        ("unit", np.float32),
        ("cell_sum", np.float32),
        ("cell_now", np.int16),
        ("cell_count", np.uint16),
        ("seen", np.uint8, (CELLS // 8,)),  # days, by two hours
        # Touched while there is a run: it stands next, as most records' lines still hold it.
        ("run_count", np.uint16),
        ("quiet", np.uint16),  # samples of the run within one scale, in a row
        ("candidate_dev", np.float32),
        ("onset", np.float32),  # largest step of a run's first two samples
        ("fallback_s", np.uint32),
        ("reference", np.float64),  # prediction when the run began
        ("candidate", np.float64),  # level of a regime that may be adopted
        ("fallback", np.float64),  # level before the last adoption
        ("held", np.uint16),  # samples the open alert has lasted
        # The season: of the cells a point touches two.
        ("cells", np.int16, (CELLS,)),
        # Touched by candidates and alerts, and when a block, a day or a cell is over.
        ("hours", np.uint16),  # folded
        ("hour_now", np.int16),  # hour of the day being gathered; -1 = none
        ("novel", np.int16),  # where samples are far apart: how rare the next must be, in hundredths of a decade
        ("slow_before", np.float64),  # the same before the last adoption
        ("began_ms", np.int64),  # first exceedance
        ("opened_ms", np.int64),
        ("score", np.float32),
        ("muted_s", np.uint32),
        ("longest_hole", np.float32),  # steps; forgetting maximum
        ("peak_mean", np.float32, (3,)),  # log, over blocks
        ("peak_top", np.float32, (3,)),  # log, slowly forgotten
        ("yesterday", np.float32, (2,)),
        ("week", np.float32, (2,)),
        ("known_days", np.float32),  # days learned from, discounted
        ("gaps", np.float32),  # gaps seen, discounted
        ("gap_excess", np.float32),  # summed excess of the gaps, discounted
        ("loss_with", np.float32),
        ("loss_without", np.float32),
        ("log_hours", np.int8, (HOURS,)),  # log_usual of each hour, in sixteenths
        ("day_hours", np.int8, (HOURS,)),  # log of the error of days in each hour, less that of all, in sixteenths
    ],
    align=True,
)
"""State of one series."""

_OFFSETS: Final[Any] = STATE.fields
TOUCHED: Final = int(_OFFSETS["run_count"][1])
"""Bytes from the start of a record that every point touches."""
CELLS_AT: Final = int(_OFFSETS["cells"][1])
"""Bytes before the season's cells."""

STATES: Final = types.Array(from_dtype(STATE), 1, "C")

# What a record knows, by how fast it changes. While learning is frozen the slow fields are those that are put back
# (gateway.baseline.freeze). Fields of one group belong together: a sum and the clock that says when it is folded.
STEP_FIELDS: Final = ("interval", "silence_steps")
"""How far samples are apart, and so how long silence is usual."""
GAP_FIELDS: Final = ("longest_hole", "known_days", "gaps", "gap_excess", "learned_s")
SCALE_FIELDS: Final = (
    "losses", "short_dev", "long_dev", "stride", "active", "zero_share", "usual_dev", "longest_repeat",
)  # fmt: skip
DAY_FIELDS: Final = ("slow", "slow_before", "slow_before_s", "q_dev")
SEASON_FIELDS: Final = (
    "season_gain", "unit", "cell_sum", "cell_now", "cell_count", "seen", "cells", "loss_with", "loss_without",
)  # fmt: skip
HABIT_FIELDS: Final = (
    "hour_samples", "block_s", "day_s", "log_sum", "error_sum", "peak", "peak_mean", "peak_top", "hours", "hour_now",
    "origin", "pending", "today", "yesterday", "week",
    "log_long", "log_usual", "log_dev", "log_known", "log_hours", "day_hours",
)  # fmt: skip
SLOW_FIELDS: Final = (*STEP_FIELDS, *GAP_FIELDS, *SCALE_FIELDS, *DAY_FIELDS, *SEASON_FIELDS, *HABIT_FIELDS)
SHIFTED_FIELDS: Final = ("first_ms", "fallback", "fallback_s", "q", "muted", "muted_s", "log_short", "busy")
"""Neither slow nor fast: what they say is relative to slow ones, or to the stretch that was not learned from."""
FAST_FIELDS: Final = tuple(name for name in STATE.names or () if name not in {*SLOW_FIELDS, *SHIFTED_FIELDS})
"""Where the series is now: its arrival, levels, run, alert and last deviations."""

EVIDENCE: Final = 46
"""Features of a candidate (kernels.evidence.FEATURE_NAMES)."""

TRANSITION: Final[np.dtype[Any]] = np.dtype(
    [
        ("sid", np.uint32),
        ("row", np.int64),  # row of the batch; -1 when time alone brought it
        ("time_ms", np.int64),
        ("began_ms", np.int64),
        ("opened_ms", np.int64),
        ("value", np.float64),
        ("expected", np.float64),
        ("lower", np.float64),
        ("upper", np.float64),
        ("score", np.float32),
        ("deviation", np.float32),  # in scales
        ("kind", np.uint8),  # OPENED, CHANGED, CLOSED
        ("severity", np.uint8),
        ("reason", np.uint8),
        ("closing", np.uint8),
        ("proposed", np.uint8),  # O_CANDIDATE of an alert that the pattern model opened, else 0
        ("evidence", np.float32, (EVIDENCE,)),  # its features
        ("once_s", np.float32),  # seconds in which a sample so far away is to be expected once; 0 = not known
    ],
    align=True,
)
"""One change of an alert."""

TRANSITIONS: Final = types.Array(from_dtype(TRANSITION), 1, "C")

OPENED: Final = 1
CHANGED: Final = 2
CLOSED: Final = 3

# Reasons; their words are in gateway.baseline.reasons.
SPIKE: Final = 1
SUSTAINED: Final = 2
SEASON: Final = 3
NOISIER: Final = 4
CALMER: Final = 5
ZERO: Final = 6
FLAT: Final = 7
STALE: Final = 8
GROUP: Final = 9

# Why an alert closed.
BACK: Final = 1
ADOPTED: Final = 2
FORGOTTEN: Final = 3

# Positions in the parameter vector (float64).
P_WARM_UP_MS: Final = 0
P_LIMIT: Final = 1  # log odds of the pattern model at which an alert opens, for runs
P_SEASON: Final = 2  # 1: on, as the flags below
P_LOCAL: Final = 3
P_SLOW: Final = 4
P_VARIANCE: Final = 5
P_ZERO: Final = 6
P_FLAT: Final = 7
P_STALE: Final = 8
P_ADOPT: Final = 9  # samples after which a new level is adopted
P_CHOICE: Final = 10  # 1: the best of the predictors; 0: the middle one
P_SILENCE: Final = 11  # intervals without a point that make a series stale
P_GAP_RATE: Final = 12  # silences a day that an alert may stand for
P_GAP_FLOOR: Final = 13  # log2 of the steps from which a gap counts
P_GAP_USUAL: Final = 14  # gaps a day and their mean excess before a series has shown its own
P_GAP_EXCESS: Final = 15
P_BAND: Final = 16  # half width of lower … upper, in scales
P_HOLE: Final = 17  # power of the longest hole seen, in steps, that a silence must last
P_LIMIT_SLOW: Final = 18  # as P_LIMIT, for what no run brought
P_LIMIT_CALMER: Final = 19  # the same for less variation than usual
P_MODEL: Final = 20  # from here the tables of kernels.pattern
