"""Frames: what the log carries. A frame is one group of rows, with the definitions its segment had not seen yet.

Rows name their series by a local id, dense from 0 within one segment of one edge and handed out in order of first
appearance; the definition (label blob and kind) of a local id stands in the first frame of the segment that uses it.
So a segment can be read alone, a row costs 20 bytes instead of 32, and a reader resolves it by indexing an array.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from gateway.telemetry.columns import Definitions, ExemplarColumns


class LogPosition(NamedTuple):
    """A place in one edge's log. Ordered; `offset` is a byte offset of a frame's start within segment `segment`."""

    segment: int
    offset: int


class Frontier(msgspec.Struct, frozen=True):
    """A place in the logs of several edges at once: what a reader has taken of each.

    edges: by edge number, the next frame to take. rows: by edge number, the log's row it begins with. taken: rows that
    the reader has accounted for, those of its shard and those lost that it answers for.
    """

    edges: tuple[LogPosition, ...]
    rows: tuple[int, ...]
    taken: int = 0


Place = LogPosition | Frontier
"""Where a reader stands: in one edge's log, or in those of several edges."""


def edge_positions(place: Place) -> tuple[LogPosition, ...]:
    """The position in each edge's log, by edge number."""
    return place.edges if isinstance(place, Frontier) else (place,)


def not_beyond(place: Place, other: Place) -> bool:
    """Whether everything before `place` is also before `other`. An edge that a place does not name is at its start."""
    here, there = edge_positions(place), edge_positions(other)
    here = here + (LogPosition(0, 0),) * (len(there) - len(here))
    there = there + (LogPosition(0, 0),) * (len(here) - len(there))
    return all(a <= b for a, b in zip(here, there, strict=True))


@dataclass(frozen=True, slots=True)
class ShardRows:
    """How a frame's rows are grouped by shard: those of shard 0 first.

    latest_ns: when the last of the frame's requests was received. Unlike the frame's own `received_ns`, the first, it
    orders frames of different edges: what was sent after an acknowledgement is later than what was acknowledged.
    rows, counted: uint32[shards], rows of each shard, and those of them that are not target_info.
    """

    latest_ns: int
    rows: NDArray[np.uint32]
    counted: NDArray[np.uint32]


@dataclass(slots=True)
class Frame:
    """One frame, as appended and as read.

    ids: uint32[n]; times_ms: int64[n]; values: float64[n]; starts_ms: int64[n] or None.
    definitions: of local ids first_new_id … first_new_id + len(definitions) - 1, in order.
    counted_rows: rows without target_info, which is what `accepted_points` counts.
    first_row: counted rows in this edge's log before this frame, since the data directory was made.
    start, end: position of this frame and of the next.
    shards: how the rows are grouped; None in a log that one worker alone writes.
    blobs_at: byte offset in the segment's file of the first definition's blob.
    """

    edge: int
    shard: int
    start: LogPosition
    end: LogPosition
    first_row: int
    counted_rows: int
    received_ns: int
    ids: NDArray[np.uint32]
    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    starts_ms: NDArray[np.int64] | None
    first_new_id: int
    definitions: Definitions
    exemplars: ExemplarColumns | None = None
    blobs_at: int = 0
    shards: ShardRows | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        """Memory the frame holds."""
        return self.end.offset - self.start.offset

    @property
    def order_ns(self) -> int:
        """What frames of different edges are put in order by."""
        return self.received_ns if self.shards is None else self.shards.latest_ns


def part_of(frame: Frame, shard: int) -> Frame:
    """The rows of one shard of a grouped frame, as views; the definitions stay whole."""
    shards = frame.shards
    assert shards is not None, "the frame is not grouped"
    begin = int(shards.rows[:shard].sum())
    here = slice(begin, begin + int(shards.rows[shard]))
    exemplars = frame.exemplars
    if exemplars is not None:
        stays = (exemplars.rows >= here.start) & (exemplars.rows < here.stop)
        exemplars = ExemplarColumns(
            exemplars.rows[stays] - np.uint32(begin),
            exemplars.times_ms[stays],
            exemplars.values[stays],
            exemplars.trace_ids[stays],
            exemplars.span_ids[stays],
        )
    return replace(
        frame,
        shard=shard,
        ids=frame.ids[here],
        times_ms=frame.times_ms[here],
        values=frame.values[here],
        starts_ms=None if frame.starts_ms is None else frame.starts_ms[here],
        counted_rows=int(shards.counted[shard]),
        exemplars=exemplars if exemplars is not None and len(exemplars.rows) else None,
        shards=None,
    )
