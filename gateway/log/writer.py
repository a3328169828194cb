"""Writes frames of rows into an edge's log."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gateway.log.segment import (
    FORMAT_VERSION,
    FRAME_HEADER_BYTES,
    GROUPED,
    HAS_STARTS,
    ROWS,
    FrameHeader,
    RowLayout,
    frame_view,
)
from gateway.log.segment_writer import SegmentWriter
from gateway.telemetry.columns import Definitions, ExemplarColumns
from gateway.telemetry.frame import Frame, ShardRows


class LogWriter(SegmentWriter):
    """See SegmentWriter for the order of calls."""

    def append(
        self,
        *,
        ids: NDArray[np.uint32],
        times_ms: NDArray[np.int64],
        values: NDArray[np.float64],
        starts_ms: NDArray[np.int64] | None,
        definitions: Definitions,
        first_new_id: int,
        counted_rows: int,
        received_ns: int,
        exemplars: ExemplarColumns | None = None,
        keep: NDArray[np.bool_] | None = None,
        shards: ShardRows | None = None,
    ) -> Frame:
        """Build a frame and queue it for `sync`. All columns have n entries; `keep` (bool[n]) drops rows.

        definitions: of the local ids that begin at first_new_id, in order. counted_rows: kept rows that are not
        target_info. shards: how the rows are grouped, if they are; not together with `keep`. The frame's columns are
        views of the one buffer that is written; they stay valid as long as the frame is held.
        """
        assert self._fd >= 0, "append before prepare"
        assert shards is None or keep is None, "rows are grouped as they are"
        assert (shards is not None) == (self.format_version == FORMAT_VERSION), "a version holds one kind of frames"
        if keep is not None:
            ids, times_ms, values = ids[keep], times_ms[keep], values[keep]
            starts_ms = starts_ms[keep] if starts_ms is not None else None
            exemplars = _kept_exemplars(exemplars, keep) if exemplars is not None else None
        n, m = len(ids), len(definitions)
        k = len(exemplars.rows) if exemplars is not None else 0
        header = FrameHeader(
            kind=ROWS,
            flags=(HAS_STARTS if starts_ms is not None else 0) | (GROUPED if shards is not None else 0),
            shard=len(shards.rows) if shards is not None else 0,
            edge=self._edge,
            payload_bytes=0,
            first_row=0,
            counted_rows=counted_rows,
            received_ns=received_ns,
            first_new_id=first_new_id,
            rows=n,
            definitions=m,
            blob_bytes=int(definitions.offsets[m] - definitions.offsets[0]) if m else 0,
            exemplars=k,
            nonce=0,
            min_ms=int(times_ms.min()) if n else 0,
            max_ms=int(times_ms.max()) if n else 0,
            payload_crc=0,
        )
        header = header._replace(payload_bytes=RowLayout(header).total)
        buffer = np.empty(header.nbytes, np.uint8)
        layout = RowLayout(header)
        # Padding is at most 7 bytes a column; cleared so that a frame's bytes depend on its rows alone.
        for begin in (layout.offsets, layout.kinds, layout.blobs, layout.exemplars, layout.shards):
            if begin:
                buffer[FRAME_HEADER_BYTES + begin - 8 : FRAME_HEADER_BYTES + begin] = 0
        start = self.end
        if shards is not None:
            begin = FRAME_HEADER_BYTES + layout.shards
            buffer[begin : begin + 8].view(np.int64)[0] = shards.latest_ns
            table = buffer[begin + 8 :].view(np.uint32)
            table[::2], table[1::2] = shards.rows, shards.counted
        frame = frame_view(header, buffer, 0, start)
        frame.ids[:] = ids
        frame.times_ms[:] = times_ms
        frame.values[:] = values
        if starts_ms is not None and frame.starts_ms is not None:
            frame.starts_ms[:] = starts_ms
        if m:
            frame.definitions.kinds[:] = definitions.kinds
            first, last = int(definitions.offsets[0]), int(definitions.offsets[m])
            np.subtract(definitions.offsets, np.uint32(first), out=frame.definitions.offsets)
            frame.definitions.blobs[:] = definitions.blobs[first:last]
            self._definition_bytes += 5 * m + last - first
        if exemplars is not None and frame.exemplars is not None:
            _clear_padding(buffer, layout, k)
            frame.exemplars.rows[:] = exemplars.rows
            frame.exemplars.times_ms[:] = exemplars.times_ms
            frame.exemplars.values[:] = exemplars.values
            frame.exemplars.trace_ids[:] = exemplars.trace_ids
            frame.exemplars.span_ids[:] = exemplars.span_ids
        frame.first_row = self.next_row
        self._enqueue(buffer, header)
        return frame


def _clear_padding(buffer: NDArray[np.uint8], layout: RowLayout, k: int) -> None:
    begin = FRAME_HEADER_BYTES + layout.exemplars + 4 * k
    buffer[begin : begin + (k & 1) * 4] = 0


def _kept_exemplars(exemplars: ExemplarColumns, keep: NDArray[np.bool_]) -> ExemplarColumns | None:
    """The exemplars of kept rows, their row numbers counted among the kept ones."""
    stays = keep[exemplars.rows]
    if not stays.any():
        return None
    new_row = np.cumsum(keep, dtype=np.int64) - 1
    return ExemplarColumns(
        new_row[exemplars.rows[stays]].astype(np.uint32),
        exemplars.times_ms[stays],
        exemplars.values[stays],
        exemplars.trace_ids[stays],
        exemplars.span_ids[stays],
    )
