"""The writing end of an edge's log. One thread owns a writer; it is the only one that may call it.

A round is: `prepare` (opens or rotates the segment, so that local ids can be given for it), `append` (builds the frame
in memory), `sync` (writes and makes durable). Only what `sync` returned is promised.

Failure. After a failed write or fsync the kernel's page cache may claim clean pages that never reached the disk
(Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020), so the segment is given up: cut at
the last durable byte, closed, and never written again. The next `prepare` opens another, whose header says where the
given-up one ends. Frames appended since the last sync are gone, their rows were never acknowledged, and `next_row`
goes back with them.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import numpy as np
import structlog
from crc32c import crc32c
from numpy.typing import NDArray

from gateway.clock import Clock
from gateway.errors import DiskFailed, LogFull, StateError
from gateway.log.recovery import recover
from gateway.log.retention import Retention
from gateway.log.segment import (
    FRAME_HEADER_BYTES,
    SEGMENT_HEADER_BYTES,
    UNGROUPED_VERSION,
    FrameHeader,
    SegmentHeader,
    edge_directory,
    segment_path,
)
from gateway.log.settings import LogSettings
from gateway.selfmetrics import counter
from gateway.telemetry.frame import LogPosition
from gateway.telemetry.state_file import open_kept

log = structlog.get_logger(__name__)

WRITE_FAILURES = counter("log_write_failures", "Appends or fsyncs the operating system refused.", ["operation"])

_BUFFERS_PER_WRITE = 512  # under IOV_MAX
_CREATE = os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC


class SegmentWriter:
    """Appends frames to an edge's segments; see the module's text. LogWriter and EventWriter give frames meaning.

    Attributes to read: `segment` (number of the open one, 0 if none), `end`, `durable_end`, `next_row`.
    """

    def __init__(
        self, directory: Path, edge: int, settings: LogSettings, clock: Clock, retention: Retention, *, minimum_row: int
    ) -> None:
        self._directory = edge_directory(directory, edge)
        self._root, self._edge, self._settings, self._clock = directory, edge, settings, clock
        self.retention = retention
        self._fd = -1
        self._pending: list[NDArray[np.uint8]] = []
        self.format_version = UNGROUPED_VERSION
        """Of the segments that are opened from now on; FORMAT_VERSION where frames are grouped by shard."""
        self._nonce = 0
        self._names_counted = False
        """Whether the open segment had a name when it was made: file systems in user space may say that none has."""
        self._opened = 0.0
        self._definition_bytes = 0
        """What definitions take in the open segment."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True)
            self._lock = _lock_directory(self._directory)
            self.recovered = recover(directory, edge)
        except OSError as error:
            raise DiskFailed(f"the log in {self._directory} cannot be opened: {error.strerror}") from error
        self._next_segment = self.recovered.next_segment
        self.segment = 0
        self.durable_end = self.recovered.end or LogPosition(0, 0)
        self.end = self.durable_end
        self.next_row = self._durable_row = max(self.recovered.next_row, minimum_row)

    @classmethod
    def open(
        cls,
        directory: Path,
        edge: int,
        settings: LogSettings,
        clock: Clock,
        retention: Retention | None = None,
        *,
        minimum_row: int = 0,
    ) -> Self:
        """Recover the log in `directory`/edge-`edge`, or begin one.

        minimum_row: the highest row any reader has committed; matters where the machine lost data that readers had
        already seen (durability "os"). Raises DiskFailed; StateError if another process writes this log.
        """
        return cls(
            directory,
            edge,
            settings,
            clock,
            retention if retention is not None else Retention(directory, edge, settings, clock),
            minimum_row=minimum_row,
        )

    def prepare(self, need_bytes: int = 0) -> int:
        """The number of the segment the next append goes to, opening one where needed.

        A change of the number means that local ids begin again at 0. Frames appended earlier must be synced.
        Raises LogFull when `need_bytes` more do not fit and nothing may be removed; DiskFailed.
        """
        assert not self._pending, "prepare between append and sync"
        if self._fd >= 0 and self._due(need_bytes):
            self.rotate()
        self._make_room(need_bytes)
        if self._fd < 0:
            self._create()
        return self.segment

    def _due(self, need_bytes: int) -> bool:
        if self.end.offset <= SEGMENT_HEADER_BYTES:
            return False
        aged = self._clock.monotonic() - self._opened >= self._settings.segment_age
        return aged or self.end.offset + need_bytes > self._settings.segment_limit(self._definition_bytes)

    def _make_room(self, need_bytes: int) -> None:
        if self.retention.has_room(need_bytes, self.durable_end):
            return
        if self._fd >= 0 and self.end.offset > SEGMENT_HEADER_BYTES and self.retention.all_committed(self.durable_end):
            self.rotate()  # so that the segment itself may go
        if not self.retention.make_room(need_bytes, self.durable_end, self.segment):
            raise LogFull("the log holds its limit of data that is not delivered yet", retry_after=5.0)

    def _create(self) -> None:
        number = self._next_segment
        path = segment_path(self._root, self._edge, number)
        header = SegmentHeader(
            self._edge,
            number,
            self.next_row,
            self._clock.time_ns(),
            self.durable_end.segment,
            self.durable_end.offset,
            secrets.randbits(32),
        )
        fd = -1
        try:
            fd = os.open(path, _CREATE, 0o640)
            _write_all(fd, [np.frombuffer(header.pack(self.format_version), np.uint8)], 0)
            self._fsync(fd)
            self._fsync_directory()
            self._names_counted = _has_name(fd)
        except OSError as error:
            WRITE_FAILURES.labels("create").inc()
            if fd >= 0:
                os.close(fd)
                path.unlink(missing_ok=True)
            raise DiskFailed(f"a log segment cannot be created: {error.strerror}") from error
        self._fd, self._nonce, self._opened = fd, header.nonce, self._clock.monotonic()
        self._definition_bytes = 0
        self.segment, self._next_segment = number, number + 1
        self.end = self.durable_end = LogPosition(number, SEGMENT_HEADER_BYTES)
        self.retention.opened(number)

    def _enqueue(self, buffer: NDArray[np.uint8], header: FrameHeader) -> FrameHeader:
        """Seal a frame (its payload stands in `buffer` after the header) and queue it; returns the whole header."""
        header = header._replace(
            edge=self._edge,
            first_row=self.next_row,
            nonce=self._nonce,
            payload_crc=crc32c(buffer.data[FRAME_HEADER_BYTES:]),
        )
        buffer[:FRAME_HEADER_BYTES] = np.frombuffer(header.pack(), np.uint8)
        self._pending.append(buffer)
        self.end = LogPosition(self.segment, self.end.offset + header.nbytes)
        self.next_row += header.counted_rows
        return header

    def sync(self) -> LogPosition:
        """Write what was appended and make it durable (with durability "os": hand it to the operating system).

        Returns the durable end. Raises DiskFailed; then nothing since the last sync is in the log, and the next
        `prepare` begins a new segment.
        """
        if not self._pending:
            return self.durable_end
        operation = "write"
        try:
            _write_all(self._fd, self._pending, self.durable_end.offset)
            if self._settings.durability == "fsync":
                operation = "fsync"
                self._fsync(self._fd)
            operation = "check"
            if self._names_counted and not _has_name(self._fd):
                raise FileNotFoundError(errno.ENOENT, "the segment was removed by somebody else")
        except OSError as error:
            WRITE_FAILURES.labels(operation).inc()
            self._abandon()
            raise DiskFailed(f"the log cannot be written: {operation}: {error.strerror}") from error
        self._pending.clear()
        self.retention.grew(self.end.offset - self.durable_end.offset)
        self.durable_end, self._durable_row = self.end, self.next_row
        return self.durable_end

    def discard(self) -> None:
        """Forget what was appended since the last sync, and close the segment, as after a failure."""
        self._abandon()

    def _abandon(self) -> None:
        self._pending.clear()
        self.next_row, self.end = self._durable_row, self.durable_end
        if self._fd < 0:
            return
        fd, self._fd, number, self.segment = self._fd, -1, self.segment, 0
        try:
            os.ftruncate(fd, self.durable_end.offset)
            os.fsync(fd)
        except OSError as error:
            # The next segment's header tells readers where this one ends, so a leftover tail does no harm.
            log.warning("a given-up segment could not be cut", segment=number, error=error.strerror)
        finally:
            os.close(fd)

    def rotate(self) -> None:
        """Close the open segment; the next `prepare` begins another. Frames appended earlier must be synced."""
        assert not self._pending, "rotate between append and sync"
        if self._fd < 0:
            return
        fd, self._fd, self.segment = self._fd, -1, 0
        if self._settings.durability == "os":
            try:
                os.fsync(fd)
            except OSError as error:
                WRITE_FAILURES.labels("fsync").inc()
                log.warning("a closed segment could not be made durable", error=error.strerror)
        os.close(fd)

    def close(self) -> None:
        """Sync, close the segment, release the directory. Idempotent. Raises DiskFailed from the last sync."""
        try:
            self.sync()
        finally:
            self.rotate()
            if self._lock >= 0:
                os.close(self._lock)
                self._lock = -1

    def path_of(self, segment: int) -> Path:
        """The file of a segment written by this writer."""
        return segment_path(self._root, self._edge, segment)

    def _fsync(self, fd: int) -> None:
        os.fdatasync(fd)

    def _fsync_directory(self) -> None:
        fd = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _write_all(fd: int, buffers: Sequence[NDArray[np.uint8]], offset: int) -> None:
    """Write the buffers one after another from byte `offset`. Raises OSError."""
    views = [b.data for b in buffers]
    while views:
        batch = views[:_BUFFERS_PER_WRITE]
        written = os.pwritev(fd, batch, offset)
        offset += written
        done = 0
        while done < len(batch) and written >= len(batch[done]):
            written -= len(batch[done])
            done += 1
        del views[:done]
        if written:
            views[0] = views[0][written:]


def _has_name(fd: int) -> bool:
    """False for a file that was removed: what stands in it is gone with the process."""
    return os.fstat(fd).st_nlink > 0


def _lock_directory(directory: Path) -> int:
    """One writer a log: an advisory lock that ends with the process. Raises StateError if it is held or no file."""
    fd = open_kept(directory / "lock")
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise StateError(f"another process writes the log in {directory}") from None
    return fd
