"""What a start finds of an edge's log: an append that a crash left unfinished is cut off, the rest stays."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

import structlog

from gateway.errors import DiskFailed
from gateway.log.segment import (
    SEGMENT_HEADER_BYTES,
    SegmentFile,
    edge_directory,
    list_segments,
    map_segment,
    scan,
    strangers,
)
from gateway.selfmetrics import counter
from gateway.telemetry.frame import LogPosition

log = structlog.get_logger(__name__)

TORN_BYTES = counter("log_torn_bytes", "Bytes of an unfinished append cut from the log's end at a start.")


class Recovered(NamedTuple):
    """What a start found: the last segment and its end (None: no log yet), the next free number, rows, bytes cut."""

    end: LogPosition | None
    next_segment: int
    next_row: int
    torn_bytes: int


def recover(directory: Path, edge: int) -> Recovered:
    """Cut the last segment at its last whole frame and find where the log continues. Raises OSError, StateError.

    A last segment without any frame is removed: nothing was ever acknowledged from it. Damage before the last frame
    is left for the readers, which skip and count it.
    """
    for leftover in edge_directory(directory, edge).glob("*.seg"):
        if leftover.is_file() and leftover.stat().st_size == 0:
            leftover.unlink()  # a crash between creating a segment and writing its header
    foreign = strangers(directory, edge)
    for path in foreign:
        log.error("a log segment is no regular file and is left out; remove it", path=str(path))
    segments = list_segments(directory, edge)
    taken = [int(path.stem) for path in foreign if path.stem.isdigit()]
    next_segment = 1 + max([*taken, *(s.number for s in segments)], default=0)
    torn = 0
    while segments:
        last = segments.pop()
        end, next_row = _last_frame(last)
        if end is None and last.header is None and last.end > SEGMENT_HEADER_BYTES:
            # Neither header nor frames can be read, yet bytes are there: damage, kept for inspection.
            log.error("log segment is unreadable", segment=str(last.path), bytes=last.end)
            continue
        if end is None:
            torn += max(0, last.end - SEGMENT_HEADER_BYTES)
            last.path.unlink()
            if last.header is not None:
                previous = last.header.previous_segment
                place = LogPosition(previous, last.header.previous_end) if previous else None
                return _recovered(place, next_segment, last.header.first_row, torn)
            continue
        with last.path.open("r+b") as file:
            if end < last.end:
                torn += last.end - end
                file.truncate(end)
            os.fsync(file.fileno())  # whole frames may stand there that were never synced before a kill
        return _recovered(LogPosition(last.number, end), next_segment, next_row, torn)
    return _recovered(None, next_segment, 0, torn)


def _recovered(end: LogPosition | None, next_segment: int, next_row: int, torn: int) -> Recovered:
    if torn:
        TORN_BYTES.inc(torn)
        log.warning("cut an unfinished append from the log's end", bytes=torn, end=end)
    return Recovered(end, next_segment, next_row, torn)


def _last_frame(segment: SegmentFile) -> tuple[int | None, int]:
    """Where the last sound frame ends (None without one), and the row after it. Raises DiskFailed."""
    if segment.end == 0:
        return None, 0
    end, next_row = None, 0
    try:
        mapped = map_segment(segment)
    except OSError as error:
        raise DiskFailed(f"{segment.path} cannot be read: {error.strerror}") from error
    with mapped as data:
        for piece in scan(data, SEGMENT_HEADER_BYTES, min(segment.end, len(data)), segment.nonce):
            if piece.header is not None:
                end, next_row = piece.end, piece.header.first_row + piece.header.counted_rows
    return end, next_row
