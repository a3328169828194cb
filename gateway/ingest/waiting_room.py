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
from collections import deque
from typing import Final, NamedTuple

from aiohttp import web

from gateway import selfmetrics
from gateway.errors import Overloaded
from gateway.ingest.admission import Admission, Ticket
from gateway.ingest.large_body import LARGE_BODY, LargeBodyHandler

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


class WaitingRoom:
    """One for an event loop. It lets requests in as soon as `admission` has room for them."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._loop = asyncio.get_running_loop()
        self._patient: deque[_Waiter] = deque()
        self._early: deque[_Waiter] = deque()
        self._timer: asyncio.TimerHandle | None = None
        _WAITING.set_function(lambda: len(self._patient) + len(self._early))

    def admits(self, declared: int, *, here: bool = False) -> bool:
        """Whether a request of `declared` bytes would be let in at once. here: see Admission.fits."""
        return self._admission.fits(declared, here=here) and (not self._patient or declared < LARGE_BODY)

    async def enter(self, request: web.BaseRequest, declared: int, amount: int, ticket: Ticket) -> None:
        """Take `amount` bytes for a request of `declared`, once there is room. Raises Overloaded."""
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
        Overloaded. To be cancelled when its client goes away. `handler` is not to read meanwhile."""
        now = self._loop.time()
        early = now < handler.told_to_wait_until
        let_in: asyncio.Future[None] = self._loop.create_future()
        deadline = now + (LONG if early else SHORT)
        waiters = self._early if early else self._patient
        waiters.append(_Waiter(handler, early, declared, amount, ticket, deadline, let_in))
        if self._timer is None:
            self._timer = self._loop.call_later(_LOOK, self._look)
        return let_in

    def _look(self) -> None:
        now = self._loop.time()
        room = True
        for waiters in self._patient, self._early:
            while waiters and room:
                if not waiters[0].let_in.done():  # its client may have gone
                    room = self._admission.fits(waiters[0].declared)
                    if not room:
                        break
                    self._let_in(waiters[0], now)
                waiters.popleft()
            while waiters and (waiters[0].let_in.done() or waiters[0].deadline <= now):
                waiter = waiters.popleft()
                if not waiter.let_in.done():
                    _refuse(waiter, self._admission.overloaded(), now)
        waits = bool(self._patient or self._early)
        self._timer = self._loop.call_later(_LOOK, self._look) if waits else None

    def _let_in(self, waiter: _Waiter, now: float) -> None:
        try:
            waiter.ticket.take(waiter.amount)
        except Overloaded as error:  # for the tenant's own limits
            _refuse(waiter, error, now)
            return
        if waiter.early:
            waiter.handler.told_to_wait_until = now + self._admission.retry_after
        waiter.let_in.set_result(None)


def _refuse(waiter: _Waiter, error: Overloaded, now: float) -> None:
    waiter.handler.told_to_wait_until = now + (error.retry_after or 0.0)
    waiter.let_in.set_exception(error)
