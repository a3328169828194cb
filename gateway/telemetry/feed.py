"""How a reader of the log is fed: frames in order, a place to go back to, and what may be forgotten."""

from __future__ import annotations

from typing import Protocol

from gateway.telemetry.frame import LogPosition, Place
from gateway.telemetry.resolved import ResolvedFrame

LOG_START = LogPosition(0, 0)
"""Before every frame: seeking it means the oldest frame that is kept."""


class FrameFeed(Protocol):
    """One reader's way through the log, of one edge or of several. All methods are called from the reader's event loop.

    A reader takes places from `ResolvedFrame.end` and hands them back; what they are made of is the feed's affair.
    """

    async def next_frames(self, max_bytes: int) -> list[ResolvedFrame]:
        """The next durable frames in order of the log; waits until there is at least one.

        One frame is returned even if it is larger than `max_bytes`. The sids of the returned frames name the same
        series in the SeriesView until the following call of `next_frames`, so a sid must not be given to another series
        before that. A cancelled call loses no frame. Frames that cannot be read are skipped; the reader sees the gap
        in `first_row`.
        """
        ...

    def seek(self, position: Place, until: Place | None = None) -> None:
        """Make `next_frames` continue with the frame that starts at `position`, or with the first one kept after it.

        until: frames before this place come before all others, which matters where there are several edges.
        """
        ...

    def committed(self, position: Place) -> None:
        """This reader will never seek before `position` again, not even after a restart; the log may forget it."""
        ...
