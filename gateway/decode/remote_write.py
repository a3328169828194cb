"""What the decoders of remote write 1.0 and 2.0 share: limits, rejections, labels on demand, exemplars, the columns.

A request that is not what it claims to be is refused whole (DecodeError). A series that breaks the rules is rejected
alone, with a reason and a sentence for the sender, and so is a sample; everything else of the request is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.decode.left_out import EXEMPLARS_REJECTED, NAN_SUMS
from gateway.decode.native_histogram import HistogramRows, Texts, expand_histograms, label_overrides
from gateway.decode.remote_write_settings import RemoteWriteSettings
from gateway.errors import BodyTooLarge, DecodeError
from gateway.telemetry.columns import Definitions, ExemplarColumns, PointColumns
from kernels.native_histogram import PART_SUM
from kernels.remote_write_exemplars import fill_exemplars
from kernels.remote_write_wire import (
    BAD_HISTOGRAM,
    BAD_REFERENCE,
    EMPTY_LABEL_NAME,
    FIRST_REJECTIONS,
    INVALID_UTF8,
    LABEL_TOO_LONG,
    MISSING_NAME,
    NAN,
    REASONS,
    REPEATED_LABEL,
    TOO_MANY_BUCKETS,
    TOO_MANY_LABELS,
    TOO_NEW,
    TOO_OLD,
)
from kernels.varint import FAULT_TEXTS, fault_code, fault_offset

REASON_NAMES: Final = {
    MISSING_NAME: ("missing_name", "has no __name__"),
    EMPTY_LABEL_NAME: ("empty_label_name", "has a label without a name"),
    REPEATED_LABEL: ("repeated_label", "has a label name twice"),
    LABEL_TOO_LONG: ("label_too_long", "has a label name or value that is too long"),
    TOO_MANY_LABELS: ("too_many_labels", "has too many labels"),
    BAD_REFERENCE: ("label_reference", "has a label reference that names no symbol, or an odd number of them"),
    INVALID_UTF8: ("not_utf8", "has a label that is not UTF-8"),
    NAN: ("nan", "has a NaN that is not the stale marker"),
    TOO_OLD: ("too_old", "has a sample that is too old"),
    TOO_NEW: ("too_new", "has a sample too far in the future"),
    BAD_HISTOGRAM: ("histogram", "has a native histogram whose schema, spans and counts do not fit together"),
    TOO_MANY_BUCKETS: ("buckets", "has a native histogram with too many buckets"),
}
"""Reason a rejection is counted under, and how a sentence about a series tells it."""

Define = Callable[
    [NDArray[np.uint8], NDArray[np.uint32], NDArray[np.int64], bool, NDArray[np.uint32], NDArray[np.uint8], bool], int
]
"""A version's definition kernel, bound to its request: (arena, row_series, override, overriding, offsets, out,
writing) → bytes of all blobs."""

_NO_OVERRIDE = np.empty((0, 6), np.int64)
_NO_BYTES = np.empty(0, np.uint8)


def as_bytes_array(body: bytes | bytearray | memoryview | NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The request's bytes as uint8[n] without a copy."""
    if isinstance(body, np.ndarray):
        return np.ascontiguousarray(body, np.uint8)
    return np.frombuffer(body, np.uint8) if len(body) else _NO_BYTES


def raise_fault(fault: int) -> None:
    """Turns a kernel's fault into DecodeError; 0 is none."""
    if fault < 0:
        raise DecodeError(FAULT_TEXTS[fault_code(fault)], offset=fault_offset(fault))


