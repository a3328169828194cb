"""Notices that the wall clock was put back, by the steady clock beside it."""

from __future__ import annotations

from typing import Final

import structlog

from gateway.alerting.moments import SECOND
from gateway.clock import Clock

TOLERANCE: Final = SECOND
"""A wall clock that goes back by less is followed as it is, nanoseconds."""
_log = structlog.get_logger(__name__)


class ClockWatch:
    """To be asked every second or so."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._ahead: int | None = None
        """By how much the wall clock was ahead of the steady one, nanoseconds."""

    def look(self) -> tuple[int, int]:
        """The moment now, and by how much the wall clock was put back since the last look, 0 if it was not. Both in
        nanoseconds."""
        now = self._clock.time_ns()
        ahead = now - round(self._clock.monotonic() * SECOND)
        set_back = 0 if self._ahead is None else self._ahead - ahead
        self._ahead = ahead
        if set_back <= TOLERANCE:
            return now, 0
        _log.warning("the clock was put back", seconds=set_back / SECOND)
        return now, set_back
