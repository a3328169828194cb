"""Time as a value that is passed in, so that tests turn it by hand."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What components ask for time."""

    def time_ns(self) -> int:
        """Wall clock, nanoseconds since the Unix epoch."""
        ...

    def monotonic(self) -> float:
        """Seconds on a clock that never steps."""
        ...


class SystemClock:
    """The machine's clocks."""

    def time_ns(self) -> int:
        """See Clock."""
        return time.time_ns()

    def monotonic(self) -> float:
        """See Clock."""
        return time.monotonic()


class ManualClock:
    """A clock that stands until it is moved: how tests tell the time. It stands beside the contract it keeps."""

    def __init__(self, start_ns: int = 1_700_000_000_000_000_000) -> None:
        self._now_ns = start_ns
        self._monotonic = 0.0

    def time_ns(self) -> int:
        """See Clock."""
        return self._now_ns

    def monotonic(self) -> float:
        """See Clock."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Move both clocks forward."""
        self._now_ns += round(seconds * 1e9)
        self._monotonic += seconds
