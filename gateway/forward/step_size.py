"""How many rows the forwarder takes together.

The more rows of a backlog are taken at once, the more of them are of one series and share its labels. But a step counts
as acked only as a whole: what was sent of it is sent again after a crash. So steps grow while they pass quickly and
shrink where the target takes its time, and none is waited for until it is full.
"""

from __future__ import annotations

from typing import Final

_QUICK: Final = 2.0
"""Seconds: a full step that was handed over within this may be followed by one of twice its size. Short ones would keep
a slow target slow: the fewer samples of a series come together, the more each costs it."""
_SLOW: Final = 4.0
"""Seconds from which on the next one is halved."""

_FRAME_ROWS: Final = 65_536
"""A frame seldom has more."""


class StepSize:
    """`rows` is the most that the next step may take: between `least` and `most`, which is not under `least`."""

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, max(least, most)
        self.rows = least

    def is_full(self, rows: int) -> bool:
        """Whether a step of so many rows took what it could, so that more may wait: frames are taken whole, so it is
        seldom quite full."""
        return rows >= max(self.rows // 2, self.rows - _FRAME_ROWS)

    def taken(self, rows: int, seconds: float) -> None:
        """A step of so many rows took so long until its last block was in the queue."""
        if seconds >= _SLOW:
            self.rows = max(self._least, self.rows // 2)
        elif seconds < _QUICK and self.is_full(rows):
            self.rows = min(self._most, 2 * self.rows)

    def reset(self) -> None:
        """The target is another process, or we are: begin small."""
        self.rows = self._least
