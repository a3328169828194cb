"""Samples of chosen series over a time range, read from the log itself: the history of a gateway without a back end.

Meant for up to 100,000 series. Any thread may call; one scan reads one segment at a time and keeps nothing of it but
the samples asked for. Indexes are kept in memory once used; that of the segment being written is read on.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.errors import DiskFailed
from gateway.log.frame_columns import FrameColumns
from gateway.log.growing_index import GrowingIndex
from gateway.log.segment import FrameHeader, SegmentFile, frame_view, list_segments, map_segment, payload_is_sound
from gateway.log.segment_index import SegmentIndex
from gateway.telemetry.anomaly import TraceReference
from gateway.telemetry.frame import LogPosition
from kernels.log_rows import find_rows

MAX_SAMPLES: Final = 2_000_000
"""Of one scan; what goes beyond is left out and said so."""
MAX_EXEMPLARS: Final = 200
"""Of one series in one scan, the newest."""

Select = Callable[[NDArray[np.uint8], NDArray[np.uint64], NDArray[np.uint32]], NDArray[np.bool_]]
"""(bytes, where each label blob begins in them, its length) to bool, one a blob: whether it can be wanted."""


@dataclass(slots=True)
class SeriesSamples:
    """Samples of one series, ascending in time, a repeated time once (the later row wins).

    times_ms: int64[n]; values: float64[n]. blob: its labels. kind: telemetry.kind. exemplars: the newest of the span,
    at most MAX_EXEMPLARS, ascending in time.
    """

    blob: bytes
    kind: int
    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    exemplars: list[TraceReference] = field(default_factory=list)


@dataclass(slots=True)
class ScanResult:
    """What a scan found. truncated: there was more than `max_series` series or MAX_SAMPLES samples."""

    series: list[SeriesSamples]
    truncated: bool


class LogHistory:
    """Scans one edge's log."""

    def __init__(self, directory: Path, edge: int) -> None:
        self._directory, self._edge = directory, edge
        self._lock = threading.Lock()
        self._indexes: dict[int, SegmentIndex] = {}
        self._growing: GrowingIndex | None = None

    def scan(
        self,
        matches: Callable[[bytes], bool],
        start_ms: int,
        end_ms: int,
        *,
        max_series: int = 100,
        durable_end: LogPosition | None = None,
        select: Select | None = None,
    ) -> ScanResult:
        """Samples with start_ms <= time <= end_ms of the series whose label blob `matches` accepts.

        durable_end: nothing at or after it is read. select: leaves out, of a segment's label blobs all at once, what
        cannot match; `matches` is asked of the others. Raises DiskFailed.
        """
        scan = _Scan(matches, select, start_ms, end_ms, max_series)
        segments = list_segments(self._directory, self._edge)
        self._forget_all_but({s.number for s in segments})
        for number, segment in enumerate(segments):
            if durable_end is not None and segment.number >= durable_end.segment:
                if segment.number > durable_end.segment:
                    break
                segment = segment._replace(end=min(segment.end, durable_end.offset))
            # A segment the end lies in is read as an open one, although it may have been closed since: the index that
            # is kept is of the whole of it.
            whole = durable_end is None or segment.number < durable_end.segment
            index = self._index(segment, closed=whole and number + 1 < len(segments))
            try:
                scan.read(segment, index)
            except FileNotFoundError:
                continue  # removed by retention meanwhile
            except (OSError, ValueError) as error:
                raise DiskFailed(f"{segment.path} cannot be read: {error}") from error
        return scan.result()

    def _index(self, segment: SegmentFile, closed: bool) -> SegmentIndex:
        if not closed:
            with self._lock:
                if self._growing is None or self._growing.number != segment.number:
                    self._growing = GrowingIndex(segment.number)
                growing = self._growing
            return growing.up_to(segment)
        with self._lock:
            known = self._indexes.get(segment.number)
        if known is None:
            known = SegmentIndex.of_closed(segment)
            with self._lock:
                self._indexes[segment.number] = known
        return known

    def _forget_all_but(self, present: set[int]) -> None:
        with self._lock:
            self._indexes = {n: index for n, index in self._indexes.items() if n in present}


