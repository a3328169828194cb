"""The edge's memory of which series the open segment already defines.

One thread, the log's writer, owns the table. Local ids are dense from 0 within a segment. The table of the segment
before is kept for two purposes: a series it knows gets its definition copied out of that segment's file, without the
request being parsed for labels again; and the series of both segments together are what `max_series` limits, so a
series leaves the count when a whole segment passed without it.

Memory: 16 bytes a slot at 35 to 70 % load, and 13 bytes a definition, both for two segments: 72 to 118 bytes a series.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from gateway.selfmetrics import counter, gauge
from gateway.series.closed_segment import ClosedSegment
from gateway.telemetry import kind
from gateway.telemetry.columns import Definitions, PointColumns
from gateway.telemetry.frame import Frame
from kernels import series_table as table

log = structlog.get_logger(__name__)

DEFINED = counter("edge_definitions", "Definitions written to the log, by where the labels came from.", ["source"])
EDGE_SERIES = gauge("edge_series", "Series of the open log segment and the one before it.")

_SMALLEST: Final = 1 << 12
_NO_BLOBS: Final = np.empty(0, np.uint8)


@dataclass(slots=True)
class Resolution:
    """Local ids of a request's rows.

    ids: uint32[n]. keep: bool[n], False for rows over the limit; None if all rows stay.
    definitions: of the local ids from first_new_id on, in order.
    refused_points: protocol points with at least one row over the limit; all rows of such a point are refused.
    """

    ids: NDArray[np.uint32]
    keep: NDArray[np.bool_] | None
    definitions: Definitions
    first_new_id: int
    refused_points: int

    @property
    def refused_rows(self) -> NDArray[np.bool_] | None:
        """bool[n]: rows over the limit; None if there are none."""
        return None if self.keep is None else ~self.keep


class _Places:
    """Where the definitions of one segment stand in its file, by local id."""

    def __init__(self) -> None:
        self.begins = np.empty(_SMALLEST, np.uint64)
        self.lengths = np.empty(_SMALLEST, np.uint32)
        self.kinds = np.empty(_SMALLEST, np.uint8)
        self.count = 0

    def add(self, definitions: Definitions, blobs_at: int) -> None:
        end = self.count + len(definitions)
        while end > len(self.begins):
            self.begins = np.concatenate([self.begins, np.empty_like(self.begins)])
            self.lengths = np.concatenate([self.lengths, np.empty_like(self.lengths)])
            self.kinds = np.concatenate([self.kinds, np.empty_like(self.kinds)])
        here = slice(self.count, end)
        np.add(definitions.offsets[:-1], np.uint64(blobs_at), out=self.begins[here])
        np.subtract(definitions.offsets[1:], definitions.offsets[:-1], out=self.lengths[here])
        self.kinds[here] = definitions.kinds
        self.count = end


class EdgeTable:
    """Hash to local id for the open segment; see the module's text."""

    def __init__(self, max_series: int) -> None:
        self._max_series = max_series
        self._slots = np.zeros(2 * _SMALLEST, np.uint64)
        self._previous = np.zeros(2, np.uint64)
        self._state = np.zeros(table.E_STATE, np.int64)
        self._state[table.E_LIMIT] = max_series
        self._places, self._previous_places = _Places(), _Places()
        self._closed: ClosedSegment | None = None
        """The segment before the open one."""
        self._path: Path | None = None
        self.segment = 0
        """Number of the segment the ids are for; 0 before the first."""

    @property
    def active_series(self) -> int:
        """Series of the open segment and the one before."""
        return int(self._state[table.E_PREVIOUS] + self._state[table.E_FRESH])

    @property
    def limit_message(self) -> str:
        """For senders whose series were refused."""
        return f"the limit of {self._max_series} active series is reached (ingest.max_series); known series still pass"

    def rotated(self, segment: int, path: Path) -> None:
        """The writer has opened `segment` at `path`; ids begin again at 0.

        The segment before becomes the one that definitions are copied from.
        """
        self._previous, self._previous_places = self._slots, self._places
        if self._closed is not None:
            self._closed.close()
        self._closed = _opened(self._path)
        self._restart(segment, path)

    def restarted(self, segment: int, path: Path) -> None:
        """The writer gave up its segment after a failure and has opened `segment` at `path` in its place.

        What the given-up segment defined is forgotten, since its end is lost; the one before it stays the source.
        """
        self._restart(segment, path)

    def _restart(self, segment: int, path: Path) -> None:
        previous = self._previous_places.count
        size = _SMALLEST
        while size * 7 // 10 <= previous:
            size *= 2
        self._slots = np.zeros(2 * size, np.uint64)
        self._places = _Places()
        self._state[table.E_NEXT_ID] = self._state[table.E_FRESH] = 0
        self._state[table.E_PREVIOUS] = previous
        self.segment, self._path = segment, path
        EDGE_SERIES.set(self.active_series)

    def resolve(self, columns: PointColumns) -> Resolution:
        """Local ids for the rows of `columns`, new ones where the segment has not defined a series yet.

        Every resolution must be followed by `appended` with the frame that carries its definitions, or by `rotated`
        or `restarted` if that frame was not written. An exception from the label source leaves the table as it was.
        """
        n = len(columns)
        ids = np.empty(n, np.uint32)
        new_rows, new_previous = np.empty(n, np.int64), np.empty(n, np.int64)
        state = self._state
        first_new_id, fresh = int(state[table.E_NEXT_ID]), int(state[table.E_FRESH])
        state[table.E_NEW] = state[table.E_REFUSED] = 0
        row = 0
        while True:
            row = table.resolve_hashes(
                columns.hash_hi, columns.hash_lo, row, self._slots, self._previous, state, ids, new_rows, new_previous
            )
            if row == n:
                break
            self._copy_table(2 * len(self._slots), int(state[table.E_NEXT_ID]))
        count = int(state[table.E_NEW])
        try:
            definitions = self._definitions(columns, new_rows[:count], new_previous[:count])
        except BaseException:
            state[table.E_NEXT_ID], state[table.E_FRESH] = first_new_id, fresh
            self._copy_table(len(self._slots), first_new_id)
            raise
        keep, refused_points = None, 0
        if state[table.E_REFUSED]:
            keep, refused_points = _without_refused(ids, columns.row_points, columns.kinds)
        if count:
            EDGE_SERIES.set(self.active_series)
        return Resolution(ids, keep, definitions, first_new_id, refused_points)

    def appended(self, frame: Frame) -> None:
        """The frame made of the last resolution stands in the open segment."""
        if len(frame.definitions):
            assert frame.first_new_id == self._places.count, "a resolution was not appended"
            self._places.add(frame.definitions, frame.blobs_at)

    def _copy_table(self, words: int, end_id: int) -> None:
        slots = np.zeros(words, np.uint64)
        table.copy_slots(self._slots, slots, end_id)
        self._slots = slots

    def _definitions(self, columns: PointColumns, rows: NDArray[np.int64], previous: NDArray[np.int64]) -> Definitions:
        """Definitions of new ids: from the previous segment's file where it has them, else from the request."""
        m = len(rows)
        if m == 0:
            return Definitions(np.empty(0, np.uint8), np.zeros(1, np.uint32), _NO_BLOBS)
        known = previous >= 0
        if self._closed is None or not known.any():
            DEFINED.labels("request").inc(m)
            return columns.source.definitions(rows)
        places, from_file = self._previous_places, previous[known]
        kinds, lengths = np.empty(m, np.uint8), np.empty(m, np.uint32)
        kinds[known], lengths[known] = places.kinds[from_file], places.lengths[from_file]
        asked: Definitions | None = None
        if not known.all():
            asked = columns.source.definitions(rows[~known])
            kinds[~known], lengths[~known] = asked.kinds, np.diff(asked.offsets)
        offsets = np.zeros(m + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        blobs = np.empty(int(offsets[m]), np.uint8)
        targets = offsets[:-1]
        begins = places.begins[from_file].astype(np.int64)
        try:
            self._closed.copy(begins, lengths[known], targets[known], blobs)
        except OSError as error:
            log.error("the previous log segment cannot be read; labels are read from requests", error=str(error))
            self._closed.close()
            self._closed = None
            return self._definitions(columns, rows, previous)
        if asked is not None:
            table.copy_blobs(asked.blobs, asked.offsets[:-1].astype(np.uint64), lengths[~known], targets[~known], blobs)
        DEFINED.labels("previous_segment").inc(len(from_file))
        DEFINED.labels("request").inc(m - len(from_file))
        return Definitions(kinds, offsets.astype(np.uint32), blobs)


def _opened(path: Path | None) -> ClosedSegment | None:
    """A closed segment; None where it is gone."""
    try:
        return ClosedSegment.open(path)
    except OSError as error:
        log.warning("the previous log segment cannot be opened; labels are read from requests", error=str(error))
        return None


def _without_refused(
    ids: NDArray[np.uint32], row_points: NDArray[np.uint32] | None, kinds: NDArray[np.uint8]
) -> tuple[NDArray[np.bool_], int]:
    """Rows that stay, and how many protocol points do not. A point goes whole: half a histogram helps nobody.

    target_info is no point of the protocol and is not counted.
    """
    refused = ids == table.REFUSED
    points = (kinds & kind.CLASS_MASK) != kind.TARGET_INFO
    if row_points is None:
        return ~refused, int(np.count_nonzero(refused & points))
    gone = np.zeros(int(row_points.max()) + 1, np.bool_)
    gone[row_points[refused]] = True
    return ~gone[row_points], len(np.unique(row_points[refused & points]))
