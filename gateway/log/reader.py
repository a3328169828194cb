"""The reading end of an edge's log: frames from a position on, in order, each exactly once.

A reader that follows a writer in the same process is given the durable end and never reads beyond it; a reader of
events in another process finds it on the writer's page. Without an end it takes whole, sound frames as far as there
are any, and waits at an unfinished one.

Damage. A frame whose payload is damaged is stepped over; after a damaged header the next sound frame is searched for.
Every frame names the first of its rows, so the rows missing before it are known exactly and counted under
`corrupt_frame`, or under `missing_segment` where a whole file is gone. Definitions that went with a damaged frame are
missed by later rows of their series; whoever resolves local ids counts those.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import numpy as np
import structlog
from numpy.typing import NDArray

from gateway.errors import DiskFailed
from gateway.log.segment import (
    EVENT,
    FRAME_HEADER_BYTES,
    ROWS,
    SEGMENT_HEADER_BYTES,
    FrameHeader,
    SegmentFile,
    definitions_view,
    frame_view,
    list_segments,
    map_segment,
    next_sound_frame,
    payload_is_sound,
    scan,
    strangers,
)
from gateway.log.sharing import EdgePageReader
from gateway.selfmetrics import counter
from gateway.telemetry.columns import Definitions
from gateway.telemetry.frame import Frame, LogPosition

log = structlog.get_logger(__name__)

LOST_ROWS = counter("log_lost_rows", "Rows that were in the log and cannot be read any more, by reader.", ["reason"])
DAMAGED_BYTES = counter("log_damaged_bytes", "Bytes of damaged frames stepped over, summed over readers.")

CHUNK_BYTES: Final = 4 * 2**20
"""Read from the file at once; more where one frame is larger."""
_LEAST_READ: Final = 4096
_DEFINITIONS_PER_FRAME: Final = 100_000


class SegmentReader:
    """Walks over sound frames; see the module's text. One thread owns a reader.

    position: the next frame to read. expected_row: the row it should begin with; None when not known.
    lost: rows found missing since this reader was opened, by reason.
    """

    def __init__(self, directory: Path, edge: int, position: LogPosition | None, expected_row: int | None) -> None:
        self._directory, self._edge = directory, edge
        self.position = position if position is not None else LogPosition(0, 0)
        self.expected_row = 0 if expected_row is None and position is None else expected_row
        self.lost: dict[str, int] = {}
        self._fd = -1
        self._segment: SegmentFile | None = None
        self._successor: int | None = None
        self._cause = "missing_segment"

    @classmethod
    def open(
        cls, directory: Path, edge: int, position: LogPosition | None = None, expected_row: int | None = None
    ) -> Self:
        """From `position` on, or from the oldest row there is. The log need not exist yet."""
        return cls(directory, edge, position, expected_row)

    def close(self) -> None:
        """Release the file. Idempotent; the frames stay valid."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._segment = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _walk(
        self, max_bytes: int, end: LogPosition | None
    ) -> Iterator[tuple[FrameHeader, NDArray[np.uint8], int, LogPosition]]:
        """(header, bytes, where the header stands in them, position) of the next frames, about max_bytes of them."""
        budget = max_bytes
        while budget > 0:
            if self._segment is None and not self._enter_segment(end):
                return
            limit = self._limit(end)
            if self.position.offset >= limit:
                if self._ends_here(end):
                    self._leave_segment()
                elif not self._find_successor(end):
                    return
                continue
            # A read always reaches over a whole header, else it could not go forward.
            wanted = max(_LEAST_READ, min(budget, CHUNK_BYTES))
            data = self._read(min(limit - self.position.offset, wanted))
            before = self.position
            yield from self._frames(data, limit)
            taken = self.position.offset - before.offset
            if taken:
                budget -= taken
            elif not self._step(limit):
                if self._ends_here(end):
                    self._cause = "corrupt_frame"
                    DAMAGED_BYTES.inc(limit - self.position.offset)
                    self._leave_segment()
                elif not self._find_successor(end):
                    return  # an unfinished frame at the log's end

    def _frames(
        self, data: NDArray[np.uint8], limit: int
    ) -> Iterator[tuple[FrameHeader, NDArray[np.uint8], int, LogPosition]]:
        """The sound frames at the beginning of `data`, which was read at the current position."""
        assert self._segment is not None
        view, at, base = data.data, 0, self.position.offset
        while True:
            header = FrameHeader.parse(view, at, self._segment.nonce)
            if header is None or base + at + header.nbytes > limit:
                return
            if at + header.nbytes > len(data):
                if at:
                    return
                data = self._read(header.nbytes)  # a frame larger than one read
                view = data.data
                if len(data) < header.nbytes:
                    return
            if not payload_is_sound(header, view, at):
                return
            self._account(header.first_row)
            self.expected_row = header.first_row + header.counted_rows
            start = LogPosition(self.position.segment, base + at)
            self.position = LogPosition(start.segment, start.offset + header.nbytes)
            yield header, data, at, start
            at += header.nbytes

    def _step(self, limit: int) -> bool:
        """Go on behind damage at the current position; False if nothing sound follows in the segment. Raises
        DiskFailed."""
        assert self._segment is not None
        at = self.position.offset
        try:
            mapped = map_segment(self._segment)
        except OSError as error:
            raise DiskFailed(f"{self._segment.path} cannot be read: {error.strerror}") from error
        with mapped as data:
            end = min(limit, len(data))
            header = FrameHeader.parse(data, at, self._segment.nonce)
            if header is not None and at + header.nbytes <= end and payload_is_sound(header, data, at):
                return True  # appended while we looked
            beyond = at + header.nbytes if header is not None else at + 1
            found = next_sound_frame(data, beyond, end, self._segment.nonce) if beyond < end else None
        if found is None:
            return False
        log.warning("stepped over damage in the log", segment=self.position.segment, offset=at, bytes=found - at)
        DAMAGED_BYTES.inc(found - at)
        self._cause = "corrupt_frame"
        self.position = LogPosition(self.position.segment, found)
        return True

    def _account(self, first_row: int) -> None:
        """Count the rows missing between the last frame and one that begins with `first_row`."""
        if self.expected_row is not None and first_row > self.expected_row:
            missing = first_row - self.expected_row
            self.lost[self._cause] = self.lost.get(self._cause, 0) + missing
            LOST_ROWS.labels(self._cause).inc(missing)
            log.error("rows are missing in the log", reason=self._cause, rows=missing, before=self.position)
        self._cause = "missing_segment"

    def _enter_segment(self, end: LogPosition | None) -> bool:
        """Open the segment of the current position, else the next there is; False if there is none yet."""
        segments = list_segments(self._directory, self._edge)
        for i, segment in enumerate(segments):
            if segment.number < self.position.segment or (end is not None and segment.number > end.segment):
                continue
            try:
                self._fd = os.open(segment.path, os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise DiskFailed(f"{segment.path} cannot be read: {error.strerror}") from error
            self._segment = segment
            self._successor = segments[i + 1].number if i + 1 < len(segments) else None
            if segment.number > self.position.segment:
                self.position = LogPosition(segment.number, SEGMENT_HEADER_BYTES)
                if segment.header is not None:
                    self._account(segment.header.first_row)
                    self.expected_row = max(segment.header.first_row, self.expected_row or 0)
            else:
                self.position = max(self.position, LogPosition(segment.number, SEGMENT_HEADER_BYTES))
            return True
        for path in strangers(self._directory, self._edge):
            if path.stem.isdigit() and int(path.stem) >= self.position.segment:
                raise DiskFailed(f"{path}: not a regular file")  # it may be one again, and is not to be waited for
        return False

    def _find_successor(self, end: LogPosition | None) -> bool:
        """Look again whether a next segment has closed this one; then its end is final and is to be read up to."""
        assert self._segment is not None
        if end is not None and end.segment <= self._segment.number:
            return False
        segments = list_segments(self._directory, self._edge)
        following = [s.number for s in segments if s.number > self._segment.number]
        if not following or (end is not None and following[0] > end.segment):
            return False
        self._successor = following[0]
        self._segment = next((s for s in segments if s.number == self._segment.number), self._segment)
        return True

    def _ends_here(self, end: LogPosition | None) -> bool:
        """Whether the current segment is closed and wholly before `end`.

        A next segment alone does not say so: the writer may have written more into this one, and gone on, after the
        end was looked up.
        """
        assert self._segment is not None
        return self._successor is not None and (end is None or end.segment > self._segment.number)

    def _limit(self, end: LogPosition | None) -> int:
        """Byte offset in the current segment that must not be read over."""
        assert self._segment is not None
        if end is not None and end.segment == self._segment.number:
            return end.offset
        if self._successor is None and end is not None:
            self._find_successor(end)  # the writer has gone on: where this segment ends is settled
        if self._successor is not None:
            return self._segment.end
        return os.fstat(self._fd).st_size

    def _leave_segment(self) -> None:
        self.close()
        self._successor = None
        self.position = LogPosition(self.position.segment + 1, 0)

    def _read(self, size: int) -> NDArray[np.uint8]:
        """`size` bytes at the current position, fewer at the file's end. Raises DiskFailed."""
        buffer = np.empty(size, np.uint8)
        view, done = buffer.data, 0
        try:
            while done < size:
                got = os.preadv(self._fd, [view[done:]], self.position.offset + done)
                if got == 0:
                    break
                done += got
        except OSError as error:
            raise DiskFailed(f"the log cannot be read: {error.strerror}") from error
        return buffer[:done]


class LogReader(SegmentReader):
    """Reads frames of rows."""

    def read(self, max_bytes: int, end: LogPosition | None = None) -> list[Frame]:
        """The next frames, at least one if there is any, else about `max_bytes` of them; never beyond `end`.

        Raises DiskFailed.
        """
        return [
            frame_view(header, data, at, start)
            for header, data, at, start in self._walk(max_bytes, end)
            if header.kind == ROWS
        ]

    def definitions_before(self) -> list[Frame]:
        """Frames without rows that carry the definitions which stand in the current segment before `position`.

        A reader that begins in the middle of a segment resolves these first. Raises DiskFailed.
        """
        if self.position.offset <= SEGMENT_HEADER_BYTES:
            return []
        segment = next(
            (s for s in list_segments(self._directory, self._edge) if s.number == self.position.segment), None
        )
        if segment is None:
            return []
        found: list[tuple[int, Definitions]] = []
        try:
            with map_segment(segment) as mapped:
                end = min(self.position.offset, len(mapped))
                for piece in scan(mapped, SEGMENT_HEADER_BYTES, end, segment.nonce):
                    if piece.header is not None and piece.header.definitions:
                        # Only the definitions are taken out of the mapping, so that it can be closed.
                        size = piece.header.nbytes
                        data = np.frombuffer(mapped, np.uint8, size, piece.offset)
                        found.append((piece.header.first_new_id, _copied(definitions_view(piece.header, data, 0))))
                        del data
        except OSError as error:
            raise DiskFailed(f"{segment.path} cannot be read: {error.strerror}") from error
        return [self._rowless(first, joined) for first, joined in _joined(found)]

    def _rowless(self, first_new_id: int, definitions: Definitions) -> Frame:
        return Frame(
            edge=self._edge,
            shard=0,
            start=self.position,
            end=self.position,
            first_row=self.expected_row or 0,
            counted_rows=0,
            received_ns=0,
            ids=np.empty(0, np.uint32),
            times_ms=np.empty(0, np.int64),
            values=np.empty(0, np.float64),
            starts_ms=None,
            first_new_id=first_new_id,
            definitions=definitions,
        )


def _copied(d: Definitions) -> Definitions:
    return Definitions(d.kinds.copy(), d.offsets.copy(), d.blobs.copy())


def _joined(found: list[tuple[int, Definitions]]) -> Iterator[tuple[int, Definitions]]:
    """Runs of consecutive ids as one Definitions each, so that many small frames cost one call a run."""
    run: list[Definitions] = []
    first = count = 0
    for first_id, definitions in found:
        if run and (first_id != first + count or count >= _DEFINITIONS_PER_FRAME):
            yield first, _concatenated(run)
            run = []
        if not run:
            first, count = first_id, 0
        run.append(definitions)
        count += len(definitions)
    if run:
        yield first, _concatenated(run)


def _concatenated(parts: list[Definitions]) -> Definitions:
    if len(parts) == 1:
        return parts[0]
    sizes = np.array([0, *(len(p.blobs) for p in parts)], np.int64)
    begins = np.cumsum(sizes)
    offsets = [np.zeros(1, np.uint32)]
    offsets += [p.offsets[1:] + np.uint32(begin) for p, begin in zip(parts, begins, strict=False)]
    return Definitions(
        np.concatenate([p.kinds for p in parts]), np.concatenate(offsets), np.concatenate([p.blobs for p in parts])
    )


class EventReader(SegmentReader):
    """Reads events."""

    def __init__(self, directory: Path, edge: int, position: LogPosition | None, expected_row: int | None) -> None:
        super().__init__(directory, edge, position, expected_row)
        self._page = EdgePageReader(directory, edge)

    def close(self) -> None:
        """See SegmentReader."""
        super().close()
        self._page.close()

    def is_at_end(self) -> bool:
        """Whether everything has been read that the writer has told to be durable. Asks memory alone, so that an event
        loop may ask often. Raises DiskFailed."""
        return self._page.exists and self._page.read().position <= self.position

    def read(self, max_bytes: int = CHUNK_BYTES, end: LogPosition | None = None) -> list[tuple[LogPosition, bytes]]:
        """The next events, each with the position after it; never beyond `end`, which is by default as far as the
        writer has told that they are durable. Raises DiskFailed.
        """
        if end is None and self._page.exists:
            end = self._page.read().position
        events = []
        for header, data, at, start in self._walk(max_bytes, end):
            if header.kind == EVENT:
                begin = at + FRAME_HEADER_BYTES
                after = LogPosition(start.segment, start.offset + header.nbytes)
                events.append((after, data[begin : begin + header.rows].tobytes()))
        return events