class _Scan:
    """What one question has found so far."""

    def __init__(
        self, matches: Callable[[bytes], bool], select: Select | None, start_ms: int, end_ms: int, max_series: int
    ) -> None:
        self._matches, self._select = matches, select
        self._start_ms, self._end_ms = start_ms, end_ms
        self._max_series, self._budget = max_series, MAX_SAMPLES
        self._found: dict[bytes, list[tuple[NDArray[np.int64], NDArray[np.float64]]]] = {}
        self._kinds: dict[bytes, int] = {}
        self._traces: dict[bytes, list[TraceReference]] = {}
        self._truncated = False

    def read(self, segment: SegmentFile, index: SegmentIndex) -> None:
        """Add a segment's samples. Raises OSError, ValueError."""
        in_time = (index.max_ms >= self._start_ms) & (index.min_ms <= self._end_ms) & (index.offsets < segment.end)
        if not in_time.any():
            return
        with map_segment(segment) as mapped:
            slot, wanted, blocks = self._choose(mapped, index)
            if not wanted:
                return
            begins = index.offsets[in_time & ((index.blocks & blocks) != 0)].astype(np.int64)
            data = np.frombuffer(mapped, np.uint8)
            columns = FrameColumns.of(data, begins, segment.end, segment.nonce)
            try:
                self._take(columns, slot, wanted, mapped)
            finally:
                del columns, data  # the mapping is closed when nothing looks into it

    def _choose(self, mapped: mmap.mmap, index: SegmentIndex) -> tuple[NDArray[np.int32], list[bytes], np.uint64]:
        """The label blobs that are asked for, the place among them of each local id (-1: none), and their blocks."""
        slot = np.full(len(index.kinds), -1, np.int32)
        wanted: list[bytes] = []
        blocks = np.uint64(0)
        candidates = index.blob_lengths > 0
        if self._select is not None:
            candidates &= self._select(np.frombuffer(mapped, np.uint8), index.blob_begins, index.blob_lengths)
        for local in np.flatnonzero(candidates).tolist():
            begin = int(index.blob_begins[local])
            blob = mapped[begin : begin + int(index.blob_lengths[local])]
            if not self._matches(blob):
                continue
            if blob not in self._found and len(self._found) >= self._max_series:
                self._truncated = True
                continue
            self._found.setdefault(blob, [])
            self._kinds[blob] = int(index.kinds[local])
            slot[local] = len(wanted)
            wanted.append(blob)
            blocks |= index.occurs_in[local]
        return slot, wanted, blocks

    def _take(self, columns: FrameColumns, slot: NDArray[np.int32], wanted: list[bytes], mapped: mmap.mmap) -> None:
        """Add what is asked for of these frames: one pass over the ids of all, then what belongs to the rows found."""
        most = min(int(columns.rows.sum()), self._budget + 1)
        frames, rows = np.empty(most, np.int64), np.empty(most, np.int64)
        n = find_rows(
            columns.words, columns.longs, columns.ids_at, columns.times_at, columns.rows,
            slot, self._start_ms, self._end_ms, frames, rows,
        )  # fmt: skip
        if n > self._budget:
            self._truncated, n = True, self._budget
        frames, rows = frames[:n], rows[:n]
        # Most frames hold nothing that is asked for: a checksum is worth its time only where something is given out.
        sound = np.zeros(len(columns), np.bool_)
        for number in np.union1d(frames, np.flatnonzero(columns.exemplars)).tolist():
            at = int(columns.begins[number])
            header = FrameHeader.parse(mapped, at)
            if header is None or not payload_is_sound(header, mapped, at):
                continue  # readers count damage
            sound[number] = True
            if header.exemplars:
                self._take_exemplars(header, mapped[at : at + header.nbytes], slot, wanted)
        frames, rows = frames[sound[frames]], rows[sound[frames]]
        self._budget -= len(rows)
        places = slot[columns.words[columns.ids_at[frames] + rows]]
        order = np.argsort(places, kind="stable")
        series, firsts = np.unique(places[order], return_index=True)
        times = columns.longs[columns.times_at[frames] + rows][order]
        values = columns.doubles[columns.values_at[frames] + rows][order]
        for place, first, end in zip(series.tolist(), firsts, [*firsts[1:], len(order)], strict=True):
            self._found[wanted[place]].append((times[first:end], values[first:end]))

    def _take_exemplars(self, header: FrameHeader, data: bytes, slot: NDArray[np.int32], wanted: list[bytes]) -> None:
        """Add a sound frame's exemplars of the series that are asked for."""
        frame = frame_view(header, np.frombuffer(data, np.uint8), 0, LogPosition(0, 0))
        exemplars = frame.exemplars
        assert exemplars is not None
        ids, times = frame.ids[exemplars.rows], exemplars.times_ms
        places = np.full(len(ids), -1, np.int32)
        places[ids < len(slot)] = slot[ids[ids < len(slot)]]
        wanted_rows = (places >= 0) & (times >= self._start_ms) & (times <= self._end_ms)
        wanted_rows &= np.isfinite(exemplars.values)
        for at in np.flatnonzero(wanted_rows).tolist():
            kept = self._traces.setdefault(wanted[int(places[at])], [])
            kept.append(
                TraceReference(
                    exemplars.trace_ids[at].tobytes().hex(),
                    exemplars.span_ids[at].tobytes().hex(),
                    float(exemplars.values[at]),
                    int(times[at]) / 1000.0,
                )
            )
            if len(kept) >= 2 * MAX_EXEMPLARS:
                kept.sort(key=lambda t: t.time)
                del kept[:MAX_EXEMPLARS]

    def result(self) -> ScanResult:
        """All of it."""
        series = [_joined(blob, self._kinds[blob], parts) for blob, parts in self._found.items() if parts]
        for one in series:
            one.exemplars = sorted(self._traces.get(one.blob, ()), key=lambda t: t.time)[-MAX_EXEMPLARS:]
        return ScanResult(series, self._truncated)


def _joined(blob: bytes, kind: int, parts: list[tuple[NDArray[np.int64], NDArray[np.float64]]]) -> SeriesSamples:
    times = np.concatenate([t for t, _ in parts])
    values = np.concatenate([v for _, v in parts])
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    last = np.ones(len(times), np.bool_)
    last[:-1] = times[1:] != times[:-1]
    return SeriesSamples(blob, kind, times[last], values[last])
