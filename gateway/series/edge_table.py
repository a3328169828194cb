"""The edge's memory of which series the open segment already defines.

One thread, the log's writer, owns the table. Local ids are dense from 0 within a segment. The series of the segment
before are known as well, for two purposes: such a series gets its definition copied out of that segment's file,
without the request being parsed for labels again; and the series of both segments together are what `max_series`
limits, so a series leaves the count when a whole segment passed without it.

Memory: one entry of 30 bytes for a series of either segment, 8 bytes a slot at 47 to 70 % load: 41 to 62 bytes a
series, and those of at most a third as many that both segments are without.
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
from gateway.telemetry.mapped_zeros import mapped_zeros
from kernels import series_table as table

log = structlog.get_logger(__name__)

DEFINED = counter("edge_definitions", "Definitions written to the log, by where the labels came from.", ["source"])
EDGE_SERIES = gauge("edge_series", "Series of the open log segment and the one before it.")

_SMALLEST: Final = 1 << 12
_HALVES_FROM: Final = 1 << 17
_FIRST_SEGMENT: Final = 2
"""As the table counts: entries that belong to no segment have 0."""
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


class _Entries:
    """What is known of each series, by entry: see kernels.series_table, and where its definition stands.

    begins, lengths, kinds: of the newest segment that defined it; a length of 0: not known.
    """

    def __init__(self) -> None:
        self.words = np.zeros((_SMALLEST, 2), np.uint64)
        self.carried = np.zeros(_SMALLEST, np.uint8)
        self.begins = np.zeros(_SMALLEST, np.int64)
        self.lengths = np.zeros(_SMALLEST, np.uint32)
        self.kinds = np.zeros(_SMALLEST, np.uint8)

    def __len__(self) -> int:
        return len(self.words)

    def flat(self) -> NDArray[np.uint64]:
        """uint64[2 * len]: as kernels take it."""
        return self.words.reshape(-1)

    def segments(self, used: int) -> NDArray[np.uint64]:
        """uint64[used]: number of the segment that each has a local id for, 0 for none."""
        return self.words[:used, 1] >> np.uint64(32)

    def take(self, kept: NDArray[np.int64], size: int) -> None:
        """Go on with some of the entries, in their order, and room for `size`."""
        for name in ("words", "carried", "begins", "lengths", "kinds"):
            old = getattr(self, name)
            new = mapped_zeros((size, *old.shape[1:]), old.dtype)
            new[: len(kept)] = old[kept]
            setattr(self, name, new)

    def grow(self, used: int) -> None:
        """Room for more than are used."""
        self.take(np.arange(used), _larger(len(self)))


def _larger(size: int) -> int:
    """The next size: twice as much while that costs little, then half as much again."""
    return 2 * size if size < _HALVES_FROM else size + size // 2


class EdgeTable:
    """Hash to local id for the open segment; see the module's text."""

    def __init__(self, max_series: int) -> None:
        self._max_series = max_series
        self._slots = np.zeros(2 * _SMALLEST, np.uint64)
        self._entries = _Entries()
        self._state = np.zeros(table.E_STATE, np.int64)
        self._state[table.E_LIMIT] = max_series
        self._state[table.E_SEGMENT] = _FIRST_SEGMENT
        self._new: NDArray[np.int64] = np.empty(0, np.int64)
        """Entries of the ids that the last resolution gave."""
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
        if self._closed is not None:
            self._closed.close()
        self._closed = _opened(self._path)
        state = self._state
        state[table.E_PREVIOUS] = state[table.E_NEXT_ID]
        state[table.E_SEGMENT] += 1
        used = int(state[table.E_ENTRIES])
        if used - int(state[table.E_PREVIOUS]) > max(used // 4, _SMALLEST):
            self._leave_out()
        self._begin(segment, path)

    def restarted(self, segment: int, path: Path) -> None:
        """The writer gave up its segment after a failure and has opened `segment` at `path` in its place.

        What the given-up segment defined is forgotten, since its end is lost; the one before it stays the source.
        """
        given_up = self._entries.segments(int(self._state[table.E_ENTRIES])) == np.uint64(self._state[table.E_SEGMENT])
        self._take_back(np.flatnonzero(given_up))
        self._entries.lengths[: len(given_up)][given_up] = 0  # where they stood before was written over
        self._begin(segment, path)

    def _take_back(self, entries: NDArray[np.int64]) -> None:
        """The open segment does not have these series; the one before may."""
        carried = self._entries.carried[entries] != 0
        before = np.where(carried, self._state[table.E_SEGMENT] - 1, 0).astype(np.uint64)
        self._entries.words[entries, 1] = before << np.uint64(32)

    def _begin(self, segment: int, path: Path) -> None:
        self._state[table.E_NEXT_ID] = self._state[table.E_FRESH] = 0
        self.segment, self._path = segment, path
        EDGE_SERIES.set(self.active_series)

    def _leave_out(self) -> None:
        """Forget the entries that the segment before is without."""
        used = int(self._state[table.E_ENTRIES])
        stays = self._entries.segments(used) == np.uint64(self._state[table.E_SEGMENT] - 1)
        kept = np.flatnonzero(stays)
        size = _SMALLEST
        while size * table.FULLEST <= len(kept):
            size = _larger(size)
        slots = mapped_zeros(2 * size, np.uint64)
        numbers = np.where(stays, np.cumsum(stays) - 1, -1)
        table.copy_slots(self._slots, self._entries.flat(), numbers, slots)
        self._slots = slots
        self._entries.take(kept, size)
        self._state[table.E_ENTRIES] = len(kept)

    def resolve(self, columns: PointColumns) -> Resolution:
        """Local ids for the rows of `columns`, new ones where the segment has not defined a series yet.

        Every resolution must be followed by `appended` with the frame that carries its definitions, or by `rotated`
        or `restarted` if that frame was not written. An exception from the label source leaves the table as it was.
        """
        n = len(columns)
        ids = np.empty(n, np.uint32)
        new_rows, new_entries = np.empty(n, np.int64), np.empty(n, np.int64)
        state = self._state
        first_new_id, fresh = int(state[table.E_NEXT_ID]), int(state[table.E_FRESH])
        state[table.E_NEW] = state[table.E_REFUSED] = 0
        row = 0
        while True:
            entries = self._entries
            row = table.resolve_hashes(
                columns.hash_hi, columns.hash_lo, row, self._slots, entries.flat(), entries.carried, state, ids,
                new_rows, new_entries,
            )  # fmt: skip
            if row == n:
                break
            self._grow()
        count = int(state[table.E_NEW])
        self._new = new_entries[:count]
        try:
            definitions = self._definitions(columns, new_rows[:count], self._new)
        except BaseException:
            state[table.E_NEXT_ID], state[table.E_FRESH] = first_new_id, fresh
            self._take_back(self._new)
            raise
        keep, refused_points = None, 0
        if state[table.E_REFUSED]:
            keep, refused_points = _without_refused(ids, columns.row_points, columns.kinds)
        if count:
            EDGE_SERIES.set(self.active_series)
        return Resolution(ids, keep, definitions, first_new_id, refused_points)

    def appended(self, frame: Frame) -> None:
        """The frame made of the last resolution stands in the open segment."""
        definitions = frame.definitions
        if len(definitions):
            assert len(definitions) == len(self._new), "a resolution was not appended"
            self._entries.begins[self._new] = definitions.offsets[:-1].astype(np.int64) + frame.blobs_at
            self._entries.lengths[self._new] = np.diff(definitions.offsets)
            self._entries.kinds[self._new] = definitions.kinds

    def _grow(self) -> None:
        """Slots or entries have run out."""
        used = int(self._state[table.E_ENTRIES])
        if used >= len(self._entries):
            self._entries.grow(used)
        if used >= int(len(self._slots) * table.FULLEST):
            slots = mapped_zeros(_larger(len(self._slots)), np.uint64)
            table.copy_slots(self._slots, self._entries.flat(), np.arange(used), slots)
            self._slots = slots

    def _definitions(self, columns: PointColumns, rows: NDArray[np.int64], new: NDArray[np.int64]) -> Definitions:
        """Definitions of new ids: from the previous segment's file where it has them, else from the request. new: their
        entries."""
        m = len(rows)
        if m == 0:
            return Definitions(np.empty(0, np.uint8), np.zeros(1, np.uint32), _NO_BLOBS)
        entries = self._entries
        known = (entries.carried[new] != 0) & (entries.lengths[new] != 0)
        if self._closed is None or not known.any():
            DEFINED.labels("request").inc(m)
            return columns.source.definitions(rows)
        from_file = new[known]
        kinds, lengths = np.empty(m, np.uint8), np.empty(m, np.uint32)
        kinds[known], lengths[known] = entries.kinds[from_file], entries.lengths[from_file]
        asked: Definitions | None = None
        if not known.all():
            asked = columns.source.definitions(rows[~known])
            kinds[~known], lengths[~known] = asked.kinds, np.diff(asked.offsets)
        offsets = np.zeros(m + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        blobs = np.empty(int(offsets[m]), np.uint8)
        targets = offsets[:-1]
        begins = entries.begins[from_file]
        try:
            self._closed.copy(begins, lengths[known], targets[known], blobs)
        except OSError as error:
            log.error("the previous log segment cannot be read; labels are read from requests", error=str(error))
            self._closed.close()
            self._closed = None
            return self._definitions(columns, rows, new)
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
