"""A feed over frames in memory, and a small series index: real arrays, no log."""

from __future__ import annotations

import asyncio

import numpy as np

from gateway.telemetry import kind
from gateway.telemetry.columns import Definitions
from gateway.telemetry.frame import Frame, LogPosition, Place
from gateway.telemetry.label_sets import placed
from gateway.telemetry.labels import encode_label_blob
from gateway.telemetry.resolved import ResolvedFrame

NO_DEFINITIONS = Definitions.from_blobs([], np.zeros(0, np.uint8))


class SeriesInMemory:
    """A SeriesView; sids in order of `add`."""

    def __init__(self) -> None:
        self._blobs: list[bytes] = []
        self._place()
        self.kinds = np.zeros(0, np.uint8)
        self.generations = np.zeros(0, np.uint32)

    def add(self, labels: dict[str, str], kind_of: int = kind.GAUGE) -> int:
        self._blobs.append(encode_label_blob(labels))
        self._place()
        self.kinds = np.append(self.kinds, np.uint8(kind_of))
        self.generations = np.append(self.generations, np.uint32(0))
        return len(self.kinds) - 1

    def blob(self, sid: int) -> bytes:
        return self._blobs[sid]

    def _place(self) -> None:
        self.label_arena, self.label_sets, self.label_lengths = placed(self._blobs)


class FeedInMemory:
    """A FrameFeed over a list; every frame takes 100 bytes of "log"."""

    def __init__(self, series: SeriesInMemory) -> None:
        self.series = series
        self.frames: list[ResolvedFrame] = []
        self.committed_to = LogPosition(0, 0)
        self.seeks: list[LogPosition] = []
        self._at = 0
        self._added = asyncio.Event()
        self.rows = 0

    def append(
        self,
        sids: list[int],
        times_ms: list[int],
        values: list[float],
        *,
        received_ns: int,
        starts_ms: list[int] | None = None,
        lose_rows: int = 0,
    ) -> None:
        """Add one frame; `lose_rows` stand before it in the log but cannot be read."""
        self.rows += lose_rows
        at = len(self.frames)
        counted = sum(self.series.kinds[s] & kind.CLASS_MASK != kind.TARGET_INFO for s in sids)
        frame = Frame(
            edge=0, shard=0, start=LogPosition(1, at * 100), end=LogPosition(1, at * 100 + 100),
            first_row=self.rows, counted_rows=int(counted), received_ns=received_ns, ids=np.array(sids, np.uint32),
            times_ms=np.array(times_ms, np.int64), values=np.array(values, np.float64),
            starts_ms=None if starts_ms is None else np.array(starts_ms, np.int64),
            first_new_id=0, definitions=NO_DEFINITIONS,
        )  # fmt: skip
        self.rows += int(counted)
        self.frames.append(ResolvedFrame(frame, np.array(sids, np.uint32)))
        self._added.set()

    async def next_frames(self, max_bytes: int) -> list[ResolvedFrame]:
        while self._at >= len(self.frames):
            self._added.clear()
            await self._added.wait()
        count = max(1, max_bytes // 100)
        taken = self.frames[self._at : self._at + count]
        self._at += len(taken)
        return taken

    def seek(self, position: Place, until: Place | None = None) -> None:
        assert isinstance(position, LogPosition)
        assert position >= self.committed_to, "before what was released"
        self.seeks.append(position)
        self._at = sum(f.frame.start < position for f in self.frames)

    def committed(self, position: Place) -> None:
        assert isinstance(position, LogPosition)
        assert position >= self.committed_to
        self.committed_to = position
