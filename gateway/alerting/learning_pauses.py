"""Maintenance windows as pauses of learning, told to the data plane (telemetry.learning_pauses).

Rules of the subject:
  * A window pauses the learning of every series whose own anomaly it would cover: its matchers are tried on the labels
    of that alert (anomaly_alert.labels_of), with any severity. Windows for other alerts pause nothing.
  * What recurs is told as spans, PAST back and AHEAD ahead, and anew every REFRESH_SECONDS.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

import structlog

from gateway.alerting.alert import ALERT_NAME
from gateway.alerting.anomaly_alert import NAME
from gateway.alerting.maintenance import Window
from gateway.alerting.matcher import Matcher
from gateway.alerting.moments import SECOND
from gateway.alerting.mute_interval import IntervalPart, any_holds
from gateway.clock import Clock
from gateway.errors import StateError
from gateway.selfmetrics import TASK_FAILURES, gauge
from gateway.telemetry.anomaly import SEVERITIES
from gateway.telemetry.learning_pauses import (
    MOST_PAUSES,
    LabelCondition,
    LearningPause,
    encode_pauses,
    write_pauses,
)

PAST: Final = 2 * 86400 * SECOND
"""So old rows may be that are read now (ingest.max_age as shipped)."""
AHEAD: Final = 2 * 86400 * SECOND
REFRESH_SECONDS: Final = 3600.0
RETRY_SECONDS: Final = 2.0
SEVERITY: Final = "severity"
_MINUTE: Final = 60 * SECOND
_QUARTER: Final = 15
"""Minutes by whose multiples the clocks of places differ from UTC."""
_MS: Final = 10**6

_log = structlog.get_logger(__name__)
LEFT_OUT: Final = gauge(
    "maintenance_windows_left_out", "Maintenance windows that freeze no learning, because there are too many."
)


def conditions_of(matchers: Iterable[Matcher]) -> tuple[LabelCondition, ...] | None:
    """What a series' labels have to meet; None where the matchers cannot cover the alert of a series' own anomaly."""
    severities = set(SEVERITIES[1:])
    conditions = []
    for matcher in matchers:
        if matcher.name == SEVERITY:
            severities = {severity for severity in severities if matcher.matches({SEVERITY: severity})}
        elif matcher.name == ALERT_NAME:
            if not matcher.matches({ALERT_NAME: NAME}):
                return None
        else:
            conditions.append(LabelCondition(matcher.name, matcher.operator, matcher.value))
    return tuple(conditions) if severities else None


def spans_of(window: Window, since: int, until: int) -> list[tuple[int, int]]:
    """When the window holds between two moments: [start, end), nanoseconds, in order. A span goes on to its end also
    beyond `until` where the window does not recur."""
    first, last = max(window.starts, since), min(window.ends, until)
    if not window.recurring:
        return [(window.starts, window.ends)] if window.starts < window.ends and first <= last else []
    found: list[tuple[int, int]] = []
    begun: int | None = None
    if first >= last:
        return found
    for moment in (first, *_changes(window.recurring, first, last)):
        holds = any_holds(window.recurring, moment)
        if holds and begun is None:
            begun = moment
        elif not holds and begun is not None:
            found.append((begun, moment))
            begun = None
    if begun is not None:
        found.append((begun, last))
    return found


def _changes(parts: Sequence[IntervalPart], first: int, last: int) -> Iterable[int]:
    """Moments after `first` and before `last` at which parts may begin or end to hold: minutes at which a clock
    anywhere may show a minute that a part names, or midnight."""
    minutes = {0, *(minute % _QUARTER for part in parts for span in part.times for minute in span)}
    for minute in range(first // _MINUTE + 1, -(-last // _MINUTE)):
        if minute % _QUARTER in minutes:
            yield minute * _MINUTE


def pauses_of(windows: Iterable[Window], now: int) -> tuple[list[LearningPause], int]:
    """(the pauses that windows make around now, those that begin first before others; how many were left out)."""
    found = []
    for window in windows:
        conditions = conditions_of(window.matchers)
        spans = spans_of(window, now - PAST, now + AHEAD) if conditions is not None else []
        if conditions is not None and spans:
            in_ms = tuple((start // _MS, -(-end // _MS)) for start, end in spans)
            found.append(LearningPause(window.id, conditions, in_ms))
    # What is going on or comes is more than what is over.
    now_ms = now // _MS
    found.sort(key=lambda pause: (pause.spans[-1][1] <= now_ms, pause.spans[0][0], pause.id))
    return found[:MOST_PAUSES], max(len(found) - MOST_PAUSES, 0)


class PausePublisher:
    """Keeps the data plane's file as the windows are. Belongs to the loop that starts it."""

    def __init__(self, windows: Callable[[], Iterable[Window]], path: Path, clock: Clock) -> None:
        """windows: all that are kept."""
        self._windows, self._path, self._clock = windows, path, clock
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._written: bytes | None = None

    def start(self) -> None:
        """Begin; what is on disk may be of an earlier time, so it is written at once."""
        self._changed.set()
        self._task = asyncio.create_task(self._run(), name="learning pauses")

    async def stop(self) -> None:
        """Idempotent."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

    def changed(self) -> None:
        """A window was made, changed or ended."""
        self._changed.set()

    async def _run(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(REFRESH_SECONDS):
                    await self._changed.wait()
            self._changed.clear()
            try:
                windows, now = list(self._windows()), self._clock.time_ns()
                await asyncio.to_thread(self._publish, windows, now)
            except (OSError, StateError) as error:
                _log.error("maintenance windows cannot be told to the data plane, trying again", error=str(error))
                self._changed.set()
                await asyncio.sleep(RETRY_SECONDS)
            except Exception as error:  # noqa: BLE001 - outermost edge of the task
                TASK_FAILURES.labels("learning pauses").inc()
                _log.error("telling maintenance windows failed", error=repr(error), exc_info=True)

    def _publish(self, windows: Sequence[Window], now: int) -> None:
        pauses, left_out = pauses_of(windows, now)
        if left_out:
            _log.warning("too many maintenance windows to freeze learning for all", left_out=left_out)
        LEFT_OUT.set(left_out)
        payload = encode_pauses(pauses)
        if payload != self._written:
            write_pauses(self._path, payload)
            self._written = payload
