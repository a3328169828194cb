"""Ending tasks: whose cancellation is whose, and what becomes of a task's failure."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from structlog.testing import capture_logs

from gateway import selfmetrics
from gateway.owned_tasks import cancel_tasks, end_tasks


async def _forever() -> None:
    await asyncio.Event().wait()


async def _fail() -> None:
    raise ValueError("broken")


def _counted(name: str) -> float:
    return selfmetrics.TASK_FAILURES.labels(name)._value.get()


@pytest.fixture
def said() -> Iterator[list[Any]]:
    with capture_logs() as lines:
        yield lines


@pytest.mark.parametrize("end", [cancel_tasks, end_tasks])
async def test_a_running_task_has_ended_when_the_call_returns(end: Any, said: list[Any]) -> None:
    cleaned_up = asyncio.Event()

    async def with_clean_up() -> None:
        try:
            await _forever()
        finally:
            await asyncio.sleep(0)
            cleaned_up.set()

    first, second = asyncio.create_task(with_clean_up()), asyncio.create_task(_forever())
    await asyncio.sleep(0)
    assert not await end(first, None, second)
    assert cleaned_up.is_set()
    assert first.cancelled()
    assert second.cancelled()
    assert not said


@pytest.mark.parametrize("end", [cancel_tasks, end_tasks])
async def test_nothing_and_what_is_over_are_ended_too(end: Any, said: list[Any]) -> None:
    done, cancelled = asyncio.create_task(asyncio.sleep(0, "result")), asyncio.create_task(_forever())
    cancelled.cancel()
    await asyncio.wait({done, cancelled})
    for _ in range(2):
        assert not await end(done, cancelled)
    assert not await end()
    assert not await end(None)
    assert await done == "result"
    assert not said


async def test_failures_are_returned_in_order() -> None:
    async def fail_in_clean_up() -> None:
        try:
            await _forever()
        finally:
            raise OSError("disk")

    tasks = [asyncio.create_task(fail_in_clean_up()), asyncio.create_task(_forever()), asyncio.create_task(_fail())]
    await asyncio.wait({tasks[2]})
    assert [repr(failure) for failure in await cancel_tasks(*tasks)] == ["OSError('disk')", "ValueError('broken')"]


async def test_a_failure_is_logged_and_counted_and_keeps_no_other_from_ending(said: list[Any]) -> None:
    failing, running = asyncio.create_task(_fail(), name="failing"), asyncio.create_task(_forever(), name="running")
    await asyncio.wait({failing})
    before = _counted("failing")
    await end_tasks(failing, running)
    assert running.cancelled()
    assert _counted("failing") == before + 1
    assert [(line["task"], line["error"]) for line in said] == [("failing", "ValueError('broken')")]
    assert said[0]["exc_info"] is failing.exception()


async def test_a_failure_is_told_of_although_the_caller_is_cancelled_meanwhile(said: list[Any]) -> None:
    cleaning_up = asyncio.Event()

    async def with_long_clean_up() -> None:
        try:
            await _forever()
        finally:
            cleaning_up.set()
            await _forever()

    failing = asyncio.create_task(_fail(), name="failing")
    running = asyncio.create_task(with_long_clean_up(), name="running")
    await asyncio.wait({failing})
    caller = asyncio.create_task(end_tasks(running, failing))
    await cleaning_up.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert [line["task"] for line in said] == ["failing"]


@pytest.mark.parametrize("end", [cancel_tasks, end_tasks])
async def test_the_callers_own_cancellation_is_its_own(end: Any) -> None:
    """It is raised, though not before the tasks are over, and cuts their clean-up off."""
    cleaning_up, cut_off = asyncio.Event(), asyncio.Event()

    async def with_long_clean_up() -> None:
        try:
            await _forever()
        finally:
            cleaning_up.set()
            try:
                await _forever()
            finally:
                cut_off.set()

    task = asyncio.create_task(with_long_clean_up())
    await asyncio.sleep(0)
    caller = asyncio.create_task(end(task))
    await cleaning_up.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert caller.cancelled()
    assert cut_off.is_set()
    assert task.cancelled()


def test_the_supervisor_does_not_load_the_library_of_metrics() -> None:
    asked = "import sys, gateway.supervision; sys.exit('prometheus_client' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", asked], check=False).returncode == 0