@dataclass(slots=True)
class RemoteWriteSource:
    """Labels of a request's rows on demand; keeps the request's bytes alive."""

    body: NDArray[np.uint8]
    define: Define
    row_series: NDArray[np.uint32]
    kinds: NDArray[np.uint8]
    histograms: HistogramRows | None

    def _blobs(
        self, arena: NDArray[np.uint8], series: NDArray[np.uint32], override: NDArray[np.int64]
    ) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
        offsets = np.empty(len(series) + 1, np.uint32)
        overriding = len(override) > 0
        size = self.define(arena, series, override, overriding, offsets, _NO_BYTES, False)
        blobs = np.empty(size, np.uint8)
        self.define(arena, series, override, overriding, offsets, blobs, True)
        return offsets, blobs

    def definitions(self, rows: NDArray[np.int64]) -> Definitions:
        """See LabelSource."""
        series = np.ascontiguousarray(self.row_series[rows])
        kinds = self.kinds[rows]
        if self.histograms is None or len(self.histograms.parts) == 0:
            return Definitions(kinds, *self._blobs(self.body, series, _NO_OVERRIDE))
        first = len(self.row_series) - len(self.histograms.parts)
        inside = np.asarray(rows) >= first
        of_histogram = np.where(inside, np.asarray(rows) - first, 0)  # other rows' entries are not looked at
        parts = np.where(inside, self.histograms.parts[of_histogram], 0).astype(np.uint8)
        details = self.histograms.details[of_histogram]
        unique, place = np.unique(series[inside], return_inverse=True)
        offsets, blobs = self._blobs(self.body, unique, _NO_OVERRIDE)
        named = Definitions(np.empty(len(unique), np.uint8), offsets, blobs)
        base = [named.blob(i) for i in range(len(unique))]
        of_row: list[bytes | None] = [None] * len(series)
        for row, i in zip(np.flatnonzero(inside).tolist(), place.tolist(), strict=True):
            of_row[row] = base[i]
        texts = Texts(len(self.body))
        override = label_overrides(texts, parts, details, of_row)
        arena = np.concatenate([self.body, np.frombuffer(bytes(texts.joined), np.uint8)]) if texts.joined else self.body
        return Definitions(kinds, *self._blobs(arena, series, override))


MOST_PARTS: Final = 4_194_304
"""Series, samples, exemplars, histograms or symbols of one request. A real sample has at least 18 bytes, so requests of
the default limit stay below; an empty one has two, and would take twenty times as much memory as it has bytes."""


def check_parts(count: int, what: str) -> None:
    """Raises BodyTooLarge."""
    if count > MOST_PARTS:
        raise BodyTooLarge(f"the request has {count} {what}; the limit is {MOST_PARTS}", reason="too_many_rows")


class SeriesState(NamedTuple):
    """What kernels write of each series: int64[s, 4] of places, the two halves of its labels' hash, its kind."""

    places: NDArray[np.int64]
    hash_hi: NDArray[np.uint64]
    hash_lo: NDArray[np.uint64]
    kinds: NDArray[np.uint8]

    @classmethod
    def of(cls, series: int) -> SeriesState:
        """Room for so many; raises DecodeError where the number is a kernel's fault, BodyTooLarge."""
        raise_fault(series)
        check_parts(series, "series")
        return cls(
            np.empty((series, 4), np.int64),
            np.empty(series, np.uint64),
            np.empty(series, np.uint64),
            np.empty(series, np.uint8),
        )


