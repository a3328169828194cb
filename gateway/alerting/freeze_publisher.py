"""Maintenance windows that freeze learning, published to the data plane (telemetry.freeze_window).

Rules of the subject:
  * A window freezes the learning of every series whose own anomaly it would cover: its matchers are tried on the labels
    of that alert (anomaly_alert.labels_of), with any severity. Windows for other alerts freeze nothing.
  * What recurs is published as spans, as far back as rows may be old (`past_of`) and AHEAD ahead, and anew every
    REFRESH_SECONDS. Every LOOK_SECONDS the file is read: one that is damaged or gone is written anew.
  * What does not fit is left out, the least urgent first, and said: in the log, in the metrics and in the status.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
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
from gateway.owned_tasks import end_tasks
from gateway.selfmetrics import TASK_FAILURES, counter, gauge
from gateway.telemetry.anomaly import SEVERITIES
from gateway.telemetry.freeze_window import (
    EARLIEST_MS,
    LATEST_MS,
    FreezeWindow,
    LabelCondition,
    encode_fitting,
    read_payload,
    write_windows,
)

MARGIN_SECONDS: Final = 86400.0
"""So long accepted rows may lie in the log before they are scored."""
AHEAD: Final = 2 * 86400 * SECOND
REFRESH_SECONDS: Final = 3600.0
"""Between times at which spans of what recurs are found anew."""
LOOK_SECONDS: Final = 60.0
"""Between looks at whether the file still is what was written; 4 MiB at most."""
RETRY_SECONDS: Final = 2.0
MOST_RETRY_SECONDS: Final = 300.0
_TASK: Final = "maintenance windows to the data plane"
SEVERITY: Final = "severity"
_MINUTE: Final = 60 * SECOND
_QUARTER: Final = 15
"""Minutes by whose multiples the clocks of places differ from UTC."""
_MS: Final = 10**6

_log = structlog.get_logger(__name__)
WINDOWS: Final = gauge(
    "maintenance_freeze_windows",
    "Maintenance windows that freeze learning now, or some days ago or ahead: published to the data plane, or left_out"
    " because there are too many or too large ones.",
    ["state"],
)
FAILURES: Final = counter(
    "maintenance_freeze_publish_failures",
    "Attempts to publish the maintenance windows to the data plane that failed.",
    ["reason"],
)
REPAIRS: Final = counter(
    "maintenance_freeze_repairs",
    "Times the data plane's file of maintenance windows was damaged, replaced or removed, and was written anew.",
)
for _reason in ("disk", "unexpected"):
    FAILURES.labels(_reason)  # nothing yet is 0, not unknown


def past_of(max_age_seconds: float) -> int:
    """Nanoseconds that windows are published back, where points may be so old when they come (ingest.max_age)."""
    return round((max_age_seconds + MARGIN_SECONDS) * SECOND)


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


def freeze_windows_of(windows: Iterable[Window], now: int, past: int) -> list[FreezeWindow]:
    """What windows freeze from `past` nanoseconds ago on; the more urgent ones first."""
    found = []
    for window in windows:
        conditions = conditions_of(window.matchers)
        spans = spans_of(window, now - past, now + AHEAD) if conditions is not None else []
        if conditions is not None and spans:
            in_ms = tuple((_bounded(start // _MS), _bounded(-(-end // _MS))) for start, end in spans)
            found.append(FreezeWindow(window.id, conditions, in_ms))
    # What is going on or comes is more than what is over.
    now_ms = now // _MS
    return sorted(found, key=lambda one: (one.spans[-1][1] <= now_ms, one.spans[0][0], one.id))


def _bounded(time_ms: int) -> int:
    """As readers take it."""
    return min(max(time_ms, EARLIEST_MS), LATEST_MS)


class FreezePublisher:
    """Keeps the data plane's file as the windows are. Belongs to the loop that starts it."""

    def __init__(
        self,
        windows: Callable[[], Iterable[Window]],
        path: Path,
        clock: Clock,
        *,
        max_age_seconds: float,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """windows: all that are kept; max_age_seconds: how old points may be when they come; sleep: waits between
        attempts after a failure."""
        self._windows, self._path, self._clock, self._sleep = windows, path, clock, sleep
        self._past = past_of(max_age_seconds)
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._written: bytes | None = None
        self._refreshed = 0.0
        """When windows were last asked for, on the monotonic clock."""
        self._failure = ""
        self.left_out = 0
        """Windows that the last file has no room for."""

    @property
    def problem(self) -> str:
        """Why the data plane does not know all windows; empty while it does."""
        if self._failure:
            return self._failure
        return (
            f"{self.left_out} maintenance windows do not freeze learning: there are too many" if self.left_out else ""
        )

    def start(self) -> None:
        """Begin; what is on disk may be of an earlier time, so it is written at once."""
        self._changed.set()
        self._task = asyncio.create_task(self._run(), name=_TASK)

    async def stop(self) -> None:
        """Idempotent."""
        task, self._task = self._task, None
        await end_tasks(task)

    def changed(self) -> None:
        """A window was made, changed or ended."""
        self._changed.set()

    async def _run(self) -> None:
        wait = RETRY_SECONDS
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._changed.wait()
            due = self._changed.is_set() or self._clock.monotonic() >= self._refreshed + REFRESH_SECONDS
            self._changed.clear()
            if await (self.publish() if due else self.look()):
                wait = RETRY_SECONDS
                continue
            self._changed.set()  # or it would be stale until the next refresh
            await self._sleep(wait)
            wait = min(2 * wait, MOST_RETRY_SECONDS)

    async def look(self) -> bool:
        """Write the file anew if it is not what was written last; False as with `publish`."""
        return not await asyncio.to_thread(self._harm) or await self.publish()

    async def publish(self) -> bool:
        """Write the windows as they are now; False where that failed, which is logged, counted and in `problem`."""
        self._refreshed = self._clock.monotonic()
        try:
            windows, now = list(self._windows()), self._clock.time_ns()
            published, left_out = await asyncio.to_thread(self._write, windows, now)
        except OSError as error:
            FAILURES.labels("disk").inc()
            self._fail(f"maintenance windows do not reach the data plane: {error}", unexpected=False)
            return False
        except Exception as error:  # noqa: BLE001 - outermost edge of the task
            TASK_FAILURES.labels(_TASK).inc()
            FAILURES.labels("unexpected").inc()
            self._fail(f"maintenance windows do not reach the data plane: {error!r}", unexpected=True)
            return False
        if self._failure:
            _log.info("maintenance windows reach the data plane again")
        self._failure = ""
        WINDOWS.labels("published").set(published)
        WINDOWS.labels("left_out").set(left_out)
        if left_out != self.left_out:
            _log.warning("maintenance windows that freeze no learning, because there are too many", left_out=left_out)
        self.left_out = left_out
        return True

    def _fail(self, problem: str, *, unexpected: bool) -> None:
        if problem != self._failure:
            _log.error(problem, exc_info=unexpected)
        self._failure = problem

    def _write(self, windows: Sequence[Window], now: int) -> tuple[int, int]:
        """Gives how many are published, and how many left out."""
        freezing = freeze_windows_of(windows, now, self._past)
        payload, left_out = encode_fitting(freezing)
        harm = self._harm()
        if harm or payload != self._written:
            repaired = bool(harm) and self._written is not None
            write_windows(self._path, payload)
            self._written = payload
            if repaired:
                REPAIRS.inc()
                _log.warning(
                    "the file of maintenance windows was not as it was written, and is written anew", reason=harm
                )
        return len(freezing) - left_out, left_out

    def _harm(self) -> str:
        """Why the file is not what was written last; "" while it is."""
        if self._written is None:
            return "nothing was written yet"
        try:
            found = read_payload(self._path)
        except (StateError, OSError) as error:
            return str(error)
        if found is None:
            return f"{self._path} is gone"
        return "" if found == self._written else f"{self._path} is another one"
