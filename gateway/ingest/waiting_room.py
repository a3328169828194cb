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
        now = self._loop.time()
        early = now < handler.told_to_wait_until
        waiter = _Waiter(declared, amount, ticket, now + (LONG if early else SHORT), self._loop.create_future())
        (self._early if early else self._patient).append(waiter)
        if self._timer is None:
            self._timer = self._loop.call_later(_LOOK, self._look)
        handler.stop_reading()
        try:
            await waiter.let_in
        except Overloaded as error:
            handler.told_to_wait_until = self._loop.time() + (error.retry_after or 0.0)
            raise
        finally:
            handler.read_again()
        if early:
            handler.told_to_wait_until = self._loop.time() + admission.retry_after

    def _look(self) -> None:
        now = self._loop.time()
        room = True
        for waiters in self._patient, self._early:
            while waiters and room:
                declared, amount, ticket, _, let_in = waiters[0]
                if not let_in.done():  # its client may have gone
                    room = self._admission.fits(declared)
                    if not room:
                        break
                    try:
                        ticket.take(amount)
                        let_in.set_result(None)
                    except Overloaded as error:  # for the tenant's own limits
                        let_in.set_exception(error)
                waiters.popleft()
            while waiters and (waiters[0].let_in.done() or waiters[0].deadline <= now):
                let_in = waiters.popleft().let_in
                if not let_in.done():
                    let_in.set_exception(self._admission.overloaded())
        waits = bool(self._patient or self._early)
        self._timer = self._loop.call_later(_LOOK, self._look) if waits else None
