"""How whoever started asyncio tasks ends them: all are cancelled, and none outlives the call."""

from __future__ import annotations

import asyncio
from typing import Any

import structlog

log = structlog.get_logger(__name__)


async def cancel_tasks(*tasks: asyncio.Task[Any] | None) -> list[Exception]:
    """Cancel the tasks (None: was never started) and wait until each has ended.

    Returns what they failed with, before or after they were cancelled, in the order given: for owners that pass it on.
    Others call `end_tasks`. Raises CancelledError if the caller is cancelled meanwhile, and only once all have ended:
    they are cancelled again then, so that a limit on the time of a stop holds for their clean-up too.
    """
    owned = [task for task in tasks if task is not None]
    for task in owned:
        task.cancel()
    # `with suppress(CancelledError): await task` would take the caller's own cancellation for the task's.
    results = await asyncio.gather(*owned, return_exceptions=True)
    return [result for result in results if isinstance(result, Exception)]


async def end_tasks(*tasks: asyncio.Task[Any] | None) -> None:
    """As `cancel_tasks`, but failures are logged, and counted by the tasks' names, which are of a bounded set."""
    try:
        await cancel_tasks(*tasks)
    finally:  # a caller that is cancelled meanwhile is no reason to pass over what they failed with
        for task in tasks:
            if task is not None and task.done():
                _tell_failure(task)


def _tell_failure(task: asyncio.Task[Any]) -> None:
    """Of one that has ended."""
    failure = None if task.cancelled() else task.exception()
    if failure is not None:
        # Imported only now: the supervisor ends tasks as well, and does without the library of metrics.
        from gateway.selfmetrics import TASK_FAILURES

        TASK_FAILURES.labels(task.get_name()).inc()
        log.error("a task had failed", task=task.get_name(), error=repr(failure), exc_info=failure)
