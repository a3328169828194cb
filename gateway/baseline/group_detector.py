"""Many series of one service at once: deviations that would not alert alone, counted per service against their rule.

A series *sets out* when its score reaches FLOOR after APART without one. Per service the number of series that set out
within SPAN_MINUTES is compared with what is usual there: a discounted mean and mean square over days, started from what
independent series of that number would give. The tail is that of a negative binomial of the same two moments (a
Poisson where nothing moves together); services whose series often move together, as under
load, have a wide one and need more. While a service is open, or half of its series are frozen by maintenance, and
beyond what it could ever show by itself, it does not learn.

State: per service one entry of the arrays in `Groups`, of fixed size; per series 2 bytes (service), and 20 where it
has set out (when, when it last exceeded, how high). Work: a comparison a row; beyond that only rows that exceed FLOOR
cost anything.

`GroupDetector` belongs to one thread. It knows series by id and services by name, nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.telemetry.mapped_zeros import mapped_zeros
from kernels.series_state import CHANGED, CLOSED, OPENED

BUDGETS: Final = {"quiet": 0.004, "balanced": 0.02, "keen": 0.08}
"""Alerts a day and service that natural coincidence may stand for, by sensitivity."""
FLOOR: Final = 0.3
"""Score that counts; an alert of one series needs 0.5, which is ten times rarer."""
SPAN_MINUTES: Final = 4
"""Members of one incident set out within this long of each other; senders' lags included."""
APART_MS: Final = 600_000
LEAST: Final = 3
"""Members of the smallest group."""
CALM_MS: Final = 300_000
"""A member without an exceedance for this long is back."""
GROWTH: Final = 1.5
"""A group is told of again when it has grown by this factor."""
LONGEST_MS: Final = 6 * 3_600_000
MAX_SERVICES: Final = 10_000
"""Series of further services belong to no group."""
_PRIOR_RATE: Final = 1.0 / 1440.0
"""Times a minute that a series sets out by itself: once a day."""
_PRIOR_SHARED: Final = 1.3
"""Variance over mean before anything is known: some of it together."""
_KEEP: Final = 0.5 ** (1.0 / 1440.0)
_KNOWN_MINUTES: Final = 60
_NONE: Final = -1
_RING: Final = 8


@dataclass(slots=True)
class Member:
    """A series of an open group."""

    sid: int
    onset_ms: int
    score: float


@dataclass(slots=True)
class GroupChange:
    """An alert of a service opened, changed or closed. Members in the order in which they set out."""

    kind: int
    service: str
    opened_ms: int
    time_ms: int
    count: int
    usual: float
    """Series that set out within the span by themselves."""
    score: float
    members: list[Member]


@dataclass(slots=True)
class _Open:
    opened_ms: int
    score: float
    told: int
    usual: float
    members: dict[int, Member] = field(default_factory=dict)


def surprise(count: int, mean: float, square: float) -> float:
    """-log10 of the chance of at least `count`, for a number with this mean and mean square.

    The tail of the negative binomial with these moments; of the Poisson where the variance is no larger.
    """
    if count <= mean or mean <= 0.0:
        return 0.0
    variance = square - mean * mean
    if variance <= mean * 1.0001:
        log_term = count * math.log(mean) - mean - math.lgamma(count + 1.0)
        size, share = math.inf, 0.0
    else:
        size, share = mean * mean / (variance - mean), 1.0 - mean / variance
        log_term = math.lgamma(count + size) - math.lgamma(count + 1.0) - math.lgamma(size)
        log_term += size * math.log1p(-share) + count * math.log(share)
    total, ratio, number = 1.0, 1.0, count
    while ratio > 1e-9 and number < count + 10_000:
        ratio *= mean / (number + 1.0) if share == 0.0 else share * (number + size) / (number + 1.0)
        total += ratio
        number += 1
    return max(-(log_term + math.log(total)) / math.log(10.0), 0.0)


