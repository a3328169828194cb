"""Freezes learning in maintenance windows: reads those that the control plane publishes, and scores rows accordingly.

By the points' own time: a series is frozen before its first row within a window and restored before its first one
after it, so that rows that are read late, or again after a crash, are taken as they were meant. What falls silent is
restored when the newest points of all are past the window's end.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from gateway.baseline.detector import Baseline, Observation
from gateway.clock import Clock
from gateway.errors import StateError
from gateway.pipeline.freeze_matcher import FreezeMatcher
from gateway.selfmetrics import counter, gauge
from gateway.series.index import SeriesIndex
from gateway.telemetry.frame import Frame
from gateway.telemetry.freeze_status import FreezeStatus
from gateway.telemetry.freeze_window import read_windows

log = structlog.get_logger(__name__)

KNOWN: Final = gauge(
    "baseline_freeze_windows",
    "Maintenance windows that this worker knows to freeze learning now, or some days ago or ahead; all workers know the"
    " same.",
)
PROBLEM: Final = gauge(
    "baseline_freeze_problem",
    "1 while a worker cannot use the file of maintenance windows, or a window in it.",
)
FAILURES: Final = counter(
    "baseline_freeze_file_failures",
    "Times a worker could not use the file of maintenance windows: damaged (or no file at all, but something else),"
    " removed, or not given by the disk.",
    ["reason"],
)
for _reason in ("damaged", "removed", "disk"):
    FAILURES.labels(_reason)  # nothing yet is 0, not unknown
_APART_MS: Final = 10_000
_AT_ONCE: Final = 50_000
"""Frozen series looked through a second; those with rows are restored with these."""


class LearningFreeze:
    """The scorer's thread owns it; `status` may be read by others. path: the control plane's file; clock: tells the
    time for the status before the first point does."""

    def __init__(self, path: Path, index: SeriesIndex, baseline: Baseline, clock: Clock) -> None:
        self._path, self._index, self._baseline, self._clock = path, index, baseline, clock
        self._matcher = FreezeMatcher(index)
        self._seen: tuple[int, int, int] | None = None
        self._published = False
        """Whether there was a file since the start: then that there is none is a loss, and does not end windows."""
        self._next_ms = 0
        """At which time of points frozen series are looked through again."""
        self._left = np.empty(0, np.uint32)
        """Frozen series that are still to be looked at."""
        self.problem = ""
        """What is wrong with the file, or with windows in it."""

    def reload(self) -> None:
        """Read the file if it is another one. If it cannot be used, or is gone, that is the problem, and what was known
        holds."""
        if not self._baseline.enabled:
            return
        try:
            found = self._path.stat()
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        except FileNotFoundError:
            seen = (0, 0, 0)
        except OSError as error:
            self._fail("disk", f"{self._path} cannot be looked at: {error.strerror}")
            return
        if seen == self._seen:
            return
        try:
            windows = read_windows(self._path)
        except StateError as error:
            self._published = True
            self._fail("damaged", str(error), seen)  # and the same at the next try
            return
        except OSError as error:
            self._fail("disk", f"{self._path} cannot be read: {error.strerror}")
            return
        if windows is None and self._published:
            self._fail("removed", f"{self._path} is gone; the windows that it held go on", seen)
            return
        if windows is None:
            self._report("")  # nobody has published any yet
            return
        self._seen, self._published = seen, True
        problems = self._matcher.reload(windows)
        self._report("; ".join(problems))
        KNOWN.set(len(self._matcher))
        self._left = self._baseline.frozen.sids()

    def _fail(self, reason: str, problem: str, seen: tuple[int, int, int] | None = None) -> None:
        """seen: what is not looked at again while it is the same."""
        self._seen = seen
        FAILURES.labels(reason).inc()
        self._report(problem)

    def _report(self, problem: str) -> None:
        if problem and problem != self.problem:
            log.error("maintenance windows do not freeze learning as they should", problem=problem)
        self.problem = problem
        PROBLEM.set(bool(problem))

    def forget(self, sids: NDArray[np.uint32]) -> None:
        """Series met for the first time, or again under a reused id."""
        self._matcher.forget(sids)

    def advance(self) -> None:
        """Every second: reload the file. Every ten: restore frozen series that no window covers any more."""
        self.reload()
        baseline = self._baseline
        if baseline.frozen.idle:
            self._left = np.empty(0, np.uint32)
        elif baseline.watermark_ms >= self._next_ms:
            self._left = baseline.frozen.sids()
            self._next_ms = baseline.watermark_ms + _APART_MS
        if len(self._left) == 0:
            return
        sids, self._left = self._left[:_AT_ONCE], self._left[_AT_ONCE:]
        sids = sids[baseline.frozen.holds(sids)]
        now = np.maximum(baseline.last_times_ms(sids), baseline.watermark_ms)
        baseline.restore(sids[~self._matcher.match(sids, now, baseline.grace_ms(sids))])

    def observe(self, sids: NDArray[np.uint32], frame: Frame, bounds: NDArray[np.float64]) -> Observation:
        """Score a frame, sids: uint32[n], as `Baseline.observe` does; bounds: bounds_by_sid."""
        frozen, times = self._baseline.frozen, frame.times_ms
        if len(sids) == 0 or (frozen.idle and not self._touches(times)):
            return self._score(sids, frame, bounds, None)
        # A row that is late changes nothing: the series is at the time of the last one taken.
        times = np.maximum(times, self._baseline.last_times_ms(sids))
        held = frozen.holds(sids)
        grace = np.where(held, self._baseline.grace_ms(sids), 0)
        if np.array_equal(self._matcher.match(sids, times, grace), held):
            return self._score(sids, frame, bounds, None)
        parts = []
        for rows, to_freeze, to_restore in self._steps(sids, times):
            self._baseline.restore(to_restore)
            self._baseline.freeze(to_freeze)
            if len(rows) == len(sids):
                return self._score(sids, frame, bounds, None)
            parts.append((rows, self._score(sids, frame, bounds, rows)))
        return _joined(len(sids), parts)

    def _touches(self, times_ms: NDArray[np.int64]) -> bool:
        return len(self._matcher) > 0 and self._matcher.any_between(int(times_ms.min()), int(times_ms.max()))

    def _steps(
        self, sids: NDArray[np.uint32], times_ms: NDArray[np.int64]
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.uint32]]]:
        """(rows to be scored together, ascending; series to be frozen before; series to be restored before), in order.

        Each series' rows come in theirs. Nearly always it is one step: before its first row of the frame a series may
        be changed without a step of its own.
        """
        order = np.argsort(sids, kind="stable")
        series = sids[order]
        begins = np.ones(len(order), np.bool_)
        begins[1:] = series[1:] != series[:-1]
        # How far each series' time has come: a running maximum, each series above the one before.
        own = np.cumsum(begins) - 1
        since = int(times_ms.min())
        height = int(times_ms.max()) - since + 1
        reached = np.maximum.accumulate(times_ms[order] - since + own * height) - own * height + since
        # The grace is for what is frozen already, or is by an earlier row.
        held = self._baseline.frozen.holds(series)
        inside = self._matcher.match(series, reached)
        so_far = np.cumsum(inside)
        frozen = held | (so_far - (so_far - inside)[begins][own] > 0)
        wanted = inside | (frozen & self._matcher.match(series, reached, self._baseline.grace_ms(series)))
        before = np.empty_like(wanted)
        before[1:] = wanted[:-1]
        before[begins] = held[begins]
        changes = wanted != before
        passed = np.cumsum(changes & ~begins)
        number = passed - passed[begins][own]
        for step in range(int(number.max()) + 1):
            of_step = number == step
            at = changes & of_step
            rows = np.sort(order[of_step])
            yield rows, series[at & wanted], series[at & ~wanted]

    def _score(
        self,
        sids: NDArray[np.uint32],
        frame: Frame,
        bounds: NDArray[np.float64],
        rows: NDArray[np.int64] | None,
    ) -> Observation:
        starts = frame.starts_ms
        return self._baseline.observe(
            sids if rows is None else sids[rows],
            frame.times_ms if rows is None else frame.times_ms[rows],
            frame.values if rows is None else frame.values[rows],
            starts if rows is None or starts is None else starts[rows],
            self._index.kinds,
            self._index.generations,
            frame.received_ns,
            bounds_by_sid=bounds,
        )

    def status(self) -> FreezeStatus:
        """For the status."""
        frozen = self._baseline.frozen
        now_ms = self._baseline.watermark_ms or self._clock.time_ns() // 10**6
        return FreezeStatus(
            windows=self._matcher.holding(now_ms),
            series=frozen.count,
            new_series=frozen.new,
            refused_series=frozen.refused,
            bytes=frozen.nbytes,
            problem=self.problem,
        )


def _joined(n: int, parts: list[tuple[NDArray[np.int64], Observation]]) -> Observation:
    """One observation of n rows out of those of its steps."""
    scores = np.zeros(n, np.float32)
    expected, lower, upper = (np.full(n, np.nan) for _ in range(3))
    transitions = []
    for rows, part in parts:
        scores[rows] = part.score
        expected[rows], lower[rows], upper[rows] = part.expected, part.lower, part.upper
        changed = part.transitions.copy()
        changed["row"] = rows[changed["row"]]
        transitions.append(changed)
    every = np.concatenate(transitions)
    return Observation(
        scored=sum(part.scored for _, part in parts),
        late=sum(part.late for _, part in parts),
        repeated=sum(part.repeated for _, part in parts),
        skipped=sum(part.skipped for _, part in parts),
        score=scores,
        expected=expected,
        lower=lower,
        upper=upper,
        exceeding=np.sort(np.concatenate([rows[part.exceeding] for rows, part in parts])),
        transitions=every[np.argsort(every["row"], kind="stable")],
    )
