"""When the forwarder's progress is written, and what becomes of a write that fails."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from gateway.clock import ManualClock
from gateway.errors import UnknownVersion
from gateway.forward.progress import FORMAT_VERSION, ProgressFiles, Record, SafePoint
from gateway.forward.progress_keeper import ProgressKeeper
from gateway.forward.running_totals import TotalsCheckpoint
from gateway.forward.settings import VictoriaMetricsSettings
from gateway.selfmetrics import TASK_FAILURES
from gateway.settings_types import Duration
from gateway.telemetry.frame import LogPosition, Place
from gateway.telemetry.state_file import write_checked

T = TypeVar("T")


class Stage:
    """A keeper over real files on a disk that may be full; its clock goes on when it sleeps."""

    def __init__(self, directory: Path) -> None:
        self.clock = ManualClock()
        self.files = ProgressFiles(directory, 0)
        self.full = False
        self.released: list[Place] = []
        self.sleeps: list[float] = []
        self.keeper = self.again()

    def again(self) -> ProgressKeeper:
        """As after a restart."""
        settings = VictoriaMetricsSettings(commit_interval=Duration(1.0), checkpoint_interval=Duration(5.0))
        return ProgressKeeper(
            self.files, settings, self.clock, in_disk=self._in_disk, safe_written=self.released.append
        )

    async def _in_disk(self, call: Callable[[], T]) -> T:
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return call()

    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        self.clock.advance(seconds)

    def ack(self, rows: int) -> None:
        acked = self.keeper.progress.acked
        acked.rows += rows
        acked.forwarded += rows
        acked.position = LogPosition(1, acked.rows)

    def make_safe(self, series: int = 0) -> None:
        """What is acked is safe, with so many totals."""
        empty = TotalsCheckpoint.empty()
        totals = TotalsCheckpoint(
            empty.hash_key,
            np.arange(series, dtype=np.uint64),
            np.zeros(series, np.uint64),
            np.zeros(series),
            np.zeros(series, np.int64),
        )
        self.keeper.progress.safe = SafePoint(self.keeper.progress.acked.copy(), totals)

    def kept(self) -> tuple[int, int]:
        """Rows acked and rows safe, as the files have them."""
        acked, safe, _ = self.files.read()
        return acked.rows, safe.record.rows


@pytest.fixture
async def stage(tmp_path: Path) -> Stage:
    stage = Stage(tmp_path)
    await stage.keeper.load()
    return stage


async def test_a_restart_finds_what_was_written(stage: Stage) -> None:
    stage.ack(7)
    stage.make_safe()
    stage.ack(2)
    stage.keeper.target_start = 17.0
    assert await stage.keeper.commit() is None
    assert stage.released == [LogPosition(1, 7)]
    again = stage.again()
    await again.load()
    assert (again.progress.acked.rows, again.progress.safe.record.rows, again.target_start) == (9, 7, 17.0)


async def test_a_write_that_fails_is_returned_and_counted_and_made_up_for(stage: Stage) -> None:
    failures = TASK_FAILURES.labels("forward_commit")._value.get()
    stage.ack(7)
    stage.make_safe()
    stage.full = True
    error = await stage.keeper.commit()
    assert error is not None
    assert error.errno == errno.ENOSPC
    assert TASK_FAILURES.labels("forward_commit")._value.get() == failures + 1
    assert stage.released == [], "the log must keep what is not known to be safe"
    stage.full = False
    assert stage.kept() == (0, 0)
    assert await stage.keeper.commit() is None
    assert stage.kept() == (7, 0), "the safe position has its own time"
    assert stage.released == []
    stage.clock.advance(5.0)
    assert await stage.keeper.commit() is None
    assert stage.kept() == (7, 7)
    assert stage.released == [LogPosition(1, 7)]


async def test_the_last_commit_waits_for_no_interval(stage: Stage) -> None:
    for rows in (1, 2):
        stage.ack(1)
        stage.make_safe()
        assert await stage.keeper.commit(last=rows == 2) is None
        assert stage.kept() == (rows, rows)


async def test_nothing_is_written_where_nothing_changed(stage: Stage) -> None:
    stage.ack(1)
    assert await stage.keeper.commit() is None
    stage.full = True
    assert await stage.keeper.commit() is None


@pytest.mark.parametrize(
    ("series", "copied_every", "written_every"), [(10, 1.0, 5.0), (100_000, 3.2, 5.0), (400_000, 12.8, 12.8)]
)
async def test_checkpoints_of_many_totals_are_taken_and_written_less_often(
    stage: Stage, series: int, copied_every: float, written_every: float
) -> None:
    stage.ack(1)
    stage.make_safe(series)
    assert stage.keeper.checkpoint_is_due()
    stage.keeper.note_checkpoint()
    assert await stage.keeper.commit() is None
    stage.ack(1)
    stage.make_safe(series)
    stage.clock.advance(copied_every - 0.01)
    assert not stage.keeper.checkpoint_is_due()
    stage.clock.advance(0.02)
    assert stage.keeper.checkpoint_is_due()
    stage.clock.advance(written_every - copied_every - 0.02)
    await stage.keeper.commit()
    assert stage.kept() == (2, 1)
    stage.clock.advance(0.02)
    await stage.keeper.commit()
    assert stage.kept() == (2, 2)


async def test_a_commit_is_due_after_its_interval_or_after_many_rows(stage: Stage) -> None:
    await stage.keeper.until_commit_is_due(stage.sleep)
    assert sum(stage.sleeps) == pytest.approx(1.0)
    stage.sleeps.clear()
    stage.ack(5_000)
    await stage.keeper.until_commit_is_due(stage.sleep)
    assert stage.sleeps == []
    await stage.keeper.commit()
    await stage.keeper.until_commit_is_due(stage.sleep)
    assert sum(stage.sleeps) == pytest.approx(1.0), "rows count from what is written"


async def test_what_a_newer_program_wrote_is_refused(tmp_path: Path) -> None:
    write_checked(tmp_path / "forward-0.progress", b"GWFWPROG", FORMAT_VERSION + 1, [b"{}"])
    with pytest.raises(UnknownVersion, match="newer gateway"):
        await Stage(tmp_path).keeper.load()


async def test_a_file_that_cannot_be_read_ends_the_load_and_not_what_is_in_it(stage: Stage) -> None:
    keeper = stage.again()
    stage.full = True
    with pytest.raises(OSError, match="No space"):
        await keeper.load()
    stage.full = False
    stage.ack(3)
    await stage.keeper.commit()
    await keeper.load()
    assert keeper.progress.acked.rows == 3
    assert keeper.progress.acked != Record()
