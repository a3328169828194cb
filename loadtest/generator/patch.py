"""The one loop of the sender: writes times and values over a body."""

from __future__ import annotations

from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

NANOSECONDS: Final = 0
"""Times are fixed64 nanoseconds."""
MILLISECONDS: Final = 1
"""Times are varints of milliseconds, six bytes long."""
NUMBER_BITS: Final = 40
"""Of a numbered value; what stands above them in a gauge is a level with noise."""
LEVEL: Final = 1 << 10
"""Of numbered gauges, in units of the bits above."""
_POOL: Final = 1 << 16


def noise_pool() -> NDArray[np.float64]:
    """Standard normal noise, float64[65536], the same in every process."""
    return np.random.default_rng(20).standard_normal(_POOL)


@njit(
    "void(u1[::1], i8[::1], i8[::1], i8[::1], u1[::1], i8, i8, i8, i8, i8, i8, f8[::1])",
    nogil=True, cache=True,
)  # fmt: skip
def patch(  # type: ignore[no-untyped-def]
    body, time_at, value_at, start_at, integer, time_unit, time_ms, started_ms, first_value, first_series, round_, noise
):
    """Write the time `time_ms` and new values of all points into `body`; see Template.stamp.

    What it writes is what a healthy fleet sends, for a detector to be judged by its work and not by its alerts: gauges
    are 5 % of noise around a level; a counter grows by a number of its own each round, a little unevenly, and began at
    `started_ms` for good. Numbered values (first_value >= 0) are told apart by their lowest 40 bits: counters are the
    numbers themselves, which grow evenly, gauges bear their noise above them.
    """
    nanoseconds = np.uint64(time_ms) * np.uint64(1_000_000)
    started = np.uint64(started_ms) * np.uint64(1_000_000)
    word = np.empty(1, np.float64)
    bits = word.view(np.uint64)
    mask = np.int64(noise.size - 1)
    for i in range(value_at.size):
        series = first_series + i
        draw = noise[(series * 2654435761 + round_ * 40503) & mask]
        if first_value >= 0:
            whole = first_value + i
            if time_unit == MILLISECONDS and (series // 100) % 2 == 1:
                real = float(whole)
            else:
                level = np.int64(LEVEL * (1.0 + 0.05 * draw))
                real = float((level << NUMBER_BITS) + whole)
        else:
            whole = round_ * (20 + series % 50) * 10 + np.int64(abs(draw) * 20.0)
            real = (50.0 + series % 100) * (1.0 + 0.05 * draw)
            if time_unit == MILLISECONDS and (series // 100) % 2 == 1:
                real = float(whole)
        if integer[i]:
            value = np.uint64(whole)
        else:
            word[0] = real
            value = bits[0]
        at = value_at[i]
        for b in range(8):
            body[at + b] = (value >> np.uint64(8 * b)) & np.uint64(255)
        at = time_at[i]
        if time_unit == NANOSECONDS:
            for b in range(8):
                body[at + b] = (nanoseconds >> np.uint64(8 * b)) & np.uint64(255)
            at = start_at[i]
            for b in range(8):
                body[at + b] = (started >> np.uint64(8 * b)) & np.uint64(255)
        else:
            left = np.uint64(time_ms)
            for b in range(5):
                body[at + b] = (left & np.uint64(127)) | np.uint64(128)
                left >>= np.uint64(7)
            body[at + 5] = left & np.uint64(127)
