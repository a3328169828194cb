"""A tenant's limit of series: which of a request's rows belong to series beyond it.

Series are told apart by half of their keyed hash, 64 bits: of a million series two meet with a chance of 3 in 10⁸.
What has been seen is kept in two generations, the younger taking the older's place every `memory` seconds, so a series
without points is forgotten after one to two of them. A restart begins with none.
"""

from __future__ import annotations

import threading
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.clock import Clock
from gateway.telemetry import kind
from gateway.telemetry.columns import Definitions, ExemplarColumns, LabelSource, PointColumns

REASON: Final = "tenant_series_limit"


class _Seen:
    """A set of hashes: sorted arrays, each at least twice as long as the next."""

    def __init__(self) -> None:
        self._runs: list[NDArray[np.uint64]] = []
        self.count = 0

    def holds(self, hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """bool[n]."""
        found = np.zeros(len(hashes), np.bool_)
        for run in self._runs:
            at = np.searchsorted(run, hashes)
            found |= run[np.minimum(at, len(run) - 1)] == hashes
        return found

    def add(self, hashes: NDArray[np.uint64]) -> None:
        """Hashes that it does not hold, sorted, each once."""
        if not len(hashes):
            return
        self.count += len(hashes)
        self._runs.append(hashes)
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            last = self._runs.pop()
            self._runs[-1] = np.union1d(self._runs[-1], last)


class SeriesQuota:
    """Thread-safe."""

    def __init__(self, limit: int, memory: float, clock: Clock) -> None:
        self._limit, self._memory, self._clock = limit, memory, clock
        self._young, self._old = _Seen(), _Seen()
        self._both = 0
        self._turned = clock.monotonic()
        self._lock = threading.Lock()

    def count(self) -> int:
        """Series of both generations."""
        return self._young.count + self._old.count - self._both

    def admit(self, columns: PointColumns) -> PointColumns:
        """The columns, or those without the points of series beyond the limit."""
        hashes = columns.hash_lo
        with self._lock:
            self._turn()
            known = self._young.holds(hashes)
            if known.all():
                return columns
            fresh = np.unique(hashes[~known])
            older = self._old.holds(fresh)
            self._young.add(fresh[older])
            self._both += int(older.sum())
            new = fresh[~older]
            room = max(0, self._limit - self.count())
            taken, refused = new[:room], new[room:]
            self._young.add(taken)
        return columns if not len(refused) else without(columns, np.isin(hashes, refused), self._limit)

    def _turn(self) -> None:
        now = self._clock.monotonic()
        if now - self._turned >= self._memory:
            # After two spans without a request nothing of the younger generation is young any more.
            self._old = self._young if now - self._turned < 2 * self._memory else _Seen()
            self._young, self._both, self._turned = _Seen(), 0, now


class _Kept:
    """Labels of the rows that were kept."""

    def __init__(self, source: LabelSource, rows: NDArray[np.int64]) -> None:
        self._source, self._rows = source, rows

    def definitions(self, rows: NDArray[np.int64]) -> Definitions:
        return self._source.definitions(self._rows[rows])


def without(columns: PointColumns, refused: NDArray[np.bool_], limit: int) -> PointColumns:
    """Without the refused rows (bool[n]) and all other rows of their points, which are noted as rejected."""
    points = columns.row_points
    real = (columns.kinds & kind.CLASS_MASK) != kind.TARGET_INFO
    if points is None:
        dropped = int(np.count_nonzero(refused & real))
    else:
        dropped = len(np.unique(points[refused & real]))
        refused = np.isin(points, points[refused])
    kept = np.flatnonzero(~refused)
    message = f"{dropped} points belong to series beyond the tenant's limit of {limit}"
    return replace(
        columns,
        hash_hi=columns.hash_hi[kept],
        hash_lo=columns.hash_lo[kept],
        times_ms=columns.times_ms[kept],
        values=columns.values[kept],
        starts_ms=None if columns.starts_ms is None else columns.starts_ms[kept],
        kinds=columns.kinds[kept],
        source=_Kept(columns.source, kept),
        exemplars=_exemplars(columns.exemplars, refused),
        points=columns.points - dropped,
        rejected={**columns.rejected, REASON: columns.rejected.get(REASON, 0) + dropped},
        rejected_message="; ".join(text for text in (columns.rejected_message, message) if text),
        row_points=None if points is None else points[kept],
    )


def _exemplars(exemplars: ExemplarColumns | None, refused: NDArray[np.bool_]) -> ExemplarColumns | None:
    if exemplars is None:
        return None
    place = np.cumsum(~refused) - 1
    keep = ~refused[exemplars.rows]
    return ExemplarColumns(
        rows=place[exemplars.rows[keep]].astype(np.uint32),
        times_ms=exemplars.times_ms[keep],
        values=exemplars.values[keep],
        trace_ids=exemplars.trace_ids[keep],
        span_ids=exemplars.span_ids[keep],
    )
