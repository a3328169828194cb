"""What is wrong with the data itself, by sender: clocks that are off, series that vanish, points that come twice or not
at all, values in another unit.

A sender is the value of `job`, which OTLP's service.name becomes. Found problems are a level, not an event: they stand
in `problems` and in the metrics for as long as they hold.

    check          holds when
    clock_ahead    of a look's points, the oldest from this sender is still in the future by more than 5 s
    clock_behind   the youngest is more than 5 minutes old, while others' are not, and as old as a look before
                   (a backfill catches up, a clock does not)
    lost_series    fewer than half of the series that sent a while ago still send, and there were at least 10
    repeated       more than a tenth of all points repeat a time that is already known
    gaps           within the last ten minutes, more than a tenth of a look's points came after a pause of more than
                   three steps and 30 s
    unit_change    within the last ten minutes, four of five deviating points of a look, and at least ten, were of the
                   same factor between two units (UNIT_FACTORS) away from what was expected

Costs: one write for each row (the time it was seen), and a thousand rows of a frame are looked at for clocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateway.pipeline.content_checks import UNIT_FACTORS, pauses, unit_changes
from gateway.selfmetrics import gauge
from gateway.telemetry.mapped_zeros import grown_size
from kernels.recently_seen import note_seen

SKEW = gauge(
    "sender_delay_seconds", "Least age of a sender's points on arrival; below 0: its clock is ahead.", ["sender"]
)
LIVE = gauge("sender_live_series", "Series of a sender that sent a point within the last 5 minutes.", ["sender"])
PROBLEMS = gauge("data_quality_problems", "Senders with a problem of their data, by check.", ["check"])

CHECKS: Final = ("clock_ahead", "clock_behind", "lost_series", "repeated", "gaps", "unit_change")
MAX_SENDERS: Final = 200
"""Further senders are watched together under the name "other"."""
_OTHER: Final = "other"
_LOOKED_AT: Final = 1000
_LOOK_SECONDS: Final = 30
_PIECE: Final = 65_536
"""Series looked at together."""
_LIVE_SECONDS: Final = 300
_AHEAD_SECONDS: Final = 5.0
_BEHIND_SECONDS: Final = 300.0
_STEADY_SECONDS: Final = 10.0
_LEAST_SERIES: Final = 10
_LOST_SHARE: Final = 0.5
_REPEATED_SHARE: Final = 0.1
_LEAST_ROWS: Final = 100
_GAP_SHARE: Final = 0.1
_UNIT_SHARE: Final = 0.8
_LEAST_UNIT_ROWS: Final = 10
_TOLD_SECONDS: Final = 600
"""So long a problem is told that is an event."""
_REMEMBERED_LOOKS: Final = 20
"""Looks back to which a sender's number of series is compared: ten minutes."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One check that holds for one sender. value: seconds (of a gap: the longest), series, a share or a factor."""

    sender: str
    check: str
    value: float
    since: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class Sender:
    """One sender over the last look."""

    sender: str
    points_per_second: float
    """From the rows that are looked at, scaled to all."""
    delay_seconds: float | None
    """Least age of a point on arrival; below 0: its clock is ahead. None where nothing came."""
    live_series: int


