"""Couriers: one task per integration that takes due notifications from the outbox and hands them to the channel.

Each integration has its own courier and its own bound on what is under way, so a receiver that hangs holds up only
itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from gateway.alerting.engine import Engine
from gateway.alerting.moments import SECOND
from gateway.alerting.notification import Again, Channel, Delivered, Outcome
from gateway.alerting.outbox import Slot
from gateway.clock import Clock
from gateway.errors import RetryLater
from gateway.owned_tasks import end_tasks
from gateway.selfmetrics import TASK_FAILURES, counter, gauge, histogram

LONGEST_WAIT = 1.0
"""Seconds after which the clock is looked at again even if nothing is due: the wall clock may have been stepped."""

_SENT = counter("alerting_notifications", "Delivery attempts by integration kind and result.", ["kind", "result"])
_LAG = histogram(
    "alerting_notification_lag_seconds",
    "From the moment a notification is due to its delivery.",
    ["kind"],
    (0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 300, 1800),
)
_PENDING = gauge("alerting_notifications_pending", "Notifications due and not yet delivered.", ["kind"])
_log = structlog.get_logger(__name__)


class Courier:
    """The courier of one integration. `commit` makes everything durable; `done` is called after every attempt."""

    def __init__(
        self,
        key: str,
        channel: Channel,
        engine: Engine,
        clock: Clock,
        timeout: float,
        *,
        commit: Callable[[], Awaitable[None]],
        done: Callable[[], None],
    ) -> None:
        self.key, self.channel = key, channel
        self.kind = key.rsplit("/", 2)[1]
        self._engine, self._clock, self._timeout, self._done = engine, clock, timeout, done
        self._commit = commit
        self._wake = asyncio.Event()
        self._attempts: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """There may be something to send."""
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled; attempts under way are then cancelled and awaited."""
        try:
            while True:
                now = self._clock.time_ns()
                slot = None
                if len(self._attempts) < self.channel.concurrency:
                    slot = self._engine.outbox.take(self.key, now)
                if slot is not None:
                    task = asyncio.create_task(self._attempt(slot), name=f"deliver {self.key}")
                    self._attempts.add(task)
                    task.add_done_callback(self._attempts.discard)
                    task.add_done_callback(lambda _: self._wake.set())
                    await asyncio.sleep(0)
                    continue
                _PENDING.labels(self.kind).set(len(self._engine.outbox.pending(self.key)))
                due = self._engine.outbox.next_due(self.key)
                full = len(self._attempts) >= self.channel.concurrency
                wait = LONGEST_WAIT if due is None or full else min(max((due - now) / SECOND, 0.001), LONGEST_WAIT)
                try:
                    async with asyncio.timeout(wait):
                        await self._wake.wait()
                except TimeoutError:
                    pass
                self._wake.clear()
        finally:
            await end_tasks(*self._attempts)

    async def _attempt(self, slot: Slot) -> None:
        outcome: Outcome
        try:
            # What is about to be told must be on disk first: after a crash it decides whether an end is owed.
            await self._commit()
            async with asyncio.timeout(self._timeout):
                outcome = await self.channel.send(slot.notification)
        except RetryLater as error:
            outcome = Again(f"the alert store is not ready: {error}")
        except TimeoutError:
            outcome = Again(f"no answer within {self._timeout:g} s", uncertain=True)
        except asyncio.CancelledError:
            # Not known whether it arrived: the record stays in the outbox and is decided anew.
            self._engine.dispatcher.interrupted(slot, self._clock.time_ns())
            raise
        except Exception as error:  # noqa: BLE001 - outermost edge of the task
            TASK_FAILURES.labels("alert delivery").inc()
            _log.error("a delivery failed unexpectedly", integration=self.key, error=repr(error), exc_info=True)
            outcome = Again(f"internal error: {type(error).__name__}", uncertain=True)
        now = self._clock.time_ns()
        result = type(outcome).__name__.lower()
        _SENT.labels(self.kind, result).inc()
        if isinstance(outcome, Delivered):
            _LAG.labels(self.kind).observe(max(now - slot.created, 0) / SECOND)
        else:
            _log.warning("a notification was not delivered", integration=self.key, result=result, reason=outcome.reason)
        try:
            self._engine.dispatcher.finish(slot, outcome, now)
        except Exception as error:  # noqa: BLE001 - outermost edge of the task; the next flush decides anew
            TASK_FAILURES.labels("alert delivery").inc()
            _log.error("an outcome could not be noted", integration=self.key, error=repr(error), exc_info=True)
        self._done()
