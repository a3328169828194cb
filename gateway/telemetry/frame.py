"""Frames: what the log carries. A frame is one group of rows, with the definitions its segment had not seen yet.

Rows name their series by a local id, dense from 0 within one segment of one edge and handed out in order of first
appearance; the definition (label blob and kind) of a local id stands in the first frame of the segment that uses it.
So a segment can be read alone, a row costs 20 bytes instead of 32, and a reader resolves it by indexing an array.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.telemetry.columns import Definitions, ExemplarColumns


class LogPosition(NamedTuple):
    """A place in one edge's log. Ordered; `offset` is a byte offset of a frame's start within segment `segment`."""

    segment: int
    offset: int


@dataclass(slots=True)
class Frame:
    """One frame, as appended and as read.

    ids: uint32[n]; times_ms: int64[n]; values: float64[n]; starts_ms: int64[n] or None.
    definitions: of local ids first_new_id … first_new_id + len(definitions) - 1, in order.
    counted_rows: rows without target_info, which is what `accepted_points` counts.
    first_row: counted rows in this edge's log before this frame, since the data directory was made.
    start, end: position of this frame and of the next.
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

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        """Memory the frame holds."""
        return self.end.offset - self.start.offset
