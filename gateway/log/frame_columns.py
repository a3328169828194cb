"""Where the columns of many frames lie, read out of their headers at once."""

from __future__ import annotations

from typing import Final, Self

import numpy as np
from numpy.typing import NDArray

from gateway.log.segment import FRAME_HEADER_BYTES, HAS_STARTS, ROWS

HEADER: Final = np.dtype(
    {
        "names": ["kind", "flags", "payload_bytes", "rows", "exemplars", "nonce"],
        "formats": ["u1", "u1", "<u8", "<u4", "<u4", "<u4"],
        "offsets": [8, 9, 16, 52, 64, 68],
        "itemsize": FRAME_HEADER_BYTES,
    }
)
"""The fields of a frame's header that are needed here; all of them stand in gateway.log.segment."""


class FrameColumns:
    """Columns of f frames in the bytes of a segment.

    words, longs, doubles: the bytes as uint32, int64 and float64. begins: int64[f], where each frame begins, in bytes.
    rows, exemplars: int64[f], their numbers. ids_at, times_at, values_at: int64[f], in words and in longs.
    """

    __slots__ = ("begins", "doubles", "exemplars", "ids_at", "longs", "rows", "times_at", "values_at", "words")

    def __init__(self, data: NDArray[np.uint8], begins: NDArray[np.int64], heads: NDArray[np.void]) -> None:
        whole = data[: len(data) & ~7]
        self.words, self.longs, self.doubles = whole.view(np.uint32), whole.view(np.int64), whole.view(np.float64)
        self.begins = begins
        self.rows = heads["rows"].astype(np.int64)
        self.exemplars = heads["exemplars"].astype(np.int64)
        payload = begins + FRAME_HEADER_BYTES
        before_ids = np.where(heads["flags"] & HAS_STARTS, 24, 16) * self.rows
        self.times_at, self.values_at = payload // 8, payload // 8 + self.rows
        self.ids_at = (payload + before_ids) // 4

    @classmethod
    def of(cls, data: NDArray[np.uint8], begins: NDArray[np.int64], end: int, nonce: int | None) -> Self:
        """Of the row frames that begin at these bytes of a segment, are of its nonce and end by `end`.

        begins: a frame header stood at each of them once, at a multiple of 8. What stands there now may be damaged:
        the columns then lie within the bytes but mean nothing, which the frame's checksum shows.
        """
        end = min(end, len(data))
        begins = begins[(begins >= 0) & (begins + FRAME_HEADER_BYTES <= end) & (begins % 8 == 0)]
        heads = data[begins[:, None] + np.arange(FRAME_HEADER_BYTES)].view(HEADER)[:, 0]
        payload, rows = heads["payload_bytes"], heads["rows"].astype(np.uint64)
        inside = payload <= (end - FRAME_HEADER_BYTES - begins).astype(np.uint64)
        inside &= rows * np.where(heads["flags"] & HAS_STARTS, np.uint64(28), np.uint64(20)) <= payload
        inside &= heads["kind"] == ROWS
        if nonce is not None:
            inside &= heads["nonce"] == nonce
        return cls(data, begins[inside], heads[inside])

    def __len__(self) -> int:
        return len(self.begins)
