"""What may be removed from a log, and whether there is room in it.

A segment may be removed when it is closed and every registered reader has committed past its end. It is removed when
it has been closed for longer than `retention`, or earlier when the log stands at `max_bytes`. A segment that some
reader has not committed is never removed; at the limit new data is refused instead. Readers are registered before the
first sweep; with none registered nothing is undelivered and age and size alone decide.
"""

from __future__ import annotations

import threading
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import structlog

from gateway.clock import Clock
from gateway.log.segment import SegmentFile, list_segments
from gateway.log.settings import LogSettings
from gateway.selfmetrics import counter, gauge
from gateway.telemetry.frame import LogPosition

log = structlog.get_logger(__name__)

REMOVED = counter(
    "log_removed_segments", "Segments removed after every reader had committed them, by cause.", ["cause"]
)
LOG_BYTES = gauge("log_bytes", "Size of all segments of the log together.")

INDEX_SUFFIX = ".idx"
"""A closed segment's index stands beside it under this suffix and goes with it."""


class Room(NamedTuple):
    """Bytes the log holds and bytes it may hold."""

    used: int
    limit: int


class Retention:
    """Registered readers' offsets and the size of one edge's log. Any thread may call."""

    def __init__(self, directory: Path, edge: int, settings: LogSettings, clock: Clock) -> None:
        self._directory, self._edge, self._settings, self._clock = directory, edge, settings, clock
        self._lock = threading.Lock()
        self._committed: dict[str, LogPosition] = {}
        self._used: int | None = None
        self._open_segment = 0

    def register(self, reader: str, committed: LogPosition | None = None) -> None:
        """Nothing at or after `committed` (None: nothing at all) is removed before `reader` commits it."""
        with self._lock:
            self._committed[reader] = committed if committed is not None else LogPosition(0, 0)

    def commit(self, reader: str, position: LogPosition) -> None:
        """`reader` will never again ask for anything before `position`. An earlier position moves it back."""
        with self._lock:
            self._committed[reader] = position

    @property
    def room(self) -> Room:
        """How full the log is."""
        with self._lock:
            return Room(self._size(), int(self._settings.max_bytes))

    def opened(self, segment: int) -> None:
        """The writer has begun a segment; it is not removed."""
        with self._lock:
            self._open_segment = segment
            self._used = None  # counted anew: a given-up segment may have been cut

    def grew(self, size: int) -> None:
        """The writer has appended `size` bytes."""
        with self._lock:
            if self._used is not None:
                self._used += size
                LOG_BYTES.set(self._used)

    def all_committed(self, position: LogPosition) -> bool:
        """Whether every registered reader has committed everything before `position`."""
        with self._lock:
            return all(at >= position for at in self._committed.values())

    def has_room(self, need_bytes: int, end: LogPosition) -> bool:
        """Whether `need_bytes` fit under max_bytes."""
        del end
        with self._lock:
            return self._size() + need_bytes <= self._settings.max_bytes

    def make_room(self, need_bytes: int, end: LogPosition, open_segment: int) -> bool:
        """Remove delivered segments, oldest first, until `need_bytes` fit; False if they cannot be made to fit."""
        with self._lock:
            self._open_segment = open_segment
            for segment, closing in self._closed(end):
                if self._size() + need_bytes <= self._settings.max_bytes:
                    break
                if self._delivered(closing):
                    self._remove(segment, "size")
            return self._size() + need_bytes <= self._settings.max_bytes

    def sweep(self) -> int:
        """Remove delivered segments that were closed longer ago than `retention`; returns how many."""
        removed = 0
        with self._lock:
            oldest = self._clock.time_ns() - int(self._settings.retention * 1e9)
            segments = list_segments(self._directory, self._edge)
            for segment, following in pairwise(segments):
                closed_ns = following.header.created_ns if following.header is not None else None
                if segment.number == self._open_segment or closed_ns is None or closed_ns > oldest:
                    continue
                if self._delivered(LogPosition(segment.number, segment.end)):
                    self._remove(segment, "age")
                    removed += 1
        return removed

    def _closed(self, end: LogPosition) -> list[tuple[SegmentFile, LogPosition]]:
        """Closed segments, oldest first, each with the position of its end."""
        closed = []
        for segment in list_segments(self._directory, self._edge):
            if segment.number != self._open_segment:
                last = min(segment.end, end.offset) if segment.number == end.segment else segment.end
                closed.append((segment, LogPosition(segment.number, last)))
        return closed

    def _delivered(self, closing: LogPosition) -> bool:
        return all(at >= closing for at in self._committed.values())

    def _remove(self, segment: SegmentFile, cause: str) -> None:
        size = segment.path.stat().st_size
        segment.path.unlink(missing_ok=True)
        segment.path.with_suffix(INDEX_SUFFIX).unlink(missing_ok=True)
        REMOVED.labels(cause).inc()
        if self._used is not None:
            self._used -= size
            LOG_BYTES.set(self._used)
        log.info("removed a delivered log segment", segment=segment.number, bytes=size, cause=cause)

    def _size(self) -> int:
        if self._used is None:
            self._used = sum(s.path.stat().st_size for s in list_segments(self._directory, self._edge))
            LOG_BYTES.set(self._used)
        return self._used
