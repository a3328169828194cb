"""Learning frozen: what series knew when a maintenance window began, kept aside until it ends.

While a series is frozen its record goes on as ever, so scores, levels, runs and alerts follow what happens. What the
record learns slowly is a copy's worth of planned chaos, though: at the end the slow fields of before are put back
(kernels.series_state.SLOW_FIELDS), and the fast ones stay. Fields that are relative to them are moved along:

    first_ms            later by the stretch that was not learned from, so that age is time learned
    fallback            the level of before: the way back to it is one that was to be expected
    q                   a distance from the level of days, which is another one again
    muted               on days, where that distance is more than usual: that the work has left another level is known,
                        and is the level of days after a day (kernels.days), or it goes back and all is as before
    log_short           smoothed variation: what it gathered is no evidence against what is put back, so it begins from
                        the usual; under an alert on it, open or muted, from where it is
    busy                its longest stretch is slow, the one that is going on is not

A step that is by half another one at the end than before is another step: how far samples are apart, and with it how
long a silence is usual, is then left as it is. A series of which little was known (MATURE_SAMPLES or fewer: nothing of
it is judged by its past), or that first appears while it is frozen, has nothing worth putting back: nothing is kept of
it, and at the end it begins anew.

A series stays frozen a little beyond the window (`grace_s`): while its levels follow the way back to what is usual, the
small scales of before would call that a jump.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateway.baseline.record_copies import common_ranges, copy_ranges, put, taken
from gateway.selfmetrics import counter, gauge
from gateway.telemetry.mapped_zeros import grown_size, mapped_zeros
from kernels.days import LEAST_USUAL, USUAL
from kernels.moment import MATURE_SAMPLES
from kernels.prediction import SCALE_DEVIATIONS
from kernels.series_state import CALMER, HOURS, NOISIER, SEASON, SLOW_FIELDS, STATE, STEP_FIELDS

SERIES: Final = gauge(
    "baseline_frozen_series",
    "Series that a maintenance window covers: kept (what they knew is restored at its end), new (they begin anew),"
    " refused (too many: they go on learning).",
    ["state"],
)
for _state in ("kept", "new", "refused"):
    SERIES.labels(_state)  # none yet is 0, not unknown
BYTES: Final = gauge("baseline_freeze_bytes", "Memory of what frozen series knew before.")
TRANSITIONS: Final = counter(
    "baseline_freeze_transitions", "Series frozen, restored to what they knew, or begun anew.", ["kind"]
)
for _kind in ("frozen", "restored", "begun_anew"):
    TRANSITIONS.labels(_kind)  # nothing yet is 0, not unknown

OTHER_STEP: Final = 1.5
GRACE_S: Final = 900.0
GRACE_STEPS: Final = 12.0
MOST_GRACE_S: Final = 7200.0
USUAL_LEVEL: Final = 1
"""Of the levels, the one of six samples stands for where a series was."""
_BESIDE: Final = ("last_ms", "count", "levels", "busy")
"""Kept as well, to say how far the fields that are moved along have to go."""

KEPT: Final[np.dtype[Any]] = np.dtype(
    [(name, STATE[name]) for name in STATE.names or () if name in {*SLOW_FIELDS, *_BESIDE}], align=True
)
"""What is kept of one series."""
_TO_KEEP: Final = common_ranges(KEPT.names or (), STATE, KEPT)
_TO_RESTORE: Final = common_ranges(SLOW_FIELDS, KEPT, STATE)
_BEFORE: Final = ("last_ms", "busy", "log_short", "open", "muted", "slow", *STEP_FIELDS)
"""What is looked at as it was before anything is put back."""
_GOES_ON: Final = (
    "raw_ms", "raw", "generation", "open", "muted", "severity", "calm", "held", "reference", "began_ms", "opened_ms",
    "score", "muted_s",
)  # fmt: skip
"""What a series that begins anew keeps: its counter, and an alert that is open."""
_LEAST: Final = 256
_HOUR_MS: Final = 3_600_000
_SIXTEENTHS: Final = np.float32(16.0)
_REFUSED: Final = -1
_ANEW: Final = -2


def grace_s(interval: NDArray[np.float32] | float) -> NDArray[np.float32]:
    """How long series with such steps, in seconds, stay frozen behind a window: some samples, and a quarter of an hour
    at least."""
    return np.asarray(np.clip(interval * np.float32(GRACE_STEPS), GRACE_S, MOST_GRACE_S), np.float32)


def kept_of(records: NDArray[Any]) -> NDArray[Any]:
    """KEPT[n]: what is to be kept of STATE[n]."""
    kept = np.zeros(len(records), KEPT)
    copy_ranges(records, kept, _TO_KEEP)
    return kept


def restore_records(records: NDArray[Any], kept: NDArray[Any]) -> None:
    """Give STATE[n] the slow knowledge of KEPT[n], in place."""
    live = {name: records[name].copy() for name in _BEFORE}
    copy_ranges(kept, records, _TO_RESTORE)
    ratio = live["interval"] / np.maximum(kept["interval"], np.float32(1e-9))
    other = (ratio > OTHER_STEP) | (ratio < 1.0 / OTHER_STEP)
    for name in STEP_FIELDS:
        records[name][other] = live[name][other]
    records["first_ms"] += np.maximum(live["last_ms"] - kept["last_ms"], 0)
    records["fallback"] = kept["levels"][:, USUAL_LEVEL]
    records["fallback_s"] = live["last_ms"] // 1000
    records["q"] += live["slow"] - kept["slow"]
    other_level = (
        (np.abs(records["q"]) > USUAL * usual_of_days(records)) & (live["muted"] == 0) & (live["open"] != SEASON)
    )
    records["muted"][other_level] = SEASON
    records["muted_s"][other_level] = (live["last_ms"][other_level] // 1000).astype(np.uint32)
    of_variation = np.isin(live["open"], (NOISIER, CALMER)) | (live["muted"] == NOISIER) | (kept["log_known"] == 0)
    hour = (live["last_ms"] // _HOUR_MS) % HOURS
    of_hour = kept["log_long"] + kept["log_hours"][np.arange(len(kept)), hour] / _SIXTEENTHS
    records["log_short"] = np.where(of_variation, live["log_short"], of_hour)
    records["busy"] = (kept["busy"] & 0xF0) | (live["busy"] & 0x0F)


def usual_of_days(records: NDArray[Any]) -> NDArray[np.float32]:
    """float32[n]: how far STATE[n] usually are from their levels of days, as kernels.days.follow_days has it. Floors of
    the scale are left out: where they hold, what is muted for less is unmuted at the next sample."""
    errors = np.maximum(records["short_dev"], records["long_dev"])
    usual: NDArray[np.float32] = np.maximum(records["q_dev"], np.float32(LEAST_USUAL * SCALE_DEVIATIONS) * errors)
    return usual


def begin_anew(records: NDArray[Any]) -> None:
    """Forget, in place, what STATE[n] learned, but for a counter's last value and an alert that is open."""
    anew = np.zeros(len(records), STATE)
    for name in _GOES_ON:
        anew[name] = records[name]
    records[:] = anew


