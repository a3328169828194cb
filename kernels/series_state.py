"""What the detector remembers of a series: one fixed-size record, and the names of its parameters.

`STATE` is a numpy dtype and, as `STATES`, the type kernels take. A record is all zeros for a series never seen.
Values are float64 where a large offset with a small movement must survive, float32 elsewhere. The fields every point
touches stand first; the season's cells, of which a point touches two, stand last. Cells are int16 in units of `unit`,
so that a day at ten minutes costs 288 bytes.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import from_dtype, types

CELLS: Final = 144
"""Season cells of a day, ten minutes each."""

# Streams of evidence; each has its own statistic and its own tail.
S_SPIKE: Final = 0  # deviation of one sample, in scales
S_RUN: Final = 1  # deviation summed over a run on one side of a frozen reference
S_SLOW: Final = 2  # smoothed distance from the season and the level of days
S_NOISIER: Final = 3  # log of the variation, upward
S_CALMER: Final = 4  # and downward
S_SILENCE: Final = 5  # log2 of a gap in steps
STREAMS: Final = 6

LEVELS: Final = 4
"""Local predictors: half-lives of 1.5, 6 and 30 samples, and a level with a slope for smooth series."""
TRENDED: Final = 3
"""The one with a slope."""

STATE: Final[np.dtype[Any]] = np.dtype(
    [
        # How values arrive.
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
        ("reference", np.float64),  # prediction when the run began
        ("candidate", np.float64),  # level of a regime that may be adopted
        ("fallback", np.float64),  # level before the last adoption
        ("slow", np.float64),  # level over a day
        ("slow_before", np.float64),  # the same before the last adoption
        ("slow_before_ms", np.int64),
        ("fallback_ms", np.int64),
        ("losses", np.float32, (LEVELS,)),  # mean absolute error of each predictor, over a day
        ("short_dev", np.float32),  # mean absolute error of the chosen one, over an hour
        ("long_dev", np.float32),  # the same over a day
        ("candidate_dev", np.float32),
        ("stride", np.float32),  # mean step between unequal values: what a coarse value moves by
        ("season_then", np.float64),  # season when the levels last learned
        ("q", np.float32),  # smoothed distance from season and slow level
        ("q_dev", np.float32),
        ("log_short", np.float32),  # smoothed log of the standardised error
        ("log_long", np.float32),
        ("log_dev", np.float32),
        ("run_sum", np.float32),
        ("run_side", np.float32),  # +1, -1; 0 = no run
        ("run_count", np.uint16),
        ("calm", np.uint16),  # samples back at the reference
        ("zero_run", np.uint16),
        ("held", np.uint16),  # samples the open alert has lasted
        ("repeats", np.uint32),  # of the last value in a row
        ("longest_repeat", np.float32),  # forgetting maximum of it
        ("zero_share", np.float32),
        ("active", np.float32),  # mean absolute value where it is not zero
        # The alert.
        ("score", np.float32),
        ("began_ms", np.int64),  # first exceedance
        ("opened_ms", np.int64),
        ("severity", np.uint8),
        ("open", np.uint8),  # 0 closed, else reason
        ("chosen", np.uint8),  # predictor in use
        ("log_known", np.uint8),  # the two logs have a first value
        # Tails.
        ("known_days", np.float32),  # days learned from, discounted
        ("learned_s", np.float32),  # seconds since the last discount
        ("gaps", np.float32),  # gaps seen, discounted
        ("gap_excess", np.float32),  # summed excess of the gaps, discounted
        # The season.
        ("season_gain", np.float32),  # 0 … 1: how far the season is trusted
        ("loss_with", np.float32),
        ("loss_without", np.float32),
        ("unit", np.float32),
        ("cell_sum", np.float64),
        ("cell_now", np.int16),
        ("cell_count", np.uint16),
        ("seen", np.uint8, (CELLS // 8,)),  # days, by 80 minutes
        ("cells", np.int16, (CELLS,)),
    ],
    align=True,
)
"""State of one series."""

STATES: Final = types.Array(from_dtype(STATE), 1, "C")

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
    ],
    align=True,
)
"""One change of an alert."""

TRANSITIONS: Final = types.Array(from_dtype(TRANSITION), 1, "C")

OPENED: Final = 1
CHANGED: Final = 2
CLOSED: Final = 3

# Reasons; their words are in gateway.baseline.reasons.
NO_REASON: Final = 0
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
P_BUDGET: Final = 1  # expected excursions a day, per stream, below which an alert opens
P_SEASON: Final = 2  # 1: on, as the flags below
P_SPIKE: Final = 3
P_RUN: Final = 4
P_SLOW: Final = 5
P_VARIANCE: Final = 6
P_ZERO: Final = 7
P_FLAT: Final = 8
P_STALE: Final = 9
P_ADOPT: Final = 10  # samples after which a new level is adopted
P_CHOICE: Final = 11  # 1: the best of three predictors; 0: the middle one
P_SILENCE: Final = 12  # intervals without a point that make a series stale
P_BAND: Final = 13  # half width of lower … upper, in scales
P_PRIOR: Final = 14  # from here STREAMS × (floor, prior rate a day, prior mean excess)
PARAMETERS: Final = P_PRIOR + 3 * STREAMS
