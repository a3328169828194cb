"""Time to a limit: a robust slope with its uncertainty for series that fill something up.

Per series two rings of means: 40 of a minute and 36 of ten minutes. When a minute ends, the slope of each ring is
estimated as Theil and Sen do (median over all pairs), with bounds from the distribution of Kendall's statistic under no
trend, widened for errors that hang together. An alert needs, in either ring:

  * a slope toward the limit beyond doubt (99.9 %, one-sided), and the minutes' slope of the same sign;
  * the earliest time to the limit (90 %, one-sided) under the horizon, and no longer than six times what was seen;
  * more used than at any time of the two days before; in its first 24 hours, also after a day without
    values, less than an hour to the limit.

The last keeps daily tides silent: a leak goes where the series has not been. It ends when the slope is no longer
toward the limit (90 %) or the earliest time is beyond twice the horizon, for ten minutes.

State is of fixed size and only for series that qualify (see pipeline.limit_watch). Work: O(1) a point; 780 and 630
pairs a minute and series, over all series at once. Everything is causal and runs on the points' own time.

Sources: Sen 1968, "Estimates of the regression coefficient based on Kendall's tau"; Hamed and Rao 1998 on Kendall's
test with autocorrelated data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kernels.series_state import CHANGED, CLOSED, OPENED

FINE: Final = 40
COARSE: Final = 36
COARSE_MINUTES: Final = 10
LEAST_FINE: Final = 20
LEAST_COARSE: Final = 9
DAYS: Final = 3
BEYOND: Final = 6.0
"""How far a slope is drawn on, in lengths of what was seen."""
CALM: Final = 10
"""Minutes without danger after which an alert ends."""
SURE: Final = 3.0902
LIKELY: Final = 1.2816
_DAY: Final = 1440
_FIRST_DAY_S: Final = 3600.0
_CHUNK: Final = 512
_F8 = NDArray[np.float64]


@dataclass(slots=True)
class Slopes:
    """Of k series, per step: float64[k], NaN where fewer than three values are known."""

    middle: _F8
    surely: _F8
    """Bound that the slope exceeds with 99.9 %."""
    at_least: _F8
    """The same with 90 %."""
    at_most: _F8
    level: _F8
    """At the last step, on the line."""
    known: NDArray[np.int64]


def slopes(values: _F8) -> Slopes:
    """Theil and Sen's slope of each row of float64[k, n], oldest first, NaN where nothing is known."""
    k, n = values.shape
    earlier, later = np.triu_indices(n, 1)
    pairs = (values[:, later] - values[:, earlier]) / (later - earlier)
    pairs.sort(axis=1)  # NaN last
    number = np.count_nonzero(~np.isnan(pairs), axis=1)
    known = np.count_nonzero(~np.isnan(values), axis=1)
    enough = known >= 3
    rows = np.arange(k)

    def at(rank: _F8) -> _F8:
        place = np.clip(np.round(rank), 0, np.maximum(number - 1, 0)).astype(np.int64)
        return np.where(enough, pairs[rows, place], np.nan)

    middle = at((number - 1) / 2.0)
    steps = np.arange(n, dtype=np.float64)
    off = values - np.where(enough, middle, 0.0)[:, None] * steps
    ranked = np.sort(off, axis=1)  # NaN last; numpy's own median that leaves them out takes as long as all the rest
    start = 0.5 * (ranked[rows, np.maximum(known - 1, 0) // 2] + ranked[rows, known // 2])
    start = np.where(enough, start, np.nan)
    residual = off - start[:, None]
    together = np.nansum(residual[:, 1:] * residual[:, :-1], axis=1)
    alone = np.nansum(residual * residual, axis=1)
    tie = np.clip(np.divide(together, alone, out=np.zeros(k), where=alone > 0.0), 0.0, 0.8)
    spread = np.sqrt(known * (known - 1.0) * (2.0 * known + 5.0) / 18.0 * (1.0 + tie) / (1.0 - tie))
    return Slopes(
        middle,
        at((number - SURE * spread) / 2.0 - 1.0),
        at((number - LIKELY * spread) / 2.0 - 1.0),
        at((number + LIKELY * spread) / 2.0),
        start + middle * (n - 1),
        known,
    )


@dataclass(slots=True)
class LimitChange:
    """An alert opened, changed or ended. Times to the limit in seconds; the earliest is the 90 % bound."""

    kind: int
    slot: int
    opened_ms: int
    time_ms: int
    value: float
    limit: float
    earliest_s: float
    likely_s: float
    per_hour: float
    score: float


class LimitDetector:
    """Slots of series that qualify; one thread owns it. horizon_s: how far ahead people want to know."""

    def __init__(self, horizon_s: float = 6 * 3600.0, *, capacity: int = 64) -> None:
        self._horizon_s = horizon_s
        self._free: list[int] = []
        self._used = 0
        self._sign = np.ones(capacity)
        self._limit = np.full(capacity, np.nan)
        self._minute = np.full(capacity, -1, np.int64)
        self._sum = np.zeros(capacity)
        self._count = np.zeros(capacity, np.int64)
        self._fine = np.full((capacity, FINE), np.nan)
        self._coarse = np.full((capacity, COARSE), np.nan)
        self._highest = np.full((capacity, DAYS), -np.inf)
        """Of sign × value, by day."""
        self._first = np.zeros(capacity, np.int64)
        """Minute of the first value, or of the first one after a day without any. A first day is as long as any other,
        whenever in the day it began."""
        self._opened_ms = np.zeros(capacity, np.int64)
        self._score = np.zeros(capacity)
        self._calm = np.zeros(capacity, np.int64)
        self._last = np.zeros((capacity, 3))

    def __len__(self) -> int:
        return self._used - len(self._free)

    def add(self, limit: float, *, falling: bool = False) -> int:
        """A slot. limit: NaN while it is not known; falling: the value runs down to the limit."""
        if self._free:
            slot = self._free.pop()
        else:
            slot = self._used
            self._used += 1
            if slot >= len(self._sign):
                for name in (
                    "_sign", "_limit", "_minute", "_sum", "_count", "_fine", "_coarse", "_highest", "_first",
                    "_opened_ms", "_score", "_calm", "_last",
                ):  # fmt: skip
                    old = getattr(self, name)
                    setattr(self, name, np.concatenate([old, np.empty_like(old)]))
        self._sign[slot] = -1.0 if falling else 1.0
        self._limit[slot] = limit
        self._minute[slot] = -1
        self._sum[slot] = self._count[slot] = self._opened_ms[slot] = self._score[slot] = self._calm[slot] = 0
        self._fine[slot] = self._coarse[slot] = np.nan
        self._highest[slot] = -np.inf
        return slot

    def drop(self, slot: int) -> LimitChange | None:
        """The series ended, or its slot is wanted for another."""
        ended = None
        if self._opened_ms[slot]:
            ended = self._change(CLOSED, slot, int(self._minute[slot]) * 60_000)
            self._opened_ms[slot] = 0
        self._limit[slot] = np.nan
        self._free.append(slot)
        return ended

    def limit(self, slot: int, limit: float) -> None:
        """The limit is known, or another now."""
        self._limit[slot] = limit

    def observe(self, slots: NDArray[np.int64], times_ms: NDArray[np.int64], values: _F8) -> list[LimitChange]:
        """Rows of series: int64[n], int64[n], float64[n]. Rows of a minute that has ended are left out."""
        good = np.isfinite(values)
        slots, values, minutes = slots[good], values[good], times_ms[good] // 60_000
        changes: list[LimitChange] = []
        for minute in np.unique(minutes).tolist():
            here = minutes == minute
            rows, numbers = slots[here], values[here]
            now = np.unique(rows)
            over = now[self._minute[now] < minute]
            due = over[self._count[over] > 0]
            if len(due):
                self._close(due)
                changes += self._judge(due)
            self._forward(over, minute)
            current = self._minute[rows] == minute
            np.add.at(self._sum, rows[current], numbers[current])
            np.add.at(self._count, rows[current], 1)
        return changes

    def _close(self, slots: NDArray[np.int64]) -> None:
        """Put the minute that ended into the rings."""
        minute = self._minute[slots]
        value = self._sum[slots] / self._count[slots]
        self._fine[slots, minute % FINE] = value
        ten = minute // COARSE_MINUTES
        inside = (ten[:, None] * COARSE_MINUTES + np.arange(COARSE_MINUTES)[None, :]) % FINE
        recent = self._fine[slots[:, None], inside]
        past = np.arange(COARSE_MINUTES)[None, :] <= (minute % COARSE_MINUTES)[:, None]
        recent = np.where(past, recent, np.nan)
        self._coarse[slots, ten % COARSE] = np.nanmean(recent, axis=1)
        day = (minute // _DAY) % DAYS
        self._highest[slots, day] = np.maximum(self._highest[slots, day], self._sign[slots] * value)

    def _forward(self, slots: NDArray[np.int64], minute: int) -> None:
        """Minutes, tens and days between the last one and this hold nothing."""
        for slot in slots.tolist():
            last = int(self._minute[slot])
            if last < 0 or minute - last > _DAY:
                self._first[slot] = minute
            if last < 0:
                continue
            self._fine[slot, np.arange(last + 1, min(minute, last + FINE) + 1) % FINE] = np.nan
            ten, before = minute // COARSE_MINUTES, last // COARSE_MINUTES
            self._coarse[slot, np.arange(before + 1, min(ten, before + COARSE) + 1) % COARSE] = np.nan
            day, former = minute // _DAY, last // _DAY
            self._highest[slot, np.arange(former + 1, min(day, former + DAYS) + 1) % DAYS] = -np.inf
        self._minute[slots] = minute
        self._sum[slots] = 0.0
        self._count[slots] = 0

    def _judge(self, slots: NDArray[np.int64]) -> list[LimitChange]:
        changes: list[LimitChange] = []
        slots = slots[np.isfinite(self._limit[slots])]
        for first in range(0, len(slots), _CHUNK):
            changes += self._judge_some(slots[first : first + _CHUNK])
        return changes

    def _judge_some(self, slots: NDArray[np.int64]) -> list[LimitChange]:
        minute, sign = self._minute[slots], self._sign[slots]
        fine_order = (minute[:, None] + 1 + np.arange(FINE)[None, :]) % FINE
        coarse_order = (minute[:, None] // COARSE_MINUTES + 1 + np.arange(COARSE)[None, :]) % COARSE
        fine = slopes(sign[:, None] * self._fine[slots[:, None], fine_order])
        coarse = slopes(sign[:, None] * self._coarse[slots[:, None], coarse_order])
        used = self._last_known(fine, sign, slots, fine_order)
        room = np.maximum(sign * self._limit[slots] - used, 0.0)
        today = minute // _DAY
        before = np.max(np.stack([self._highest[slots, (today - ago) % DAYS] for ago in range(1, DAYS)]), axis=0)
        first_day = (minute - self._first[slots] < _DAY) | ~np.isfinite(before)
        danger = np.zeros(len(slots), np.bool_)
        still = np.zeros(len(slots), np.bool_)
        earliest, likely = np.full(len(slots), np.inf), np.full(len(slots), np.inf)
        rate = np.zeros(len(slots))
        for ring, step_s, least in ((fine, 60.0, LEAST_FINE), (coarse, 600.0, LEAST_COARSE)):
            with np.errstate(divide="ignore", invalid="ignore"):
                soon = np.where(ring.at_most > 0.0, room / ring.at_most * step_s, np.inf)
                mid = np.where(ring.middle > 0.0, room / ring.middle * step_s, np.inf)
            enough = ring.known >= least
            reach = np.minimum(self._horizon_s, BEYOND * ring.known * step_s)
            reach = np.where(first_day, np.minimum(reach, _FIRST_DAY_S), reach)
            found = enough & (ring.surely > 0.0) & (fine.middle > 0.0) & (soon < reach) & (used > before)
            better = found & (soon < earliest)
            earliest, likely = np.where(better, soon, earliest), np.where(better, mid, likely)
            rate = np.where(better, ring.middle * 3600.0 / step_s, rate)
            danger |= found
            still |= enough & (ring.at_least > 0.0) & (fine.middle > 0.0) & (soon < 2.0 * self._horizon_s)
        out: list[LimitChange] = []
        for row, slot in enumerate(slots.tolist()):
            change = self._decide(
                slot, bool(danger[row]), bool(still[row]), float(earliest[row]), float(likely[row]), float(rate[row])
            )
            if change is not None:
                change.value = float(sign[row] * used[row])
                out.append(change)
        return out

    def _last_known(self, fine: Slopes, sign: _F8, slots: NDArray[np.int64], order: Any) -> _F8:
        """Where the series stands: on the line of the last minutes, else at its last value."""
        last: _F8 = sign * self._fine[slots, order[:, -1]]
        level: _F8 = np.where(np.isfinite(fine.level), fine.level, last)
        return level

    def _decide(
        self, slot: int, danger: bool, still: bool, earliest: float, likely: float, rate: float
    ) -> LimitChange | None:
        time_ms = (int(self._minute[slot]) + 1) * 60_000
        if danger:
            self._last[slot] = (earliest, likely, rate * self._sign[slot])
            score = 0.95 if earliest < 3600.0 else 0.8 if earliest < self._horizon_s / 2.0 else 0.6
            self._calm[slot] = 0
            if not self._opened_ms[slot]:
                self._opened_ms[slot], self._score[slot] = time_ms, score
                return self._change(OPENED, slot, time_ms)
            if score > self._score[slot]:
                self._score[slot] = score
                return self._change(CHANGED, slot, time_ms)
            return None
        if not self._opened_ms[slot]:
            return None
        self._calm[slot] = 0 if still else self._calm[slot] + 1
        if self._calm[slot] < CALM:
            return None
        change = self._change(CLOSED, slot, time_ms)
        self._opened_ms[slot] = 0
        return change

    def _change(self, kind: int, slot: int, time_ms: int) -> LimitChange:
        earliest, likely, rate = self._last[slot].tolist()
        return LimitChange(
            kind, slot, int(self._opened_ms[slot]), time_ms, np.nan, float(self._limit[slot]), earliest, likely, rate,
            float(self._score[slot]),
        )  # fmt: skip
