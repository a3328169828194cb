"""A reader's way from a segment's local ids to sids.

Each reader (scorer, forwarder) owns one LocalIds; frames must come in log order. At a new segment the mapping begins
anew and the pins that kept its series from expiring are released.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from gateway.selfmetrics import counter
from gateway.series.index import SeriesIndex
from gateway.telemetry.columns import ExemplarColumns
from gateway.telemetry.frame import Frame
from gateway.telemetry.resolved import ResolvedFrame
from kernels import label_index as table

log = structlog.get_logger(__name__)

UNRESOLVED_ROWS = counter(
    "unresolved_rows", "Rows whose series cannot be named because its definition was damaged in the log.", ["reader"]
)

_SMALLEST: Final = 1 << 12
_NO_TIMES: Final = np.empty(0, np.int64)


class LocalIds:
    """Resolves frames for one reader; one thread owns it.

    touch: note the rows' times for expiry; one reader of an index is enough. unresolved_rows: rows dropped so far.
    """

    def __init__(self, index: SeriesIndex, reader: str, *, touch: bool = True) -> None:
        self._index, self._reader, self._touch = index, reader, touch
        self._pin = index.pin_of(reader)
        self._segment = (-1, -1)
        self._mapping = np.full(_SMALLEST, table.UNRESOLVED, np.uint32)
        self._known = 0
        self.unresolved_rows = 0

    def resolve(self, frame: Frame) -> ResolvedFrame:
        """The frame with sids. Rows that cannot be named are taken out and counted (`unresolved_rows`)."""
        self._enter(frame)
        if len(frame.definitions):
            self._define(frame)
        return self._named(frame)

    def _enter(self, frame: Frame) -> None:
        if (frame.edge, frame.start.segment) != self._segment:
            self.clear()
            self._segment = (frame.edge, frame.start.segment)

    def _named(self, frame: Frame) -> ResolvedFrame:
        sids = np.empty(len(frame), np.uint32)
        missing = table.resolve_rows(
            frame.ids,
            self._mapping,
            self._known,
            frame.times_ms,
            self._index.last_seen_ms if self._touch else _NO_TIMES,
            sids,
        )
        if missing:
            self.unresolved_rows += missing
            UNRESOLVED_ROWS.labels(self._reader).inc(missing)
            log.error("rows of unknown series in the log", rows=missing, at=frame.start, reader=self._reader)
            return _without_unresolved(frame, sids)
        return ResolvedFrame(frame, sids)

    def _define(self, frame: Frame) -> None:
        first, end = frame.first_new_id, frame.first_new_id + len(frame.definitions)
        self._reserve(end)
        self._mapping[first:end] = self._index.define(
            frame.definitions, pin=self._pin, seen_ms=frame.received_ns // 1_000_000
        )
        self._known = max(self._known, end)

    def _reserve(self, end: int) -> None:
        if end > len(self._mapping):
            size = len(self._mapping)
            while size < end:
                size *= 2
            larger = np.full(size, table.UNRESOLVED, np.uint32)
            larger[: self._known] = self._mapping[: self._known]
            self._mapping = larger

    @property
    def mapped(self) -> NDArray[np.uint32]:
        """uint32: the sids of the open segment by local id, UNRESOLVED among them."""
        return self._mapping[: self._known]

    def clear(self) -> None:
        """Forget the segment and let its series expire."""
        if self._known:
            self._index.release(self.mapped, self._pin)
            self._mapping[: self._known] = table.UNRESOLVED
            self._known = 0
        self._segment = (-1, -1)


def _without_unresolved(frame: Frame, sids: NDArray[np.uint32]) -> ResolvedFrame:
    keep = sids != table.UNRESOLVED
    exemplars = frame.exemplars
    if exemplars is not None:
        stays = keep[exemplars.rows]
        rows = (np.cumsum(keep, dtype=np.int64) - 1)[exemplars.rows[stays]].astype(np.uint32)
        exemplars = ExemplarColumns(
            rows,
            exemplars.times_ms[stays],
            exemplars.values[stays],
            exemplars.trace_ids[stays],
            exemplars.span_ids[stays],
        )
    lost = len(keep) - int(keep.sum())
    kept = replace(
        frame,
        ids=frame.ids[keep],
        times_ms=frame.times_ms[keep],
        values=frame.values[keep],
        starts_ms=frame.starts_ms[keep] if frame.starts_ms is not None else None,
        counted_rows=max(0, frame.counted_rows - lost),
        exemplars=exemplars,
    )
    return ResolvedFrame(kept, sids[keep])
