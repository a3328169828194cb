"""What is kept of the forwarder's progress, and when: the acked position often, the safe one with its totals seldom.

A backlog goes out so fast that a second of it is most of what a process that is killed again soon will have sent, and
would send again; so the acked position is written after so many rows as well as after an interval. Checkpoints of very
many totals are taken less often, so that copying and writing them stays in the background.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, Protocol, TypeVar

import structlog

from gateway.clock import Clock
from gateway.forward.progress import Progress, ProgressFiles, Record, SafePoint
from gateway.forward.running_totals import TotalsCheckpoint
from gateway.forward.settings import VictoriaMetricsSettings
from gateway.selfmetrics import TASK_FAILURES
from gateway.telemetry.frame import Place

log = structlog.get_logger(__name__)

T = TypeVar("T")

_COMMIT_ROWS: Final = 5_000
_COMMIT_LOOK: Final = 0.1
"""Seconds between looks whether so many rows were acked since the progress was written."""
_CHECKPOINT_SECONDS: Final = 1.0
_CHECKPOINT_BYTES_PER_SECOND: Final = 1_000_000


class InDisk(Protocol):
    """Runs a call in the thread that writes."""

    def __call__(self, call: Callable[[], T], /) -> Awaitable[T]:
        """Its result; raises what it raises."""


class ProgressKeeper:
    """The progress of one forwarder and its files. For one event loop."""

    def __init__(
        self,
        files: ProgressFiles,
        settings: VictoriaMetricsSettings,
        clock: Clock,
        *,
        in_disk: InDisk,
        safe_written: Callable[[Place], object],
    ) -> None:
        """safe_written: called with a safe position that is on disk."""
        self._files, self._settings, self._clock = files, settings, clock
        self._in_disk, self._safe_written = in_disk, safe_written
        empty = SafePoint(Record(), TotalsCheckpoint.empty())
        self.progress = Progress(Record(), empty, settings.replay_seconds)
        self.target_start: float | None = None
        """Start time of the process that acked it; None where that is not known."""
        self._written_acked: tuple[Record, float | None] | None = None
        self._written_safe = empty
        self._safe_written_at = float("-inf")
        self._last_checkpoint = float("-inf")

    async def load(self) -> None:
        """Read what was kept, once. Raises UnknownVersion, and OSError for a file that cannot be read, or set
        aside if it is damaged."""
        if self._written_acked is None:
            acked, safe, self.target_start = await self._in_disk(self._files.read)
            self.progress = Progress(acked, safe, self._settings.replay_seconds)
            self._written_acked = (acked.copy(), self.target_start)
            self._written_safe = safe

    def checkpoint_is_due(self) -> bool:
        """Whether the totals are to be copied again."""
        return self._clock.monotonic() - self._last_checkpoint >= self._checkpoint_spacing()

    def note_checkpoint(self) -> None:
        """They are copied now."""
        self._last_checkpoint = self._clock.monotonic()

    def _checkpoint_spacing(self) -> float:
        size = 32 * self.progress.newest_checkpoint_series
        least = min(_CHECKPOINT_SECONDS, self._settings.checkpoint_interval)
        return max(least, size / _CHECKPOINT_BYTES_PER_SECOND)

    async def until_commit_is_due(self, sleep: Callable[[float], Awaitable[object]]) -> None:
        """Return after the interval, or earlier when much was acked."""
        left, written = float(self._settings.commit_interval), self._written_acked
        rows = written[0].rows if written is not None else 0
        while left > 0.0 and self.progress.acked.rows - rows < _COMMIT_ROWS:
            await sleep(min(_COMMIT_LOOK, left))
            left -= _COMMIT_LOOK

    async def commit(self, last: bool = False) -> OSError | None:
        """Write what has changed: safe first where that is due or this is the `last` time, then acked. A write that
        fails is told and returned, and tried again when it is due again. Nothing is written before `load`: the
        beginning would take the place of what was kept."""
        if self._written_acked is None:
            return None
        now = self._clock.monotonic()
        try:
            safe = self.progress.safe
            spacing = max(self._settings.checkpoint_interval, self._checkpoint_spacing())
            if safe is not self._written_safe and (last or now - self._safe_written_at >= spacing):
                self._safe_written_at = now
                await self._in_disk(lambda: self._files.write_safe(safe))
                self._written_safe = safe
                self._safe_written(safe.record.position)
            current = (self.progress.acked.copy(), self.target_start)
            if current != self._written_acked:
                at = self._written_safe.record
                await self._in_disk(lambda: self._files.write_progress(current[0], at, current[1]))
                self._written_acked = current
        except OSError as error:
            TASK_FAILURES.labels("forward_commit").inc()
            log.error("the forwarder's progress cannot be written; a restart would send more again", error=str(error))
            return error
        return None
