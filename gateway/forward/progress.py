"""How far forwarding has come, in two places, and the files that keep them.

*Acked*: every row before it was answered 2xx or is counted as dropped. *Safe*: it was acked at least `replay_seconds`
before the target was last known to be the same process, so the target has it on disk. The running totals of delta
series are kept for the safe position, because that is where reading goes back to.

- While we run and the target restarts: back to safe, counters with it.
- We restart and the target did not: frames from safe to acked are folded again and not sent; from acked on both.
- We restart and the target did too, or we cannot know: from safe.

Steps (the rows of one group of frames) finish out of order; acked is the end of the unbroken run of finished ones.
Files: `forward-<edge>.progress` (acked and the target's start time, every second) and `forward-<edge>.totals` (safe
with its counters and totals, one atomic file).
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
import structlog

from gateway.errors import StateError, UnknownVersion
from gateway.forward.running_totals import TotalsCheckpoint
from gateway.telemetry.feed import LOG_START
from gateway.telemetry.frame import Place, not_beyond
from gateway.telemetry.state_file import read_checked, write_checked

log = structlog.get_logger(__name__)

FORMAT_VERSION: Final = 1
"""Of both files."""
_MOST_PROGRESS_BYTES: Final = 2**20
"""A record is some hundred bytes."""
_PROGRESS_MAGIC: Final = b"GWFWPROG"
_TOTALS_MAGIC: Final = b"GWFWTOTL"
_MOST_TOTALS_BYTES: Final = 2**33
"""Totals of 268 million delta series; what says that it is longer is not read."""


class Record(msgspec.Struct, kw_only=True):
    """A position of the log and what became of the rows before it.

    rows = forwarded + sum(dropped): log rows without target_info, since the data directory was made. Rows of
    target_info are counted apart.
    """

    position: Place = LOG_START
    rows: int = 0
    forwarded: int = 0
    dropped: dict[str, int] = {}
    target_info_forwarded: int = 0
    target_info_dropped: int = 0

    def copy(self) -> Record:
        """An independent one."""
        return msgspec.structs.replace(self, dropped=dict(self.dropped))

    def add(self, step: Step) -> None:
        """Move past a finished step."""
        self.position = step.end
        self.rows += step.rows
        self.forwarded += step.forwarded
        self.target_info_forwarded += step.target_info_forwarded
        self.target_info_dropped += step.target_info_dropped
        for reason, count in step.dropped.items():
            self.dropped[reason] = self.dropped.get(reason, 0) + count


@dataclass(slots=True, eq=False)
class Step:
    """Frames that were taken together. Finished when `open_blocks` is 0."""

    end: Place
    rows: int = 0
    forwarded: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    target_info_forwarded: int = 0
    target_info_dropped: int = 0
    open_blocks: int = 0
    received: list[tuple[int, int]] = field(default_factory=list)
    """(received_ns, rows) of its frames."""
    checkpoint: TotalsCheckpoint | None = None
    """Running totals behind this step, if one was taken."""

    def drop(self, reason: str, rows: int) -> None:
        """Count rows as dropped."""
        if rows:
            self.dropped[reason] = self.dropped.get(reason, 0) + rows

    def reject(self, reason: str, rows: int, target_info_rows: int) -> None:
        """Rows that were going to be forwarded turn out to be refused for good."""
        self.forwarded -= rows
        self.target_info_forwarded -= target_info_rows
        self.target_info_dropped += target_info_rows
        self.drop(reason, rows)


@dataclass(slots=True)
class SafePoint:
    """A record and the running totals that belong to it."""

    record: Record
    totals: TotalsCheckpoint


class Progress:
    """Acked and safe. Used from one event loop; writes nothing by itself."""

    def __init__(self, acked: Record, safe: SafePoint, replay_seconds: float) -> None:
        self.acked = acked
        self.safe = safe
        self._replay_seconds = replay_seconds
        self._steps: deque[Step] = deque()
        self._candidates: deque[tuple[float, SafePoint]] = deque()

    def begin(self, step: Step) -> None:
        """Register a step, in order of the log."""
        self._steps.append(step)

    def settle(self, now: float) -> list[Step]:
        """Move acked over the finished steps at the front and return them; `now` in monotonic seconds."""
        finished = []
        while self._steps and self._steps[0].open_blocks == 0:
            step = self._steps.popleft()
            self.acked.add(step)
            if step.checkpoint is not None:
                self._candidates.append((now, SafePoint(self.acked.copy(), step.checkpoint)))
            finished.append(step)
        return finished

    def offer(self, acked_at: float, point: SafePoint) -> None:
        """A point that was acked at `acked_at`; passed over if a newer one is known."""
        if not not_beyond(point.record.position, self.newest_checkpoint):
            self._candidates.append((acked_at, point))

    @property
    def newest_checkpoint(self) -> Place:
        """Where the newest checkpoint stands that is safe or may become so."""
        return self._newest.record.position

    @property
    def newest_checkpoint_series(self) -> int:
        """How many running totals it holds."""
        return len(self._newest.totals)

    @property
    def _newest(self) -> SafePoint:
        return self._candidates[-1][1] if self._candidates else self.safe

    def confirm(self, alive_at: float) -> bool:
        """The target was the same process as ever at `alive_at` (monotonic); whether safe moved."""
        moved = False
        while self._candidates and self._candidates[0][0] <= alive_at - self._replay_seconds:
            self.safe = self._candidates.popleft()[1]
            moved = True
        return moved

    def go_back(self) -> SafePoint:
        """The target lost its memory: acked is safe again, everything under way is forgotten."""
        self._steps.clear()
        self._candidates.clear()
        self.acked = self.safe.record.copy()
        return self.safe

    def forget_steps(self) -> None:
        """Reading starts again from safe: what was under way is read again."""
        self._steps.clear()

    @property
    def steps_open(self) -> int:
        """Steps not yet acked."""
        return len(self._steps)


class _ProgressFile(msgspec.Struct, kw_only=True):
    acked: Record
    safe: Record
    target_start: float | None


class ProgressFiles:
    """The two files of one edge. Calls block."""

    def __init__(self, directory: Path, edge: int) -> None:
        self._progress = directory / f"forward-{edge}.progress"
        self._totals = directory / f"forward-{edge}.totals"

    def write_progress(self, acked: Record, safe: Record, target_start: float | None) -> None:
        """Raises OSError."""
        payload = msgspec.json.encode(_ProgressFile(acked=acked, safe=safe, target_start=target_start))
        write_checked(self._progress, _PROGRESS_MAGIC, FORMAT_VERSION, [payload])

    def write_safe(self, safe: SafePoint) -> None:
        """Raises OSError."""
        record = msgspec.json.encode(safe.record)
        parts = [len(record).to_bytes(4, "little"), record, *safe.totals.parts()]
        write_checked(self._totals, _TOTALS_MAGIC, FORMAT_VERSION, parts)

    def read(self) -> tuple[Record, SafePoint, float | None]:
        """(acked, safe, the target's start time); zeros where nothing was kept.

        A damaged file is set aside under another name, told in the log, and read as if it were not there: without the
        progress file everything behind safe is sent again; without the totals the running totals start from zero.
        """
        known = self._read_progress()
        safe = self._read_safe()
        if known is None:
            safe = safe or SafePoint(Record(), TotalsCheckpoint.empty())
            return safe.record.copy(), safe, None
        if safe is None:
            safe = SafePoint(known.safe, TotalsCheckpoint.empty())
        if not not_beyond(safe.record.position, known.acked.position):
            return safe.record.copy(), safe, None
        return known.acked, safe, known.target_start

    def _read_progress(self) -> _ProgressFile | None:
        try:
            found = read_checked(self._progress, _PROGRESS_MAGIC, FORMAT_VERSION, limit=_MOST_PROGRESS_BYTES)
            return None if found is None else msgspec.json.decode(found[1], type=_ProgressFile)
        except UnknownVersion:
            raise
        except (StateError, msgspec.MsgspecError) as error:
            _set_aside(self._progress, error)
            return None

    def _read_safe(self) -> SafePoint | None:
        try:
            found = read_checked(self._totals, _TOTALS_MAGIC, FORMAT_VERSION, limit=_MOST_TOTALS_BYTES)
            if found is None:
                return None
            content = found[1]
            end = 4 + int.from_bytes(content[:4], "little")
            return SafePoint(
                msgspec.json.decode(content[4:end], type=Record), TotalsCheckpoint.from_bytes(content[end:])
            )
        except UnknownVersion:
            raise
        except (StateError, msgspec.MsgspecError) as error:
            _set_aside(self._totals, error)
            return None


def _set_aside(path: Path, error: Exception) -> None:
    kept = path.with_name(path.name + ".damaged")
    path.rename(kept)
    log.error("a file of the forwarder is damaged and was set aside", file=str(kept), error=str(error))