class FreezeStore:
    """Copies of frozen series by series id, at most `limit`; the owner of the records calls it on one thread.

    Series are given as uint32[n], each once, unless it says otherwise.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._slots = np.zeros(0, np.int32)
        """By series id: 0 = not frozen, _REFUSED, _ANEW, else one more than the place in `_kept`."""
        self._kept = np.zeros(0, KEPT)
        self._owners = np.zeros(0, np.uint32)
        self.count = 0
        """Series of which something is kept."""
        self.refused = 0
        """Series that were to be frozen and go on learning, because of `limit` others something is kept."""
        self.new = 0
        """Series that begin anew."""

    @property
    def nbytes(self) -> int:
        """Bytes of all that is kept, room for more included."""
        return int(self._kept.nbytes + self._owners.nbytes + self._slots.nbytes)

    @property
    def idle(self) -> bool:
        """Whether no series is frozen, nor was refused it."""
        return self.count == 0 and self.refused == 0 and self.new == 0

    def sids(self) -> NDArray[np.uint32]:
        """Ids of all series for which `holds` is true, ascending."""
        return np.flatnonzero(self._slots).astype(np.uint32)

    def holds(self, sids: NDArray[np.uint32]) -> NDArray[np.bool_]:
        """bool[n]: which of the ids are frozen, or were refused it; ids may be there several times."""
        if self.idle:
            return np.zeros(len(sids), np.bool_)
        held: NDArray[np.bool_] = self._slots_of(sids) != 0
        return held

    def _slots_of(self, sids: NDArray[np.uint32]) -> NDArray[np.int32]:
        if len(self._slots) == 0:
            return np.zeros(len(sids), np.int32)
        slots: NDArray[np.int32] = self._slots[np.minimum(sids, len(self._slots) - 1)]
        slots[sids >= len(self._slots)] = 0
        return slots

    def freeze(self, sids: NDArray[np.uint32], records: NDArray[Any]) -> None:
        """Keep what series, none of them frozen, know now. records: STATE[n], theirs."""
        if len(sids) == 0:
            return
        self._reserve(int(sids.max()) + 1)
        self._add(sids, records["count"], lambda rows: kept_of(taken(records, rows)), self._limit)
        TRANSITIONS.labels("frozen").inc(len(sids))

    def load(self, sids: NDArray[np.uint32], kept: NDArray[Any]) -> None:
        """Take up what `records` gave, for series that are not frozen; also beyond the limit."""
        if len(sids):
            self._reserve(int(sids.max()) + 1)
            self._add(sids, kept["count"], lambda rows: taken(kept, rows), self.count + len(sids))

    def _add(
        self,
        sids: NDArray[np.uint32],
        counts: NDArray[np.uint32],
        kept_of_rows: Callable[[NDArray[np.int64]], NDArray[Any]],
        limit: int,
    ) -> None:
        known = np.flatnonzero(counts > MATURE_SAMPLES)
        self._slots[sids[counts <= MATURE_SAMPLES]] = _ANEW
        self.new += len(sids) - len(known)
        room = max(limit - self.count, 0)
        self._slots[sids[known[room:]]] = _REFUSED
        self.refused += len(known[room:])
        rows = known[:room]
        first, behind = self.count, self.count + len(rows)
        if behind > len(self._kept):
            self._resize(max(min(2 * len(self._kept), limit), behind, _LEAST))
        put(self._kept, np.arange(first, behind), kept_of_rows(rows))
        self._owners[first:behind] = sids[rows]
        self._slots[sids[rows]] = np.arange(first + 1, behind + 1, dtype=np.int32)
        self.count = behind
        self._show()

    def _reserve(self, end: int) -> None:
        if len(self._slots) < end:
            grown = mapped_zeros(grown_size(max(len(self._slots), 1024), end), np.int32)
            grown[: len(self._slots)] = self._slots
            self._slots = grown

    def _resize(self, size: int) -> None:
        kept, owners = mapped_zeros(size, KEPT), mapped_zeros(size, np.uint32)
        kept.view(np.uint8)[: self.count * KEPT.itemsize] = self._kept.view(np.uint8)[: self.count * KEPT.itemsize]
        owners[: self.count] = self._owners[: self.count]
        self._kept, self._owners = kept, owners

    def restore(self, sids: NDArray[np.uint32], records: NDArray[Any]) -> None:
        """Put back what frozen series knew; those that were refused are left as they are. records: STATE[n], theirs,
        changed in place."""
        slots = self._slots_of(sids)
        rows, new = np.flatnonzero(slots > 0), np.flatnonzero(slots == _ANEW)
        part = taken(records, rows)
        restore_records(part, taken(self._kept, slots[rows] - 1))
        put(records, rows, part)
        part = taken(records, new)
        begin_anew(part)
        put(records, new, part)
        TRANSITIONS.labels("restored").inc(len(rows))
        TRANSITIONS.labels("begun_anew").inc(len(new))
        self.forget(sids)

    def forget(self, sids: NDArray[np.uint32]) -> None:
        """Drop what is kept of series without putting it back; others than frozen ones are left out."""
        known = sids[sids < len(self._slots)]
        slots = self._slots[known]
        if not slots.any():
            return
        self.refused -= int(np.count_nonzero(slots == _REFUSED))
        self.new -= int(np.count_nonzero(slots == _ANEW))
        self._slots[known] = 0
        gone = slots[slots > 0] - 1
        left = self.count - len(gone)
        # The last ones move to where something went.
        stays = np.ones(self.count, np.bool_)
        stays[gone] = False
        holes, movers = np.flatnonzero(~stays[:left]), left + np.flatnonzero(stays[left:])
        put(self._kept, holes, taken(self._kept, movers))
        self._owners[holes] = self._owners[movers]
        self._slots[self._owners[holes]] = (holes + 1).astype(np.int32)
        self.count = left
        if left == 0:
            self._kept, self._owners = np.zeros(0, KEPT), np.zeros(0, np.uint32)
        elif len(self._kept) > max(4 * left, _LEAST):
            self._resize(max(2 * left, _LEAST))
        self._show()

    def rows(self, sids: NDArray[np.uint32], counts: NDArray[np.uint32]) -> NDArray[np.int64]:
        """int64[k]: of which of the ids `records` has to be kept: those something is kept of, and those that begin
        anew although they have learned something by now (counts, uint32[n], of their records)."""
        slots = self._slots_of(sids)
        return np.flatnonzero((slots > 0) | ((slots == _ANEW) & (counts > 0)))

    def records(self, sids: NDArray[np.uint32]) -> NDArray[Any]:
        """KEPT[n]: copies of what is kept, zeros for series that begin anew."""
        kept = np.zeros(len(sids), KEPT)
        slots = self._slots_of(sids)
        rows = np.flatnonzero(slots > 0)
        put(kept, rows, taken(self._kept, slots[rows] - 1))
        return kept

    def _show(self) -> None:
        BYTES.set(self.nbytes)
        for state, series in (("kept", self.count), ("new", self.new), ("refused", self.refused)):
            SERIES.labels(state).set(series)
