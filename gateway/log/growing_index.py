"""The index of the segment that is being written, brought up to date with what was added since the last question."""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.errors import DiskFailed
from gateway.log.segment import ROWS, SEGMENT_HEADER_BYTES, SegmentFile, map_segment, scan
from gateway.log.segment_index import BLOCKS, SegmentIndex

FIRST_WIDTH: Final = 1 << 18
"""Bytes of a block to begin with; it doubles when the segment outgrows 64 of them."""


def halved(sets: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Sets of blocks when two neighbouring blocks become one: bit b of the answer is bit 2 b or 2 b + 1 of the set."""
    x = (sets | (sets >> np.uint64(1))) & np.uint64(0x5555555555555555)
    for shift, mask in (
        (1, 0x3333333333333333),
        (2, 0x0F0F0F0F0F0F0F0F),
        (4, 0x00FF00FF00FF00FF),
        (8, 0x0000FFFF0000FFFF),
        (16, 0x00000000FFFFFFFF),
    ):
        x = (x | (x >> np.uint64(shift))) & np.uint64(mask)
    return x


class GrowingIndex:
    """Any thread may ask; one reads at a time."""

    def __init__(self, number: int) -> None:
        """number: the segment's."""
        self.number = number
        self._lock = threading.Lock()
        self._index = SegmentIndex.empty()
        self._covered = SEGMENT_HEADER_BYTES
        self._nonce: int | None = None
        self._width = FIRST_WIDTH

    def up_to(self, segment: SegmentFile) -> SegmentIndex:
        """The index of all frames before segment.end, and perhaps of some behind it. Raises DiskFailed."""
        with self._lock:
            if segment.end > self._covered:
                self._read_on(segment)
            return self._index

    def _read_on(self, segment: SegmentFile) -> None:
        try:
            with map_segment(segment) as mapped:
                end = min(segment.end, len(mapped))
                nonce = segment.nonce if self._nonce is None else self._nonce
                pieces = list(scan(mapped, self._covered, end, nonce))
                if not pieces:
                    return
                frames = [(p.header, p.offset) for p in pieces if p.header is not None and p.header.kind == ROWS]
                # What was handed out is read by others: it is not changed, another takes its place.
                index = self._index
                while pieces[-1].end - SEGMENT_HEADER_BYTES > BLOCKS * self._width:
                    self._width *= 2
                    index = replace(index, occurs_in=halved(index.occurs_in), blocks=halved(index.blocks))
                self._index = index.with_frames(mapped, frames, self._width)
                self._covered = pieces[-1].end
                self._nonce = next((p.header.nonce for p in reversed(pieces) if p.header is not None), nonce)
        except (OSError, ValueError) as error:
            raise DiskFailed(f"{segment.path} cannot be read: {error}") from error
