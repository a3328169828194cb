"""Where HTTP requests wait while too much is in flight: in their connections, which are not read meanwhile.

To refuse a large request costs a sixth of taking it, nearly all of it in the kernel, which must receive the body before
its sender hears the answer. Where thousands are refused, little is left for those that are taken. A request whose
connection is not read costs nothing: its body stays with its sender, who is slowed down by TCP.

    fits                                                  read at once
    does not fit                                          waits SHORT seconds for room, then 429 with a wait
    does not fit, sent before the wait was over that      waits up to LONG seconds, behind all others: who takes no
    was asked for on this connection                      notice of waits is not refused again and again

Senders that keep to the waits they are told thus go before those that do not.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final, NamedTuple, TypeAlias

import structlog
from aiohttp import web

from gateway import selfmetrics
from gateway.errors import Overloaded, RetryLater, Unavailable
from gateway.ingest.admission import Admission, Ticket
from gateway.ingest.large_body import LARGE_BODY, LargeBodyHandler

_log = structlog.get_logger(__name__)

SHORT: Final = 0.1
LONG: Final = 5.0
_LOOK: Final = 0.002
"""Seconds between looks for room; a fraction of what the requests in flight take."""

_WAITING = selfmetrics.gauge(
    "ingest_waiting_requests", "HTTP requests whose connections are not read for lack of room."
)


class _Waiter(NamedTuple):
    handler: LargeBodyHandler
    early: bool
    declared: int
    amount: int
    ticket: Ticket
    deadline: float
    let_in: asyncio.Future[None]


_Waiters: TypeAlias = OrderedDict[asyncio.Future[None], _Waiter]
"""In the order in which they came. Whoever is let in, is refused or goes away is removed at once, wherever it stands:
connections that come and go would fill it otherwise."""


class WaitingRoom:
    """One for an event loop. It lets requests in as soon as `admission` has room for them."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._loop = asyncio.get_running_loop()
        self._patient: _Waiters = OrderedDict()
        self._early: _Waiters = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        _WAITING.set_function(lambda: len(self._patient) + len(self._early))

    def admits(self, declared: int, *, here: bool = False) -> bool:
        """Whether a request of `declared` bytes would be let in at once. here: see Admission.fits."""
        return self._admission.fits(declared, here=here) and (not self._patient or declared < LARGE_BODY)

    async def enter(self, request: web.BaseRequest, declared: int, amount: int, ticket: Ticket) -> None:
        """Take `amount` bytes for a request of `declared`, once there is room. Raises RetryLater."""
        admission, handler = self._admission, request.protocol
        if self.admits(declared):
            ticket.take(amount)
            return
        if not isinstance(handler, LargeBodyHandler):
            raise admission.overloaded()
        let_in = self.wait(handler, declared, amount, ticket)
        handler.stop_reading()
        try:
            await let_in
        finally:
            handler.read_again()

    def wait(self, handler: LargeBodyHandler, declared: int, amount: int, ticket: Ticket) -> asyncio.Future[None]:
        """Done once `amount` bytes are taken for the request of `declared` bytes that `handler` has; fails with
        Overloaded, and with Unavailable after an error. To be cancelled when its client goes away. `handler` is not to
        read meanwhile."""
        now = self._loop.time()
        early = now < handler.told_to_wait_until
        let_in: asyncio.Future[None] = self._loop.create_future()
        deadline = now + (LONG if early else SHORT)
        waiters = self._early if early else self._patient
        waiters[let_in] = _Waiter(handler, early, declared, amount, ticket, deadline, let_in)
        let_in.add_done_callback(lambda done: waiters.pop(done, None))
        if self._timer is None:
            self._timer = self._loop.call_later(_LOOK, self._look)
        return let_in

    def _look(self) -> None:
        try:
            self._go_through(self._loop.time())
        except Exception as error:  # noqa: BLE001  # who waits would wait for ever if this were the last look
            selfmetrics.TASK_FAILURES.labels("waiting_room").inc()
            _log.exception("a look for room failed", error=str(error))
        finally:
            waits = bool(self._patient or self._early)
            self._timer = self._loop.call_later(_LOOK, self._look) if waits else None

    def _go_through(self, now: float) -> None:
        room = True
        for waiters in self._patient, self._early:
            while room and (waiter := _first(waiters)) is not None:
                room = self._let_in(waiter, now)
                if room:
                    del waiters[waiter.let_in]
            while (waiter := _first(waiters)) is not None and waiter.deadline <= now:
                del waiters[waiter.let_in]
                _refuse(waiter, self._admission.overloaded(), now)

    def _let_in(self, waiter: _Waiter, now: float) -> bool:
        """Whether whoever waits behind may be looked at: it was let in or refused."""
        try:
            if not self._admission.fits(waiter.declared):
                return False
            waiter.ticket.take(waiter.amount)
        except Overloaded as error:  # for the tenant's own limits
            _refuse(waiter, error, now)
        except Exception as error:  # noqa: BLE001  # nobody else would look after those behind it
            selfmetrics.TASK_FAILURES.labels("waiting_room").inc()
            _log.exception("a request that waited could not be let in", error=str(error))
            _refuse(waiter, Unavailable("the request could not be handled; send it again"), now)
        else:
            if waiter.early:
                waiter.handler.told_to_wait_until = now + self._admission.retry_after
            waiter.let_in.set_result(None)
        return True


def _first(waiters: _Waiters) -> _Waiter | None:
    """Who has waited longest; those whose clients have gone just now are removed."""
    while waiters:
        let_in = next(iter(waiters))
        if not let_in.done():
            return waiters[let_in]
        del waiters[let_in]
    return None


def _refuse(waiter: _Waiter, error: RetryLater, now: float) -> None:
    waiter.handler.told_to_wait_until = now + error.retry_after
    waiter.let_in.set_exception(error)
