"""Samples of chosen series over a time range, read from the log itself: the history of a gateway without a back end.

Meant for up to 100,000 series. Any thread may call; one scan reads one segment at a time and keeps nothing of it but
the samples asked for. Indexes are kept in memory once used; that of the segment being written is read on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.errors import DiskFailed
from gateway.log.growing_index import GrowingIndex
from gateway.log.segment import (
    FRAME_HEADER_BYTES,
    FrameHeader,
    RowLayout,
    SegmentFile,
    frame_view,
    list_segments,
    map_segment,
    payload_is_sound,
)
from gateway.log.segment_index import SegmentIndex
from gateway.telemetry.anomaly import TraceReference
from gateway.telemetry.columns import ExemplarColumns
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
        found: dict[bytes, list[tuple[NDArray[np.int64], NDArray[np.float64]]]] = {}
        kinds: dict[bytes, int] = {}
        traces: dict[bytes, list[TraceReference]] = {}
        budget, truncated = MAX_SAMPLES, False
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
            in_time = (index.max_ms >= start_ms) & (index.min_ms <= end_ms) & (index.offsets < segment.end)
            if not in_time.any():
                continue
            try:
                budget, more = _scan_segment(
                    segment, index, in_time, (matches, select), (start_ms, end_ms), (max_series, budget),
                    found, kinds, traces,
                )  # fmt: skip
            except FileNotFoundError:
                continue  # removed by retention meanwhile
            except (OSError, ValueError) as error:
                raise DiskFailed(f"{segment.path} cannot be read: {error}") from error
            truncated |= more
        series = [_joined(blob, kinds[blob], parts) for blob, parts in found.items() if parts]
        for one in series:
            one.exemplars = sorted(traces.get(one.blob, ()), key=lambda t: t.time)[-MAX_EXEMPLARS:]
        return ScanResult(series, truncated)

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


def _scan_segment(
    segment: SegmentFile,
    index: SegmentIndex,
    in_time: NDArray[np.bool_],
    accepted: tuple[Callable[[bytes], bool], Select | None],
    span_ms: tuple[int, int],
    limits: tuple[int, int],
    found: dict[bytes, list[tuple[NDArray[np.int64], NDArray[np.float64]]]],
    kinds: dict[bytes, int],
    traces: dict[bytes, list[TraceReference]],
) -> tuple[int, bool]:
    """Add the segment's samples to `found`; returns the samples that may still come, and whether some were left out."""
    max_series, budget = limits
    matches, select = accepted
    truncated = False
    with map_segment(segment) as mapped:
        # slot[id] is the place in `wanted` of a local id that is asked for, else -1.
        slot = np.full(len(index.kinds), -1, np.int32)
        wanted: list[bytes] = []
        blocks = np.uint64(0)
        candidates = index.blob_lengths > 0
        if select is not None:
            candidates &= select(np.frombuffer(mapped, np.uint8), index.blob_begins, index.blob_lengths)
        for local in np.flatnonzero(candidates).tolist():
            begin = int(index.blob_begins[local])
            blob = mapped[begin : begin + int(index.blob_lengths[local])]
            if not matches(blob):
                continue
            if blob not in found and len(found) >= max_series:
                truncated = True
                continue
            found.setdefault(blob, [])
            kinds[blob] = int(index.kinds[local])
            slot[local] = len(wanted)
            wanted.append(blob)
            blocks |= index.occurs_in[local]
        if not wanted:
            return budget, truncated
        for frame_number in np.flatnonzero(in_time & ((index.blocks & blocks) != 0)).tolist():
            at = int(index.offsets[frame_number])
            header = FrameHeader.parse(mapped, at, segment.nonce)
            if header is None or at + header.nbytes > segment.end:
                continue  # readers count damage
            data = np.frombuffer(mapped, np.uint8, header.nbytes, at)
            rows = _rows_of(header, data, slot, span_ms)
            # Most frames hold nothing that is asked for: a checksum is worth its time only for what is given out.
            if (not len(rows) and not header.exemplars) or not payload_is_sound(header, mapped, at):
                del data
                continue
            data = data.copy()  # what is given out must not keep the mapping
            frame = frame_view(header, data, 0, LogPosition(segment.number, at))
            places = np.full(len(frame.ids), -1, np.int32)
            known = frame.ids < len(slot)
            places[known] = slot[frame.ids[known]]
            if frame.exemplars is not None:
                _take_exemplars(frame.exemplars, places, span_ms, wanted, traces)
            if not len(rows):
                continue
            if len(rows) > budget:
                return budget, True
            budget -= len(rows)
            order = rows[np.argsort(places[rows], kind="stable")]
            series, firsts = np.unique(places[order], return_index=True)
            for number, part in zip(series.tolist(), np.split(order, firsts[1:]), strict=True):
                found[wanted[number]].append((frame.times_ms[part], frame.values[part]))
    return budget, truncated


def _rows_of(
    header: FrameHeader, data: NDArray[np.uint8], slot: NDArray[np.int32], span_ms: tuple[int, int]
) -> NDArray[np.int64]:
    """Rows of the frame in `data` that are asked for; int64, ascending. Its payload need not be sound."""
    layout = RowLayout(header)
    ids = data[FRAME_HEADER_BYTES + layout.ids :][: 4 * header.rows].view(np.uint32)
    times = data[FRAME_HEADER_BYTES + layout.times :][: 8 * header.rows].view(np.int64)
    rows = np.empty(header.rows, np.int64)
    return rows[: find_rows(ids, times, slot, *span_ms, rows)]


def _take_exemplars(
    exemplars: ExemplarColumns,
    places: NDArray[np.int32],
    span_ms: tuple[int, int],
    wanted: list[bytes],
    traces: dict[bytes, list[TraceReference]],
) -> None:
    """Add a frame's exemplars of the wanted series; places: int32[rows], index into `wanted` or -1."""
    series = places[exemplars.rows]
    times = exemplars.times_ms
    wanted_rows = (series >= 0) & (times >= span_ms[0]) & (times <= span_ms[1]) & np.isfinite(exemplars.values)
    for at in np.flatnonzero(wanted_rows).tolist():
        kept = traces.setdefault(wanted[int(series[at])], [])
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


def _joined(blob: bytes, kind: int, parts: list[tuple[NDArray[np.int64], NDArray[np.float64]]]) -> SeriesSamples:
    times = np.concatenate([t for t, _ in parts])
    values = np.concatenate([v for _, v in parts])
    order = np.argsort(times, kind="stable")
    times, values = times[order], values[order]
    last = np.ones(len(times), np.bool_)
    last[:-1] = times[1:] != times[:-1]
    return SeriesSamples(blob, kind, times[last], values[last])
