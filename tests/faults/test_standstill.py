"""A part of the pipeline that hangs: what the status, readiness and the supervisor are told."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from pathlib import Path

from gateway.clock import ManualClock
from gateway.pipeline.committer import Committer
from gateway.series.edge_table import EdgeTable
from tests.faults.plane import running_plane, send, settled


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


def hang(held: object, name: str) -> tuple[threading.Event, threading.Event]:
    """Calls of `held.name` stand still until the second event is set; the first one says that one does."""
    hangs, goes_on = threading.Event(), threading.Event()
    real = getattr(held, name)

    def instead(*arguments: object, **named: object) -> object:
        hangs.set()
        goes_on.wait(60.0)
        return real(*arguments, **named)

    setattr(held, name, instead)
    return hangs, goes_on


async def test_a_scorer_that_hangs_is_told_of_and_named_while_the_gateway_takes_what_comes(tmp_path: Path) -> None:
    async with running_plane(tmp_path) as plane:
        assert plane.waits_for() is None
        hangs, goes_on = hang(plane.baseline, "observe")
        await send(plane, 0, 1)
        await until(hangs.is_set)
        await until(lambda: "scoring has stood still" in plane.problem())
        assert plane.waits_for() == plane._scorer.thread_id
        assert plane.ready() == "", "the log takes what comes"
        await send(plane, 1, 1)
        goes_on.set()
        await until(lambda: plane.problem() == "")
        assert plane.waits_for() is None
        assert (await settled(plane))["scored_points"] == 2


async def test_a_log_writer_that_hangs_is_told_of_named_and_not_ready(tmp_path: Path) -> None:
    async with running_plane(tmp_path) as plane:
        hangs, goes_on = hang(plane._writer, "prepare")
        sent = asyncio.create_task(send(plane, 0, 1))
        await until(hangs.is_set)
        await until(lambda: plane.waits_for() is not None)
        assert plane.waits_for() == plane.committer.thread_id
        await until(lambda: "the log has not answered" in plane.ready())
        goes_on.set()
        await sent
        await until(lambda: plane.ready() == "")
        assert plane.problem() == ""


async def test_requests_that_no_thread_fetches_count_as_a_log_that_does_not_answer(tmp_path: Path) -> None:
    async with running_plane(tmp_path) as plane:
        clock = ManualClock()
        plane.committer.stop()
        plane.committer = Committer(plane._writer, EdgeTable(10), clock, lambda frame: None)
        sent = asyncio.create_task(send(plane, 0, 1))
        await asyncio.sleep(0)
        assert plane.committer.busy_seconds == 0.0
        clock.advance(5.0)
        assert plane.committer.busy_seconds == 5.0
        plane.committer.start()
        await sent
        await send(plane, 1, 1)
        await until(lambda: plane.committer.busy_seconds == 0.0)