class GroupDetector:
    """See the module's text. budget: alerts a day and service that natural coincidence may stand for."""

    def __init__(self, budget: float = 0.02) -> None:
        self._threshold = math.log10(1440.0 / SPAN_MINUTES / budget)
        self._names: list[str] = []
        self._numbers: dict[str, int] = {}
        self._group = np.full(1024, _NONE, np.int16)
        self._onset_ms = np.zeros(1024, np.int64)
        self._last_ms = np.zeros(1024, np.int64)
        self._peak = np.zeros(1024, np.float32)
        self._size = np.zeros(64, np.int64)
        self._covered = np.zeros(64, np.int64)
        """Series that the moments of an earlier process already stand for, and that have not been met again."""
        self._held = np.zeros(64, np.bool_)
        """Whether learning is frozen."""
        self._mean = np.zeros(64)
        self._square = np.zeros(64)
        self._minute = np.zeros(64, np.int64)
        self._first_minute = np.zeros(64, np.int64)
        self._ring = np.zeros((64, _RING), np.int64)
        self._open: dict[int, _Open] = {}

    # Series and services

    def learn(self, sids: NDArray[np.uint32], services: Sequence[str], which: NDArray[np.int64], time_ms: int) -> None:
        """Series that were met for the first time, or again under a reused id.

        sids: uint32[n], each once; services: names, the empty one for none; which: int64[n], the service of each.
        """
        if len(sids) == 0:
            return
        self._reserve(int(sids.max()) + 1)
        self.forget(sids)
        numbers = np.array([self._number(name, time_ms) if name else _NONE for name in services], np.int16)
        self._group[sids] = numbers[which]
        for number, count in zip(numbers.tolist(), np.bincount(which, minlength=len(numbers)).tolist(), strict=True):
            if number != _NONE and count:
                self._size[number] += count
                covered = min(count, int(self._covered[number]))
                self._covered[number] -= covered
                self._expect(number, count - covered)

    def forget(self, sids: NDArray[np.uint32]) -> None:
        """Series that ended."""
        known = sids[sids < len(self._group)]
        groups = self._group[known]
        for number in groups[groups != _NONE].tolist():
            self._size[number] -= 1
        self._group[known] = _NONE
        known = known[self._last_ms[known] != 0]  # the others have nothing to forget, and take no memory
        self._last_ms[known] = 0
        self._onset_ms[known] = 0
        self._peak[known] = 0.0

    def freeze(self, sids: NDArray[np.uint32]) -> None:
        """These are the series, uint32[n], each once, whose learning is frozen now: services of which they are half or
        more do not learn either."""
        groups = self._group[sids[sids < len(self._group)]]
        counts = np.bincount(groups[groups != _NONE], minlength=len(self._size))
        self._held = (counts > 0) & (2 * counts >= self._size)

    def _expect(self, number: int, series: int) -> None:
        """More series: more that set out by themselves."""
        added = series * _PRIOR_RATE * SPAN_MINUTES
        mean = self._mean[number]
        self._square[number] += added * _PRIOR_SHARED + 2.0 * mean * added + added * added
        self._mean[number] = mean + added

    def _number(self, service: str, time_ms: int) -> int:
        known = self._numbers.get(service)
        if known is not None:
            return known
        if len(self._names) >= MAX_SERVICES:
            return _NONE
        number = len(self._names)
        self._names.append(service)
        self._numbers[service] = number
        if number >= len(self._size):
            for name in ("_size", "_covered", "_held", "_mean", "_square", "_minute", "_first_minute", "_ring"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate([old, np.zeros_like(old)]))
        self._minute[number] = self._first_minute[number] = time_ms // 60_000
        return number

    def _reserve(self, count: int) -> None:
        size = len(self._group)
        if count <= size:
            return
        more = max(count, 2 * size) - size
        self._group = np.concatenate([self._group, np.full(more, _NONE, np.int16)])
        set_out = np.flatnonzero(self._last_ms)
        for name in ("_onset_ms", "_last_ms", "_peak"):
            # Few series ever set out: what is not written to takes no memory.
            old = getattr(self, name)
            new = mapped_zeros(size + more, old.dtype, sparse=True)
            new[set_out] = old[set_out]
            setattr(self, name, new)

    # Scores

    def observe(
        self, sids: NDArray[np.uint32], times_ms: NDArray[np.int64], score: NDArray[np.float32]
    ) -> list[GroupChange]:
        """One scored batch: uint32[n], int64[n], float32[n]. Every sid has been learned."""
        rows = np.flatnonzero(score >= FLOOR)
        if len(rows) == 0:
            return []
        rows = rows[self._group[sids[rows]] != _NONE]
        rows = rows[np.lexsort((times_ms[rows], sids[rows]))]
        if len(rows) == 0:
            return []
        hot, times, scores = sids[rows].astype(np.int64), times_ms[rows], score[rows]
        before = self._last_ms[hot]
        repeated = np.flatnonzero(hot[1:] == hot[:-1]) + 1
        before[repeated] = times[repeated - 1]
        setting_out = times - before > APART_MS
        last = np.append(hot[1:] != hot[:-1], True)
        self._peak[hot[setting_out]] = 0.0
        self._onset_ms[hot[setting_out]] = times[setting_out]
        np.maximum.at(self._last_ms, hot[last], times[last])
        np.maximum.at(self._peak, hot, scores)
        changes: list[GroupChange] = []
        minutes = times[setting_out] // 60_000
        groups = self._group[hot[setting_out]].astype(np.int64)
        for minute in np.unique(minutes).tolist():
            counts = np.bincount(groups[minutes == minute], minlength=len(self._names))
            touched = np.flatnonzero(counts)
            self._turn(touched, minute)
            held = touched[self._minute[touched] - minute < SPAN_MINUTES]
            self._ring[held, minute % _RING] += counts[held]
            for number in held.tolist():
                if number not in self._open:
                    changes += self._judge(number, minute)
        return changes

    def _turn(self, groups: NDArray[np.int64], minute: int) -> None:
        """Bring services to a minute: what lies between is learned."""
        passed = minute - self._minute[groups]
        groups, passed = groups[passed > 0], passed[passed > 0]
        if len(groups) == 0:
            return
        count = self._within(groups)
        mean, square = self._mean[groups], self._square[groups]
        spread = np.sqrt(np.maximum(square - mean * mean, mean))
        count = np.minimum(count, mean + 4.0 * spread + 1.0)
        learning = np.array([number not in self._open for number in groups.tolist()]) & ~self._held[groups]
        keep = np.where(learning, _KEEP**passed, 1.0)
        # A window holds each of its minutes SPAN_MINUTES times; what set out counts for as many.
        weight = np.where(learning, (1.0 - _KEEP) * np.minimum(passed, SPAN_MINUTES), 0.0)
        floor = self._size[groups] * _PRIOR_RATE * SPAN_MINUTES * 0.1
        self._mean[groups] = np.maximum(mean * keep + weight * count, floor)
        self._square[groups] = np.maximum(square * keep + weight * count * count, self._mean[groups] ** 2)
        for number, minutes in zip(groups.tolist(), passed.tolist(), strict=True):
            head = int(self._minute[number])
            for ahead in range(1, min(minutes, _RING) + 1):
                self._ring[number, (head + minutes - ahead + 1) % _RING] = 0
        self._minute[groups] = minute

    def _within(self, groups: NDArray[np.int64]) -> NDArray[np.float64]:
        """Series that set out within the span up to each service's minute."""
        slots = (self._minute[groups][:, None] - np.arange(SPAN_MINUTES)[None, :]) % _RING
        found: NDArray[np.float64] = self._ring[groups[:, None], slots].sum(axis=1).astype(np.float64)
        return found

    def _judge(self, number: int, minute: int) -> list[GroupChange]:
        count = int(self._within(np.array([number]))[0])
        if count < LEAST or minute - int(self._first_minute[number]) < _KNOWN_MINUTES:
            return []
        mean = float(self._mean[number])
        excess = surprise(count, mean, float(self._square[number])) - self._threshold
        if excess < 0.0:
            return []
        since = (minute - SPAN_MINUTES + 1) * 60_000
        members = self._members(number, since)
        if len(members) < LEAST:
            return []
        score = min(max(0.5 + 0.2 * excess, *(m.score for m in members)), 0.99)
        newest = max(m.onset_ms for m in members)
        self._open[number] = _Open(newest, score, len(members), mean, {m.sid: m for m in members})
        return [self._change(OPENED, number, newest)]

    def _members(self, number: int, since_ms: int) -> list[Member]:
        sids = np.flatnonzero((self._onset_ms >= since_ms) & (self._group == number))
        sids = sids[np.argsort(self._onset_ms[sids], kind="stable")]
        return [Member(int(s), int(self._onset_ms[s]), float(self._peak[s])) for s in sids.tolist()]

    def _change(self, kind: int, number: int, time_ms: int) -> GroupChange:
        group = self._open[number]
        members = sorted(group.members.values(), key=lambda m: (m.onset_ms, m.sid))
        return GroupChange(
            kind, self._names[number], group.opened_ms, time_ms, len(members), group.usual, group.score, members
        )

    # Time

    def advance(self, now_ms: int) -> list[GroupChange]:
        """What became of the open services; to be called about once a second with the time of the newest points."""
        changes: list[GroupChange] = []
        for number, group in list(self._open.items()):
            for member in self._members(number, group.opened_ms - SPAN_MINUTES * 60_000):
                group.members[member.sid] = member
            sids = np.array(list(group.members), np.int64)
            own = sids[self._group[sids] == number]
            active = int(np.count_nonzero(self._last_ms[own] > now_ms - CALM_MS))
            score = max([group.score, *(m.score for m in group.members.values())])
            if 4 * active <= len(group.members) or now_ms - group.opened_ms > LONGEST_MS:
                changes.append(self._change(CLOSED, number, max(now_ms, group.opened_ms)))
                del self._open[number]
                continue
            if len(group.members) >= GROWTH * group.told or score >= group.score + 0.1:
                group.told, group.score = len(group.members), min(score, 0.99)
                changes.append(self._change(CHANGED, number, now_ms))
        return changes

    # State

    def dump(self) -> dict[str, list[float | int]]:
        """What is known of each service by name, for `load`: mean, square, first minute, minute."""
        return {
            name: [
                float(self._mean[n]), float(self._square[n]), int(self._size[n]),
                int(self._first_minute[n]), int(self._minute[n]),
            ]
            for name, n in self._numbers.items()
        }  # fmt: skip

    def load(self, name: str, entry: Sequence[float | int]) -> None:
        """Take up a service of an earlier process; its series are met again one by one."""
        mean, square, size, first, minute = entry
        number = self._number(name, int(minute) * 60_000)
        if number == _NONE:
            return
        self._mean[number], self._square[number], self._covered[number] = mean, square, int(size)
        self._first_minute[number], self._minute[number] = int(first), int(minute)
