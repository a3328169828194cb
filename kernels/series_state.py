"""What the detector remembers of a series: one fixed-size record, and the names of its parameters.

`STATE` is a numpy dtype and, as `STATES`, the type kernels take. A record is all zeros for a series never seen.
Values are float64 where a large offset with a small movement must survive, float32 elsewhere. The season's cells are
int16 in units of `unit`, so that a day at ten minutes costs 288 bytes.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import from_dtype, types

CELLS: Final = 144
"""Season cells of a day, ten minutes each."""

STATE: Final[np.dtype[Any]] = np.dtype(
    [
        # How values arrive.
        ("last_ms", np.int64),  # time of the last point taken; 0 = never seen
        ("first_ms", np.int64),
        ("changed_ms", np.int64),  # since when the value has been the same
        ("raw_ms", np.int64),  # time of the last row taken, scored or not
        ("raw", np.float64),  # its value as it came: increments of counters
        ("previous", np.float64),  # last value scored: repeats
        ("interval", np.float32),  # learned step, seconds
        ("longest_gap", np.float32),  # forgetting maximum of gap / interval
        ("count", np.uint32),  # values scored or learned from
        ("generation", np.uint32),
        # Where the series stands.
        ("level", np.float64),  # local level of the value without its season
        ("slow", np.float64),  # level over a day
        ("frozen_level", np.float64),  # level when the first exceedance came
        ("candidate", np.float64),  # level of a regime that may be adopted
        ("slope", np.float32),  # per second, of the local level
        ("short_dev", np.float32),  # mean absolute deviation, an hour
        ("long_dev", np.float32),  # the same over a day
        ("candidate_dev", np.float32),
        ("diff_dev", np.float32),  # mean absolute step
        ("step_quantum", np.float32),  # smallest step seen lately: the resolution of the value
        # Tails of the evidence, in scales.
        ("tail_u", np.float32),  # quantile 98 % of the standardised deviation
        ("tail_excess", np.float32),  # mean excess over it
        ("tail2_u", np.float32),  # the same for two of three
        ("tail2_excess", np.float32),
        ("z1", np.float32),  # the two deviations before this one
        ("z2", np.float32),
        ("cusum_up", np.float32),
        ("cusum_down", np.float32),
        ("var_up", np.float32),
        ("var_down", np.float32),
        ("run", np.uint32),  # repeats of the last value in a row
        ("longest_run", np.float32),  # forgetting maximum of it
        ("zero_share", np.float32),
        ("zero_run", np.uint16),
        ("exceeding", np.uint16),  # samples beyond the reference in a row, with forgiveness
        ("calm", np.uint16),  # samples back within it
        ("candidate_count", np.uint16),
        # The alert.
        ("opened_ms", np.int64),
        ("began_ms", np.int64),  # first exceedance
        ("score", np.float32),
        ("severity", np.uint8),
        ("open", np.uint8),  # 0 closed, else reason code
        ("flags", np.uint8),
        ("stale", np.uint8),
        # The season.
        ("season_gain", np.float32),  # 0 … 1: how far the season is trusted
        ("loss_with", np.float32),
        ("loss_without", np.float32),
        ("unit", np.float32),
        ("days", np.float32),
        ("cell_now", np.int16),
        ("cell_count", np.uint16),
        ("cell_sum", np.float64),
        ("cells", np.int16, (CELLS,)),
        ("seen", np.uint8, (CELLS,)),
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

# Reasons, in the order of their words in gateway.baseline.reasons.
NO_REASON: Final = 0
SPIKE: Final = 1
SUSTAINED: Final = 2
DRIFT: Final = 3
NOISIER: Final = 4
CALMER: Final = 5
ZERO: Final = 6
FLAT: Final = 7
STALE: Final = 8
LEAK: Final = 9
SEASON: Final = 10
GROUP: Final = 11

# Why an alert closed.
BACK: Final = 1
ADOPTED: Final = 2
FORGOTTEN: Final = 3

# Positions in the parameter vector (float64).
P_WARM_UP_MS: Final = 0
P_INSTANT: Final = 1  # scales at which one sample is enough
P_PERSIST: Final = 2  # scales for two of three
P_EXCEED: Final = 3  # scales at which a sample is an exceedance and learning stops
P_TAIL: Final = 4  # weight of the series' own tail, 0 = off
P_SEASON: Final = 5  # flags: 1 = on
P_CUSUM: Final = 6
P_VARIANCE: Final = 7
P_ZERO: Final = 8
P_FLAT: Final = 9
P_STALE: Final = 10
P_ADOPT: Final = 11
P_LOG_TAIL: Final = 12  # -log10 of the tail probability that opens an alert
P_LEAK: Final = 13
PARAMETERS: Final = 16