@dataclass(slots=True)
class DecodeState:
    """What one request's kernels write into; both versions share the layout (see kernels.remote_write_v1.fill_v1).

    n samples, x exemplars, h native histograms, as counted; the arrays of series as in SeriesState.
    """

    body: NDArray[np.uint8]
    limits: NDArray[np.int64]
    row_hi: NDArray[np.uint64]
    row_lo: NDArray[np.uint64]
    times: NDArray[np.int64]
    values: NDArray[np.float64]
    kinds: NDArray[np.uint8]
    row_series: NDArray[np.uint32]
    series: NDArray[np.int64]
    series_hi: NDArray[np.uint64]
    series_lo: NDArray[np.uint64]
    series_kinds: NDArray[np.uint8]
    histograms: NDArray[np.int64]
    exemplars: NDArray[np.int64]
    rejections: NDArray[np.int64]
    noted: NDArray[np.int64]
    out: NDArray[np.int64]

    @classmethod
    def of(
        cls,
        body: NDArray[np.uint8],
        series: SeriesState,
        counts: NDArray[np.int64],
        settings: RemoteWriteSettings,
        now_ms: int,
    ) -> DecodeState:
        """Room for what was counted: (series, samples, exemplars, histograms). Raises BodyTooLarge."""
        _, n, x, h = (int(count) for count in counts[:4])
        for count, what in (n, "samples"), (x, "exemplars"), (h, "histograms"):
            check_parts(count, what)
        limits = [
            now_ms - round(settings.max_age * 1000),
            now_ms + round(settings.max_future * 1000),
            settings.max_labels,
            settings.max_label_name_bytes,
            settings.max_label_value_bytes,
        ]
        return cls(
            body,
            np.array(limits, np.int64),
            np.empty(n, np.uint64),
            np.empty(n, np.uint64),
            np.empty(n, np.int64),
            np.empty(n, np.float64),
            np.empty(n, np.uint8),
            np.empty(n, np.uint32),
            *series,
            np.empty((h, 4), np.int64),
            np.empty((x, 4), np.int64),
            np.zeros(2 * REASONS, np.int64),
            np.zeros(3 * FIRST_REJECTIONS, np.int64),
            np.zeros(5, np.int64),
        )


def assemble(
    state: DecodeState,
    settings: RemoteWriteSettings,
    secrets: NDArray[np.uint64],
    define: Define,
    describe: Callable[[int], str],
    symbols: tuple[NDArray[np.int64], NDArray[np.int64]],
    starts: NDArray[np.int64] | None,
) -> PointColumns:
    """The columns of a request whose fill pass is done.

    define: see Define; describe: a series' labels as text, for the sender; symbols: positions and lengths of the symbol
    table, empty for 1.0; starts: int64[n] or None. Raises DecodeError for damaged histograms and exemplars.
    """
    n, h, x, noted = (int(v) for v in state.out[:4])
    hi, lo, times = state.row_hi[:n], state.row_lo[:n], state.times[:n]
    values, kinds, row_series = state.values[:n], state.kinds[:n], state.row_series[:n]
    starts = None if starts is None else starts[:n]
    histograms, row_points, points = None, None, n
    if h:
        limits = np.array([*state.limits[:2], settings.max_buckets, settings.max_histogram_rows], np.int64)
        fault, histograms, noted = expand_histograms(
            state.body,
            secrets,
            np.ascontiguousarray(state.histograms[:h]),
            limits,
            state.series_hi,
            state.series_lo,
            state.rejections,
            state.noted,
            noted,
        )
        raise_fault(fault)
        hi, lo = np.concatenate([hi, histograms.hash_hi]), np.concatenate([lo, histograms.hash_lo])
        times, values = np.concatenate([times, histograms.times_ms]), np.concatenate([values, histograms.values])
        kinds, row_series = np.concatenate([kinds, histograms.kinds]), np.concatenate([row_series, histograms.series])
        if starts is not None or histograms.starts_ms.any():
            before = np.zeros(n, np.int64) if starts is None else starts
            starts = np.concatenate([before, histograms.starts_ms])
        counted = np.arange(n, dtype=np.uint32)
        row_points = np.concatenate([counted, histograms.histogram + np.uint32(n)])
        points += histograms.accepted
        if without_sum := histograms.accepted - int(np.count_nonzero(histograms.parts == PART_SUM)):
            NAN_SUMS.inc(without_sum)
        _, first_of_histogram = np.unique(histograms.histogram, return_index=True)
        state.series[histograms.series[first_of_histogram], 3] = first_of_histogram + n
    exemplars = _read_exemplars(state, x, symbols, times) if x else None
    return PointColumns(
        hash_hi=hi,
        hash_lo=lo,
        times_ms=times,
        values=values,
        starts_ms=starts,
        kinds=kinds,
        source=RemoteWriteSource(state.body, define, row_series, kinds, histograms),
        exemplars=exemplars,
        points=points,
        rejected={
            name: int(state.rejections[code])
            for code, (name, _) in REASON_NAMES.items()
            if state.rejections[REASONS + code]
        },
        rejected_message=_message(state, noted, describe) if noted else "",
        row_points=row_points,
        exemplars_written=0 if exemplars is None else len(exemplars.rows),
        histograms_written=0 if histograms is None else histograms.accepted,
    )


