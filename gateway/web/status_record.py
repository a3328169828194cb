"""The statuses of the last hours, in an array whose memory is taken at once.

A list that fills for six hours and then stands still cannot be told from a leak by whoever watches the process.
"""

from __future__ import annotations

from typing import Final

import msgspec
import numpy as np

ROW: Final = np.dtype(
    [
        ("time", "f8"), ("accepted", "i8"), ("scored", "i8"), ("forwarded", "i8"), ("pending", "i8"), ("dropped", "i8"),
        ("series", "i8"), ("score_p99", "f8"), ("forward_p99", "f8"), ("anomalies", "i8"),
    ]
)  # fmt: skip


class StatusSample(msgspec.Struct, frozen=True):
    """One remembered status: totals as in /api/v1/status, lags in seconds, time in Unix seconds."""

    time: float
    accepted: int
    scored: int
    forwarded: int
    pending: int
    dropped: int
    series: int
    score_p99: float
    forward_p99: float
    anomalies: int


class StatusRecord:
    """The newest `length` statuses; a further one takes the place of the oldest."""

    def __init__(self, length: int) -> None:
        self._rows = np.full(length, 0, ROW)  # written to, so that its pages are there from the start
        self._count = 0

    def append(self, sample: StatusSample) -> None:
        """Remember one more."""
        self._rows[self._count % len(self._rows)] = msgspec.structs.astuple(sample)
        self._count += 1

    def newest(self) -> StatusSample | None:
        """The last one appended; None before the first."""
        return self._sample(self._count - 1) if self._count else None

    def since(self, time: float, most: int | None = None) -> list[StatusSample]:
        """Those of `time` and later, in the order in which they were appended. Of more than `most` every second, third
        …, and always the last."""
        held = np.arange(max(0, self._count - len(self._rows)), self._count)
        found = held[self._rows["time"][held % len(self._rows)] >= time]
        stride = max(1, -(-len(found) // most)) if most else 1
        first = (len(found) - 1) % stride if len(found) else 0
        return [self._sample(int(number)) for number in found[first::stride]]

    def _sample(self, number: int) -> StatusSample:
        return StatusSample(*self._rows[number % len(self._rows)].item())
