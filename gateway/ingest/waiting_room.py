"""Where HTTP requests wait while too much is in flight: in their connections, which are not read meanwhile.

To refuse a large request costs a sixth of taking it, nearly all of it in the kernel, which must receive the body before
its sender hears the answer. Where thousands are refused, little is left for those that are taken. A request whose
connection is not read costs nothing: its body stays with its sender, who is slowed down by TCP.

    fits                                                  read at once
    does not fit                                          waits SHORT seconds for room, then 429 with a wait
    does not fit, sent before the wait was over that      waits up to LONG seconds, behind all others: who takes no
    was asked for on this connection                      notice of waits is not refused again and again

Senders that keep to the waits they are told thus go before those that do not.

Who goes away meanwhile is noticed (`departures.py`) and takes no room. What was read of those who wait is bounded: who
does not fit into that bound is refused at once. When the receiver stops, all who wait are told to come again.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from functools import partial
from typing import Final, NamedTuple, TypeAlias

import structlog
from aiohttp import web

from gateway import selfmetrics
from gateway.errors import GatewayError, Overloaded, RequestError, RetryLater, ShuttingDown, Unavailable
from gateway.ingest.admission import Admission, Ticket
from gateway.ingest.departures import Departures, descriptor
from gateway.ingest.large_body import LARGE_BODY, LargeBodyHandler

_log = structlog.get_logger(__name__)

SHORT: Final = 0.1
LONG: Final = 5.0
_LOOK: Final = 0.002
"""Seconds between looks for room; a fraction of what the requests in flight take."""

_WAITING = selfmetrics.gauge(
    "ingest_waiting_requests", "HTTP requests whose connections are not read for lack of room."
)
_HELD = selfmetrics.gauge(
    "ingest_waiting_bytes", "Bytes read of HTTP requests that wait; at most the limit of bytes in flight again."
)
_GONE = selfmetrics.counter("ingest_waiting_gone", "HTTP requests whose clients went away while they waited for room.")


class _Waiter(NamedTuple):
    handler: LargeBodyHandler
    early: bool
    declared: int
    amount: int
    held: int
    ticket: Ticket
    deadline: float
    socket: int
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
        self._departures = Departures()
        self._sockets: dict[int, _Waiter] = {}
        self._held = 0
        self._closed = False
        _HELD.set_function(lambda: self._held)
        _WAITING.set_function(lambda: len(self._patient) + len(self._early))

    def admits(self, declared: int, *, here: bool = False) -> bool:
        """Whether a request of `declared` bytes would be let in at once. here: see Admission.fits."""
        return self._admission.fits(declared, here=here) and (not self._patient or declared < LARGE_BODY)

    @property
    def crowded(self) -> bool:
        """Whether anybody waits."""
        return bool(self._patient or self._early)

    async def enter(self, request: web.BaseRequest, declared: int, amount: int, ticket: Ticket) -> bool:
        """Take `amount` bytes for a request of `declared`, once there is room; whether it had to wait for it. Raises
        RetryLater, and RequestError when its client goes away."""
        handler = request.protocol
        if self.admits(declared):
            ticket.take(amount)
            return False
        if not isinstance(handler, LargeBodyHandler):
            raise self._admission.overloaded()
        if not handler.connected:  # there is no socket to notice it by
            raise RequestError("the client went away", reason="cut_off")
        held = handler.held or request.content.total_bytes
        refusal = self.refusal(handler, held)
        if refusal is not None:
            raise refusal
        let_in = self.wait(handler, declared, amount, ticket, held)
        handler.stop_reading()
        try:
            await let_in
        finally:
            handler.read_again()
        return True

    def refusal(self, handler: LargeBodyHandler, held: int) -> RetryLater | None:
        """Why a request of which `held` bytes were read cannot wait here; None if it can."""
        if self._closed:
            return _stopping()
        if self._held + held <= self._admission.max_bytes:
            return None
        error = self._admission.overloaded()
        handler.told_to_wait_until = self._loop.time() + error.retry_after
        return error

    def wait(
        self, handler: LargeBodyHandler, declared: int, amount: int, ticket: Ticket, held: int
    ) -> asyncio.Future[None]:
        """Done once `amount` bytes are taken for the request of `declared` bytes that `handler` has; fails with
        Overloaded, with Unavailable after an error or when the receiver stops, and with RequestError when its client
        went away, whose connection is aborted then. To be cancelled when the connection is lost. `handler` is not to
        read meanwhile, and was not refused for the `held` bytes that it read."""
        now = self._loop.time()
        early = now < handler.told_to_wait_until
        let_in: asyncio.Future[None] = self._loop.create_future()
        deadline = now + (LONG if early else SHORT)
        number = descriptor(handler.transport)
        waiter = _Waiter(handler, early, declared, amount, held, ticket, deadline, number, let_in)
        self._held += held
        self._waiters_of(waiter)[let_in] = waiter
        if number >= 0:
            self._departures.watch(number)
            self._sockets[number] = waiter
        handler.departed = partial(self._depart, waiter)  # TLS goes on reading, and may close by itself
        let_in.add_done_callback(lambda _: self._remove(waiter))
        if self._timer is None:
            self._timer = self._loop.call_later(_LOOK, self._look)
        return let_in

    def close(self) -> None:
        """Whoever waits, or would have to wait from now on, is told that the gateway stops."""
        self._closed = True
        for waiter in (*self._patient.values(), *self._early.values()):
            self._end(waiter, _stopping())

    def _waiters_of(self, waiter: _Waiter) -> _Waiters:
        return self._early if waiter.early else self._patient

    def _remove(self, waiter: _Waiter) -> None:
        """It does not wait any more; harmless when repeated."""
        if self._waiters_of(waiter).pop(waiter.let_in, None) is None:
            return
        self._held -= waiter.held
        waiter.handler.departed = None
        if self._sockets.get(waiter.socket) is waiter:  # else it was closed, and another connection has its number
            del self._sockets[waiter.socket]
            self._departures.forget(waiter.socket)

    def _end(self, waiter: _Waiter, error: GatewayError | None) -> None:
        """It is let in, or not."""
        self._remove(waiter)
        if waiter.let_in.done():
            return  # its connection was lost just now
        if error is None:
            waiter.let_in.set_result(None)
        else:
            waiter.let_in.set_exception(error)

    def _look(self) -> None:
        try:
            self._go_through(self._loop.time())
        except Exception as error:  # noqa: BLE001  # who waits would wait for ever if this were the last look
            selfmetrics.TASK_FAILURES.labels("waiting_room").inc()
            _log.exception("a look for room failed", error=str(error))
        finally:
            self._timer = self._loop.call_later(_LOOK, self._look) if self.crowded else None

    def _go_through(self, now: float) -> None:
        self._see_off()
        room = True
        for waiters in self._patient, self._early:
            while room and (waiter := self._first(waiters)) is not None:
                room = self._let_in(waiter, now)
            while (waiter := self._first(waiters)) is not None and waiter.deadline <= now:
                self._refuse(waiter, self._admission.overloaded(), now)

    def _see_off(self) -> None:
        """Those whose clients have gone."""
        for number in self._departures.look():
            waiter = self._sockets[number]
            if waiter.handler.transport is not None:
                waiter.handler.transport.abort()  # before its wait ends: nothing is to be read or answered then
            self._depart(waiter)

    def _depart(self, waiter: _Waiter) -> None:
        """Its client has gone."""
        if not waiter.let_in.done():
            _GONE.inc()
            self._end(waiter, RequestError("the client went away", reason="cut_off"))

    def _first(self, waiters: _Waiters) -> _Waiter | None:
        """Who has waited longest; those whose connections were lost just now are removed."""
        while waiters:
            waiter = next(iter(waiters.values()))
            if not waiter.let_in.done():
                return waiter
            self._remove(waiter)
        return None

    def _let_in(self, waiter: _Waiter, now: float) -> bool:
        """Whether whoever waits behind may be looked at: it was let in or refused."""
        try:
            if not self._admission.fits(waiter.declared):
                return False
            waiter.ticket.take(waiter.amount)
        except Overloaded as error:  # for the tenant's own limits
            self._refuse(waiter, error, now)
        except Exception as error:  # noqa: BLE001  # nobody else would look after those behind it
            selfmetrics.TASK_FAILURES.labels("waiting_room").inc()
            _log.exception("a request that waited could not be let in", error=str(error))
            self._refuse(waiter, Unavailable("the request could not be handled; send it again"), now)
        else:
            if waiter.early:
                waiter.handler.told_to_wait_until = now + self._admission.retry_after
            self._end(waiter, None)
        return True

    def _refuse(self, waiter: _Waiter, error: RetryLater, now: float) -> None:
        waiter.handler.told_to_wait_until = now + error.retry_after
        self._end(waiter, error)


def _stopping() -> ShuttingDown:
    return ShuttingDown("the gateway is stopping; send it again")