def _message(state: DecodeState, noted: int, describe: Callable[[int], str]) -> str:
    """One sentence naming the first rejected series and why."""
    told = []
    for series, reason, time in state.noted[: 3 * noted].reshape(-1, 3).tolist():
        at = f" (at {time} ms)" if reason in (NAN, TOO_OLD, TOO_NEW, BAD_HISTOGRAM, TOO_MANY_BUCKETS) else ""
        told.append(f"series {series} {describe(series)} {REASON_NAMES[reason][1]}{at}")
    times = int(state.rejections[REASONS:].sum())
    rest = f"; {times - noted} more" if times > noted else ""
    return f"rejected {int(state.rejections[:REASONS].sum())} points: " + "; ".join(told) + rest


def _read_exemplars(
    state: DecodeState, count: int, symbols: tuple[NDArray[np.int64], NDArray[np.int64]], times: NDArray[np.int64]
) -> ExemplarColumns | None:
    """Exemplars with the row they belong to.

    Prometheus sends an exemplar as a TimeSeries of its own beside the one with the sample, so a series without a row
    looks for another with the same labels. An exemplar without any row in the request has nothing to belong to and is
    not written, and neither is one whose label references are wrong; both are counted.
    """
    wanted = np.ascontiguousarray(state.exemplars[:count])
    exemplars = ExemplarColumns(
        np.zeros(count, np.uint32),
        np.zeros(count, np.int64),
        np.zeros(count, np.float64),
        np.zeros((count, 16), np.uint8),
        np.zeros((count, 8), np.uint8),
    )
    refused = np.zeros(count, np.uint8)
    raise_fault(
        int(
            fill_exemplars(
                state.body,
                wanted,
                *symbols,
                exemplars.times_ms,
                exemplars.values,
                exemplars.trace_ids,
                exemplars.span_ids,
                refused,
            )
        )
    )
    series = wanted[:, 0]
    rows = state.series[series, 3]
    if (rows < 0).any():
        with_row = np.flatnonzero((state.series[:, 2] >= 0) & (state.series[:, 3] >= 0))
        known = dict(
            zip(
                zip(state.series_hi[with_row].tolist(), state.series_lo[with_row].tolist(), strict=True),
                state.series[with_row, 3].tolist(),
                strict=True,
            )
        )
        for i in np.flatnonzero(rows < 0).tolist():
            s = int(series[i])
            rows[i] = known.get((int(state.series_hi[s]), int(state.series_lo[s])), -1)
    kept = np.flatnonzero((rows >= 0) & (refused == 0))
    if malformed := int(np.count_nonzero(refused)):
        EXEMPLARS_REJECTED.labels("malformed").inc(malformed)
    if lost := count - malformed - len(kept):
        EXEMPLARS_REJECTED.labels("no_sample").inc(lost)
    if not len(kept):
        return None
    own_times = exemplars.times_ms[kept]
    return ExemplarColumns(
        rows[kept].astype(np.uint32),
        np.where(own_times == 0, times[rows[kept]], own_times),
        exemplars.values[kept],
        exemplars.trace_ids[kept],
        exemplars.span_ids[kept],
    )


SHOWN_LABELS: Final = 8
"""Of a series that is refused."""


def shown(body: NDArray[np.uint8], places: NDArray[np.int64]) -> str:
    """Labels as a sender reads them, whatever bytes they are, at most some 200 characters.

    places: int64[4 * m] of (name at, length, value at, length) in `body`, of SHOWN_LABELS at most.
    """

    def text_at(at: int, length: int) -> str:
        return body[at : at + min(length, 64)].tobytes().decode(errors="replace")

    text = ", ".join(f'{text_at(a, b)}="{text_at(c, d)}"' for a, b, c, d in places.reshape(-1, 4).tolist())
    return "{" + (text if len(text) <= 200 else text[:200] + "…") + "}"
