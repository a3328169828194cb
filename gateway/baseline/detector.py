"""The baseline of every series of a shard: takes resolved rows, scores them, and says which alerts changed.

One thread owns a Baseline; nothing here locks. State is one record a series (kernels.series_state.STATE), found by
the series id; a record whose generation differs from the index's belongs to an earlier series and starts anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.baseline import reasons
from gateway.baseline.freeze import FreezeStore, grace_s
from gateway.baseline.parameters import parameters
from gateway.baseline.record_copies import put, taken
from gateway.baseline.settings import DetectionSettings
from gateway.selfmetrics import counter
from gateway.telemetry.mapped_zeros import mapped_zeros
from kernels.score import find_silent, score_batch
from kernels.series_state import CLOSED, FORGOTTEN, STALE, STATE, TRANSITION

SCORED = counter("baseline_rows_scored", "Rows a baseline took, warm-up included.")
NOT_SCORED = counter("baseline_rows_not_scored", "Rows a baseline did not take.", ["reason"])
CHANGES = counter("baseline_transitions", "Alerts opened, changed and closed by the series' own baselines.", ["kind"])

_KIND_NAMES = {1: "opened", 2: "changed", 3: "closed"}
for _name in _KIND_NAMES.values():
    CHANGES.labels(_name)  # nothing yet is 0, not unknown
for _name in ("late", "repeated", "not_a_measurement"):
    NOT_SCORED.labels(_name)
_LIVE_LAG_MS = 300_000
"""Points younger than this when they arrive are live: silence is then measured on the wall clock as well."""


@dataclass(slots=True)
class Observation:
    """What became of one batch of n rows.

    scored (rows a baseline took, warm-up included), late, repeated, skipped (target_info): counts; their sum is n.
    score: float32[n]; expected, lower, upper: float64[n], NaN for rows without a score of their own (most buckets, the
    first point of a counter). exceeding: int64[k], rows whose score is at least one half. transitions: structured,
    kernels.series_state.TRANSITION, in order of rows.
    """

    scored: int
    late: int
    repeated: int
    skipped: int
    score: NDArray[np.float32]
    expected: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    exceeding: NDArray[np.int64]
    transitions: NDArray[Any]


class Baseline:
    """Baselines of all series of one shard."""

    def __init__(self, settings: DetectionSettings, *, capacity: int = 1024) -> None:
        self._settings = settings
        self._parameters = parameters(settings)
        self._states = np.zeros(capacity, STATE)
        self._deadlines = np.zeros(capacity, np.uint32)
        self._blank = np.zeros(1, STATE)
        self._scratch = np.zeros(0, TRANSITION)
        self._watermark_ms = 0
        self._lag_ms = 0.0
        self._live = False
        self.frozen = FreezeStore(settings.max_frozen_series)
        """What series knew that do not learn now; `freeze`, `restore` and `forget` change it."""

    @property
    def capacity(self) -> int:
        """Number of records held."""
        return len(self._states)

    @property
    def enabled(self) -> bool:
        """Whether anything is scored and learned."""
        return self._settings.enabled

    @property
    def states(self) -> NDArray[Any]:
        """STATE[capacity]; for snapshots and tests, not to be written to."""
        return self._states

    def _reserve(self, count: int) -> None:
        if count <= len(self._states):
            return
        size = max(count, 2 * len(self._states))
        states = np.zeros(size, STATE)
        states[: len(self._states)] = self._states
        deadlines = mapped_zeros(size, np.uint32)
        deadlines[: len(self._deadlines)] = self._deadlines
        self._states, self._deadlines = states, deadlines

    def observe(
        self,
        sids: NDArray[np.uint32],
        times_ms: NDArray[np.int64],
        values: NDArray[np.float64],
        starts_ms: NDArray[np.int64] | None,
        kinds_by_sid: NDArray[np.uint8],
        generations_by_sid: NDArray[np.uint32],
        received_ns: int,
        *,
        bounds_by_sid: NDArray[np.float64] | None = None,
    ) -> Observation:
        """Score n rows and learn from them, in order.

        sids: uint32[n]; times_ms: int64[n]; values: float64[n]; starts_ms: int64[n] or None. kinds_by_sid,
        generations_by_sid: indexed by sid, longer than every sid. bounds_by_sid: float64, upper bound of `_bucket`
        series (+Inf for the last), without which histograms are scored on rate and mean alone.
        """
        n = len(sids)
        empty = np.empty(0, TRANSITION)
        if n == 0 or not self._settings.enabled:
            none = np.full(n, np.nan)
            return Observation(0, 0, 0, n, np.zeros(n, np.float32), none, none, none, np.empty(0, np.int64), empty)
        # The kernel fills every row.
        score, exceeds = np.empty(n, np.float32), np.empty(n, np.uint8)
        expected, lower, upper = np.empty(n), np.empty(n), np.empty(n)
        top = int(sids.max()) + 1
        if top > min(len(kinds_by_sid), len(generations_by_sid)):
            raise IndexError("a row names a series id beyond the index")
        self._reserve(top)
        bounds = bounds_by_sid if bounds_by_sid is not None and len(bounds_by_sid) >= top else np.empty(0)
        totals = np.zeros(4, np.int64)
        if len(self._scratch) < n:
            self._scratch = mapped_zeros(n, TRANSITION, sparse=True)  # few rows of a batch change anything
        transitions = self._scratch
        found = score_batch(
            self._states,
            self._blank,
            sids,
            times_ms,
            values,
            starts_ms if starts_ms is not None else np.empty(0, np.int64),
            kinds_by_sid,
            generations_by_sid,
            bounds,
            self._deadlines,
            self._watermark_ms,
            self._parameters,
            score,
            expected,
            lower,
            upper,
            exceeds,
            totals,
            transitions,
        )
        newest = int(times_ms.max())
        received_ms = received_ns // 1_000_000
        if newest <= received_ms + _LIVE_LAG_MS:
            self._watermark_ms = max(self._watermark_ms, newest)
        lag = received_ms - newest
        self._live = abs(lag) < _LIVE_LAG_MS
        if self._live:  # old data sent again says nothing of how late the others are
            self._lag_ms = max(float(lag), self._lag_ms * 0.99)
        taken, late, repeated, skipped = (int(c) for c in totals)
        SCORED.inc(taken)
        for reason, count in (("late", late), ("repeated", repeated), ("not_a_measurement", skipped)):
            if count:
                NOT_SCORED.labels(reason).inc(count)
        changed = transitions[:found].copy()
        self._count(changed)
        return Observation(
            taken, late, repeated, skipped, score, expected, lower, upper, np.flatnonzero(exceeds), changed
        )

    def advance(self, now_ms: int) -> NDArray[Any]:
        """Series that have fallen silent: transitions with row -1. To be called every second.

        Time is that of the points (the newest seen); while points arrive live it goes on with the wall clock `now_ms`
        less the usual lag, so that the last series to stop is found as well.
        """
        if self._watermark_ms == 0 or not self._settings.enabled:
            return np.empty(0, TRANSITION)
        now = self._watermark_ms
        if self._live:
            now = max(now, now_ms - int(self._lag_ms))
        # Room for many, of which mostly none is written to: mapped, as clearing 18 MB each second would not be free.
        transitions = mapped_zeros(min(len(self._states), 65536), TRANSITION, sparse=True)
        found = find_silent(self._states, self._deadlines, now, transitions)
        changed = transitions[:found].copy()
        self._count(changed)
        return changed

    def last_times_ms(self, sids: NDArray[np.uint32]) -> NDArray[np.int64]:
        """int64[n]: time of the last row taken of each series, 0 before the first."""
        if len(sids):
            self._reserve(int(sids.max()) + 1)
        times: NDArray[np.int64] = self._states["raw_ms"][sids]
        return times

    def grace_ms(self, sids: NDArray[np.uint32]) -> NDArray[np.int64]:
        """int64[n]: how long behind a maintenance window each series stays frozen."""
        if len(sids):
            self._reserve(int(sids.max()) + 1)
        return (1000.0 * grace_s(self._states["interval"][sids])).astype(np.int64)

    def freeze(self, sids: NDArray[np.uint32]) -> None:
        """From here on what these series, each once, learn slowly does not count (gateway.baseline.freeze)."""
        if len(fresh := sids[~self.frozen.holds(sids)]):
            self._reserve(int(fresh.max()) + 1)
            self.frozen.freeze(fresh, taken(self._states, fresh))

    def restore(self, sids: NDArray[np.uint32]) -> None:
        """Give these series, each once, back what they knew when they were frozen."""
        if len(held := sids[self.frozen.holds(sids)]):
            records = taken(self._states, held)
            self.frozen.restore(held, records)
            put(self._states, held, records)

    def frozen_rows(self, sids: NDArray[np.uint32]) -> NDArray[np.int64]:
        """int64[k]: of which of the ids `frozen.records` has to be kept with their records."""
        if len(sids) == 0 or self.frozen.idle:
            return np.empty(0, np.int64)
        self._reserve(int(sids.max()) + 1)
        return self.frozen.rows(sids, self._states["count"][sids])

    def forget(self, sids: NDArray[np.uint32]) -> NDArray[Any]:
        """Drop the state of ids that expired; returns a CLOSED transition for each whose alert was open."""
        self.frozen.forget(sids)
        known = sids[sids < len(self._states)]
        closed = self._closed(known[self._states["open"][known] != 0], FORGOTTEN)
        self._states[known] = np.zeros(1, STATE)[0]
        self._deadlines[known] = 0
        return closed

    def end_silence(self, sids: NDArray[np.uint32]) -> NDArray[Any]:
        """Others took the place of these series: close the alerts that are open because they are silent; a CLOSED
        transition for each."""
        known = sids[sids < len(self._states)]
        opened = known[self._states["open"][known] == STALE]
        closed = self._closed(opened, reasons.REPLACED)
        self._states["open"][opened] = 0
        return closed

    def _closed(self, opened: NDArray[np.uint32], closing: int) -> NDArray[Any]:
        """Transitions that close the open alerts of these series, by the time of the newest point."""
        closed = np.zeros(len(opened), TRANSITION)
        for name, source in (
            ("began_ms", "began_ms"),
            ("opened_ms", "opened_ms"),
            ("expected", "reference"),
            ("score", "score"),
            ("severity", "severity"),
            ("reason", "open"),
        ):
            closed[name] = self._states[source][opened]
        closed["time_ms"] = np.maximum(self._states["last_ms"][opened], self._watermark_ms)
        closed["sid"], closed["row"], closed["kind"], closed["closing"] = opened, -1, CLOSED, closing
        closed["value"] = closed["lower"] = closed["upper"] = np.nan
        self._count(closed)
        return closed

    def without_record(self, sids: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Those of the ids that no point was ever taken of."""
        held = sids < len(self._states)
        held[held] = self._states["count"][sids[held]] != 0
        return sids[~held]

    def open_ids(self) -> NDArray[np.uint32]:
        """Ids of the series that an alert is open for, ascending."""
        return np.flatnonzero(self._states["open"]).astype(np.uint32)

    @property
    def watermark_ms(self) -> int:
        """Time of the newest point seen, Unix milliseconds; 0 before the first."""
        return self._watermark_ms

    def records(self, sids: NDArray[np.uint32]) -> tuple[NDArray[Any], NDArray[np.uint32]]:
        """Copies of the records and the deadlines of the given ids; zeros for ids never seen."""
        if len(sids):
            self._reserve(int(sids.max()) + 1)
        return taken(self._states, sids), self._deadlines[sids]

    def deadlines(self, sids: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """A copy of the deadlines of the given ids."""
        if len(sids):
            self._reserve(int(sids.max()) + 1)
        return self._deadlines[sids]

    def adopt(
        self,
        sids: NDArray[np.uint32],
        records: NDArray[Any],
        deadlines: NDArray[np.uint32],
        generations: NDArray[np.uint32],
        watermark_ms: int,
    ) -> None:
        """Put back what `records` gave, under ids and generations of now."""
        if len(sids):
            self._reserve(int(sids.max()) + 1)
            self._states[sids] = records
            self._states["generation"][sids] = generations
            self._deadlines[sids] = deadlines
        self._watermark_ms = max(self._watermark_ms, watermark_ms)

    def explain(self, transition: Any) -> list[str]:
        """Reasons of one transition in words."""
        return reasons.words(transition)

    @staticmethod
    def _count(transitions: NDArray[Any]) -> None:
        if len(transitions) == 0:  # as nearly always; counting nothing would cost as much as scoring a hundred rows
            return
        for kind, count in zip(*np.unique(transitions["kind"], return_counts=True), strict=True):
            CHANGES.labels(_KIND_NAMES[int(kind)]).inc(int(count))
