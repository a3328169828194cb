"""Frames → a step: rows judged and folded in order of the log, then brought together by series.

Runs in the forwarder's one work thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.forward.progress import Step
from gateway.forward.remote_write_encoder import PackedRows, RemoteWriteEncoder
from gateway.forward.running_totals import RunningTotals
from gateway.selfmetrics import counter
from gateway.telemetry.resolved import ResolvedFrame, SeriesView
from kernels.cumulative import (
    COUNTS,
    DELTA_NEGATIVE,
    DELTA_NOT_FINITE,
    DELTA_OVERLAP,
    KEPT,
    NOT_A_NUMBER,
    OUT_OF_RETENTION,
    RESTARTS,
    SERIES_GONE,
    TOO_FAR_AHEAD,
    VERDICTS,
    fold_rows,
)
from kernels.series_runs import runs_of_series

REASONS: Final = {
    NOT_A_NUMBER: "nan",
    TOO_FAR_AHEAD: "future",
    OUT_OF_RETENTION: "retention",
    DELTA_OVERLAP: "delta_overlap",
    DELTA_NOT_FINITE: "delta_not_finite",
    DELTA_NEGATIVE: "delta_negative",
    SERIES_GONE: "series_gone",
}
"""Names under which dropped rows are counted. Further ones: `unreadable` and `not_retained` (rows the log no longer
has), `rejected_by_target` (dead-letter file)."""

RESTARTED = counter(
    "forward_delta_bounds_changed", "Delta histograms whose running totals began anew because their bounds changed."
)

FUTURE_MS: Final = 2 * 86_400_000
"""How far ahead of its clock VictoriaMetrics takes samples; later ones it silently ignores."""
_RETENTION_MARGIN_MS: Final = 60_000
_NO_STARTS: Final = np.zeros(0, np.int64)
_EARLIEST: Final = -(2**63)


@dataclass(frozen=True, slots=True)
class SeriesArrays:
    """The arrays of a SeriesView at one moment, safe to read from another thread."""

    label_arena: NDArray[np.uint8]
    label_sets: NDArray[np.uint32]
    label_lengths: NDArray[np.uint32]
    kinds: NDArray[np.uint8]
    generations: NDArray[np.uint32]

    @classmethod
    def of(cls, view: SeriesView) -> SeriesArrays:
        """Taken between two calls of next_frames, in the loop."""
        return cls(view.label_arena, view.label_sets, view.label_lengths, view.kinds, view.generations)


class Preparation:
    """Owns the running totals and the encoder; every method runs in the same thread."""

    def __init__(self, totals: RunningTotals, encoder: RemoteWriteEncoder) -> None:
        self.totals = totals
        self.encoder = encoder
        self._slots = np.zeros(0, np.uint32)
        """By sid; zero between calls."""

    def fold_only(self, frames: Sequence[ResolvedFrame], series: SeriesArrays) -> None:
        """Bring the running totals past frames that were acked before we restarted."""
        counts = np.zeros(COUNTS, np.int64)
        for resolved in frames:
            self._fold(resolved, series, _EARLIEST, _scratch(len(resolved.sids)), 0, counts)

    def prepare(
        self,
        frames: Sequence[ResolvedFrame],
        series: SeriesArrays,
        *,
        next_row: int,
        oldest_ms: int | None,
        checkpoint_forgetting_before_ms: int | None,
    ) -> tuple[Step, PackedRows]:
        """Everything these frames need before they can be encoded.

        next_row: counted rows of the log before these frames, as far as we have accounted for them; what is missing up
        to a frame's first row was lost and is counted. oldest_ms: what the target's retention still takes, None if not
        known. checkpoint_forgetting_before_ms: take a checkpoint behind these frames; None for none.
        """
        step = Step(end=frames[-1].end)
        columns = _scratch(sum(len(resolved.sids) for resolved in frames))
        counts = np.zeros(COUNTS, np.int64)
        at = 0
        for resolved in frames:
            frame = resolved.frame
            missing = max(0, frame.first_row - next_row)
            step.drop("unreadable" if next_row else "not_retained", missing)
            next_row = frame.first_row + frame.counted_rows
            step.rows += frame.counted_rows + missing
            step.received.append((frame.received_ns, frame.counted_rows))
            at += self._fold(resolved, series, _EARLIEST if oldest_ms is None else oldest_ms, columns, at, counts)
        step.forwarded = int(counts[KEPT])
        step.target_info_forwarded = int(counts[VERDICTS + KEPT])
        if counts[RESTARTS]:
            RESTARTED.inc(int(counts[RESTARTS]))
        for verdict, reason in REASONS.items():
            step.drop(reason, int(counts[verdict]))
            step.target_info_dropped += int(counts[VERDICTS + verdict])
        if checkpoint_forgetting_before_ms is not None:
            step.checkpoint = self.totals.checkpoint(checkpoint_forgetting_before_ms)
        return step, self._by_series(columns, at, series)

    def _by_series(self, columns: _Columns, count: int, series: SeriesArrays) -> PackedRows:
        sids, times, values = columns
        if len(self._slots) < len(series.label_lengths):
            self._slots = np.zeros(len(series.label_lengths), np.uint32)
        of_run, ends = np.empty(count, np.uint32), np.empty(count, np.int64)
        _, times_by_series, values_by_series = _scratch(count)
        runs = runs_of_series(
            sids, times, values, count, self._slots, of_run, ends, times_by_series, values_by_series
        )  # fmt: skip
        assert runs >= 0, "a sid beyond the index"
        if runs < count:
            times, values = times_by_series, values_by_series
        return PackedRows(
            series.label_arena, series.label_sets, series.label_lengths, series.kinds, of_run[:runs], ends[:runs],
            times[:count], values[:count],
        )  # fmt: skip

    def _fold(
        self,
        resolved: ResolvedFrame,
        series: SeriesArrays,
        oldest_ms: int,
        columns: _Columns,
        at: int,
        counts: NDArray[np.int64],
    ) -> int:
        frame = resolved.frame
        sids = np.require(resolved.sids, np.uint32, ["C", "A"])
        starts = _NO_STARTS if frame.starts_ms is None else np.require(frame.starts_ms, np.int64, ["C", "A"])
        times = np.require(frame.times_ms, np.int64, ["C", "A"])
        values = np.require(frame.values, np.float64, ["C", "A"])
        self.totals.claim(sids, series)
        out_sids, out_times, out_values = columns
        # The limit ahead counts from the time of arrival, not of sending: a replay must judge alike.
        latest_ms = frame.received_ns // 1_000_000 + FUTURE_MS
        kept = fold_rows(
            sids, starts, times, values,
            series.kinds, series.label_lengths, oldest_ms, latest_ms, self.totals.totals, self.totals.ends,
            out_sids[at:], out_times[at:], out_values[at:], counts,
        )  # fmt: skip
        assert kept >= 0, "columns of a frame differ in length"
        return int(kept)


_Columns = tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.float64]]
"""Sids, times, values."""


def _scratch(rows: int) -> _Columns:
    return np.empty(rows, np.uint32), np.empty(rows, np.int64), np.empty(rows, np.float64)


def oldest_taken_ms(now_ns: int, retention_seconds: float | None) -> int | None:
    """The oldest time the target still keeps, with a margin for the way there; None if its retention is not known."""
    if not retention_seconds:
        return None
    return now_ns // 1_000_000 - int(retention_seconds * 1000) + _RETENTION_MARGIN_MS
