"""Writes events, frames of opaque bytes that count as one row each, into an edge's log.

How far they are durable stands on a page beside the log, so that a reader in another process, which acts on what it
reads, never sees an event that a crash of the machine could take back.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gateway.clock import Clock
from gateway.log.retention import Retention
from gateway.log.segment import EVENT, FRAME_HEADER_BYTES, FrameHeader
from gateway.log.segment_writer import SegmentWriter
from gateway.log.settings import LogSettings
from gateway.log.sharing import DurableEnd, EdgePage
from gateway.telemetry.frame import LogPosition


class EventWriter(SegmentWriter):
    """See SegmentWriter for the order of calls."""

    def __init__(
        self, directory: Path, edge: int, settings: LogSettings, clock: Clock, retention: Retention, *, minimum_row: int
    ) -> None:
        super().__init__(directory, edge, settings, clock, retention, minimum_row=minimum_row)
        self._page: EdgePage | None = EdgePage(directory, edge)
        self._page.tell(DurableEnd(self.durable_end, self.next_row))

    def sync(self) -> LogPosition:
        """See SegmentWriter; readers see the events from then on."""
        end = super().sync()
        if self._page is not None:
            self._page.tell(DurableEnd(end, self.next_row))
        return end

    def close(self) -> None:
        """See SegmentWriter."""
        try:
            super().close()
        finally:
            if self._page is not None:
                self._page.close()
                self._page = None

    def append(self, payload: bytes, *, received_ns: int = 0) -> LogPosition:
        """Queue one event for `sync`; opens a segment where needed. Returns where the event begins.

        Raises LogFull, DiskFailed.
        """
        size = len(payload) + 7 & ~7
        if self._fd < 0 or not self._pending:
            self.prepare(size + FRAME_HEADER_BYTES)
        buffer = np.zeros(FRAME_HEADER_BYTES + size, np.uint8)
        buffer[FRAME_HEADER_BYTES : FRAME_HEADER_BYTES + len(payload)] = np.frombuffer(payload, np.uint8)
        start = self.end
        header = FrameHeader(EVENT, 0, 0, 0, size, 0, 1, received_ns, 0, len(payload), 0, 0, 0, 0, 0, 0, 0)
        self._enqueue(buffer, header)
        return start