class DataQuality:
    """The scorer's thread owns it; `problems` and `senders` are replaced as a whole and may be read from other threads.

    senders_of: for series ids, uint32[n], the distinct values of `job` and, int64[n], which of them each has.
    """

    def __init__(self, senders_of: Callable[[NDArray[np.uint32]], tuple[list[str], NDArray[np.int64]]]) -> None:
        self._senders_of = senders_of
        self._names: list[str] = [_OTHER]
        self._numbers: dict[str, int] = {_OTHER: 0}
        self._sender: NDArray[np.int16] = np.zeros(1024, np.int16)
        self._seen: NDArray[np.uint32] = np.zeros(1024, np.uint32)
        self._least = np.full(MAX_SENDERS + 1, np.inf)
        self._former = np.full(MAX_SENDERS + 1, np.inf)
        self._history: list[NDArray[np.int64]] = []
        self._next_look = 0.0
        self._rows = self._repeated = 0
        self._since: dict[tuple[str, str], float] = {}
        self.problems: tuple[Problem, ...] = ()
        self._rows_of = np.zeros(MAX_SENDERS + 1, np.int64)
        self._paused = np.zeros(MAX_SENDERS + 1, np.int64)
        self._longest_pause = np.zeros(MAX_SENDERS + 1)
        self._deviating = np.zeros(MAX_SENDERS + 1, np.int64)
        self._factors = np.zeros((MAX_SENDERS + 1, len(UNIT_FACTORS)), np.int64)
        self._told: dict[tuple[str, str], tuple[float, float]] = {}
        """Sender and check → value, and until when it is told."""
        self._last_look = 0.0
        self.senders: tuple[Sender, ...] = ()

    def learn(self, sids: NDArray[np.uint32]) -> None:
        """Series that were met for the first time, or again under a reused id."""
        if len(sids) == 0:
            return
        self._grow(int(sids.max()) + 1)
        names, which = self._senders_of(sids)
        self._sender[sids] = np.array([self._number(name) for name in names], np.int16)[which]
        self._seen[sids] = 0

    def observe(self, sids: NDArray[np.uint32], times_ms: NDArray[np.int64], received_ns: int, repeated: int) -> None:
        """One frame, sids: uint32[n] and times_ms: int64[n]; every sid has been learned."""
        if len(sids) == 0:
            return
        received = received_ns / 1e9
        note_seen(sids, times_ms, int((received - _BEHIND_SECONDS) * 1000.0), int(received), self._seen)
        step = -(-len(sids) // _LOOKED_AT)
        some = slice(None, None, step)
        senders = self._sender[sids[some]]
        np.minimum.at(self._least, senders, received - times_ms[some] / 1000.0)
        self._rows_of += np.bincount(senders, minlength=MAX_SENDERS + 1) * step
        self._rows += len(sids)
        self._repeated += repeated
        if received >= self._next_look:
            if self._next_look:
                self._look(received)
            self._last_look = received
            self._next_look = received + _LOOK_SECONDS

    def note_pauses(self, sids: NDArray[np.uint32], times_ms: NDArray[np.int64], states: NDArray[Any]) -> None:
        """One frame before the baselines, `states`, take it; see `observe`."""
        some = slice(None, None, -(-len(sids) // _LOOKED_AT) or 1)
        seconds = pauses(sids[some], times_ms[some], states)
        paused = np.flatnonzero(seconds)
        if len(paused):
            senders = self._sender[sids[some][paused]]
            self._paused += np.bincount(senders, minlength=MAX_SENDERS + 1) * some.step
            np.maximum.at(self._longest_pause, senders, seconds[paused])

    def note_units(self, sids: NDArray[np.uint32], values: NDArray[np.float64], expected: NDArray[np.float64]) -> None:
        """Rows that deviate from what was expected; all arrays of one length."""
        some = slice(None, _LOOKED_AT)
        senders = self._sender[sids[some]]
        factors = unit_changes(values[some], expected[some])
        self._deviating += np.bincount(senders, minlength=MAX_SENDERS + 1)
        np.add.at(self._factors, (senders[factors >= 0], factors[factors >= 0]), 1)

    def _events(self, now: float) -> list[tuple[str, str, float]]:
        """Problems that are told for a while after they happened, and those of this look."""
        most = self._factors.argmax(axis=1)
        rows = self._factors[np.arange(len(most)), most]
        changed = (rows >= _LEAST_UNIT_ROWS) & (rows > _UNIT_SHARE * self._deviating)
        gapped = (self._paused > 0) & (self._paused > _GAP_SHARE * self._rows_of)
        for number, name in enumerate(self._names):
            for check, holds, value in (
                ("gaps", gapped[number], self._longest_pause[number]),
                ("unit_change", changed[number], UNIT_FACTORS[most[number]]),
            ):
                if holds:
                    former = self._told.get((name, check), (0.0, 0.0))[0] if check == "gaps" else 0.0
                    self._told[name, check] = max(former, float(value)), now + _TOLD_SECONDS
        self._told = {key: one for key, one in self._told.items() if one[1] > now}
        for array in self._paused, self._longest_pause, self._deviating, self._factors:
            array[:] = 0
        return [(name, check, value) for (name, check), (value, _) in self._told.items()]

    def _number(self, name: str) -> int:
        known = self._numbers.get(name)
        if known is None:
            known = len(self._names) if len(self._names) <= MAX_SENDERS else 0
            self._numbers[name] = known
            if known:
                self._names.append(name)
            elif len(self._numbers) > 20 * MAX_SENDERS:
                del self._numbers[name]
        return known

    def _grow(self, size: int) -> None:
        if size > len(self._seen):
            size = grown_size(len(self._seen), size)
            self._seen = np.concatenate([self._seen, np.zeros(size - len(self._seen), np.uint32)])
            self._sender = np.concatenate([self._sender, np.zeros(size - len(self._sender), np.int16)])

    def _look(self, now: float) -> None:
        live = np.zeros(MAX_SENDERS + 1, np.int64)
        since = max(0.0, now - _LIVE_SECONDS)
        # In pieces: of a million series at once this would take 18 MB.
        for first in range(0, len(self._seen), _PIECE):
            seen = self._seen[first : first + _PIECE] > since
            live += np.bincount(self._sender[first : first + _PIECE][seen], minlength=MAX_SENDERS + 1)
        found: list[tuple[str, str, float]] = []
        others_in_time = bool((self._least < _BEHIND_SECONDS).any())
        before = np.max(self._history, axis=0) if self._history else live
        for number, name in enumerate(self._names):
            delay = float(self._least[number])
            if np.isfinite(delay):
                SKEW.labels(name).set(delay)
                if delay < -_AHEAD_SECONDS:
                    found.append((name, "clock_ahead", -delay))
                elif delay > _BEHIND_SECONDS and others_in_time and abs(delay - self._former[number]) < _STEADY_SECONDS:
                    found.append((name, "clock_behind", delay))
            if live[number] or before[number]:
                LIVE.labels(name).set(int(live[number]))
            if before[number] >= _LEAST_SERIES and live[number] < _LOST_SHARE * before[number]:
                found.append((name, "lost_series", float(before[number] - live[number])))
        if self._rows >= _LEAST_ROWS and self._repeated > _REPEATED_SHARE * self._rows:
            found.append((_OTHER if len(self._names) > 2 else self._names[-1], "repeated", self._repeated / self._rows))
        found += self._events(now)
        self.senders = tuple(
            Sender(
                name,
                round(float(self._rows_of[number]) / max(now - self._last_look, 1e-9), 3),
                round(float(self._least[number]), 3) if np.isfinite(self._least[number]) else None,
                int(live[number]),
            )
            for number, name in enumerate(self._names)
            if live[number] or before[number] or self._rows_of[number]
        )
        self._rows_of[:] = 0
        self._history = [*self._history, live][-_REMEMBERED_LOOKS:]
        self._former, self._least = self._least, np.full(MAX_SENDERS + 1, np.inf)
        self._rows = self._repeated = 0
        self._since = {(n, c): self._since.get((n, c), now) for n, c, _ in found}
        self.problems = tuple(Problem(n, c, round(value, 3), self._since[n, c]) for n, c, value in found)
        for check in CHECKS:
            PROBLEMS.labels(check).set(sum(c == check for _, c, _ in found))
