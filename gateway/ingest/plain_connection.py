"""Connections whose plain requests do not go through aiohttp's parser, tasks and responses.

A request is taken when the connection is at rest and its head, which is here whole, is plain. Whatever else
comes is given to aiohttp byte for byte from the head's first byte on, and so is everything behind it on this
connection, until a large body has left a fresh parser behind. One request of a connection is under way at a time:
bytes behind it wait, at most one reading of the transport of them.

    at rest  →  (waiting for room, without being read)  →  receiving  →  waiting for the group's answer  →  at rest

While requests wait for room, so little is read of the next one that many can wait: no more than a small body with its
head. Those whose clients have gone before their body was whole are dropped if they had waited: nobody hears the answer,
and their senders send it again.

The pieces of a small body are kept as they come; a large one is received straight into its memory, as in large_body.py.

Limits are those of the usual way: bytes in flight (admission), time for the body, time without a request, shutdown
that lets a request in progress finish. TLS connections take the usual way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import numpy as np
from aiohttp import web

from gateway.errors import GatewayError
from gateway.ingest.departures import has_left
from gateway.ingest.http_exchange import RESERVE
from gateway.ingest.large_body import LARGE_BODY, SCRAP, BodyReceiver, LargeBodyHandler, take_nothing
from gateway.ingest.request_head import Heads
from gateway.ingest.small_requests import LONGEST_HEAD, Identify, SmallRequest, SmallRequests

_IN_PIECES: Final = 512 * 1024
"""Bytes up to which a body is kept in the pieces in which it comes, two or three mostly. They are put together when a
group is, so that to have the transport fill a body in would copy what came with the head once more."""
_PIPELINED: Final = 64 * 1024
"""Bytes behind a request at which the transport is stopped until it is answered."""


class PlainConnection(LargeBodyHandler):
    """aiohttp's connection handler, with a shorter way for plain requests."""

    __slots__ = (
        "_behind",
        "_behind_at",
        "_frugal",
        "_heads",
        "_held_up",
        "_identify",
        "_let_in",
        "_quick",
        "_quick_done",
        "_small",
        "_usual",
        "address",
    )

    def __init__(
        self, manager: web.Server, small: SmallRequests, heads: Heads, identify: Identify, **options: Any
    ) -> None:
        super().__init__(manager, **options)
        self._small, self._heads, self._identify = small, heads, identify
        self._quick: SmallRequest | None = None
        """The request under way that aiohttp does not know of."""
        self._quick_done: asyncio.Future[None] | None = None
        self._let_in: asyncio.Future[None] | None = None
        """Done when there is room for the request under way; None unless it waits for that."""
        self._behind, self._behind_at = b"", 0
        """What came behind the request under way, from a place on."""
        self._held_up = False
        """Whether the transport was told to stop reading, or the client does not read its answers."""
        self._usual = False
        """Whether aiohttp's parser has seen bytes and must see those that follow."""
        self._frugal = False
        """Whether the transport reads at most a small body with its head at a time."""
        self.address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        super().connection_made(transport)
        self._usual = transport.get_extra_info("sslcontext") is not None
        if self._small.exchange.waiting_room.crowded and not self._usual and self.transport is not None:
            self._frugal = True
            self.transport.set_protocol(FrugalReader(self, self._small.frugal_space))  # it does not read yet
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) and peer else ""

    def data_received(self, data: bytes) -> None:
        """What the transport read."""
        if self._usual:
            super().data_received(data)
            return
        request = self._quick
        if request is None:
            self._begin(data, 0)
        elif request.left:
            size = len(data)
            if size <= request.left:
                request.take(data)
            else:
                left = request.left
                request.take(memoryview(data)[:left])
                self._wait_behind(data, left)
            if not request.left:
                self._small.end(request)
                self._complete(request)
        else:
            self._wait_behind(data, 0)

    def _begin(self, data: bytes, at: int) -> None:
        """A request begins at `at`."""
        if self._force_close or self._close or self._take(data, at):
            return
        self._usual = True
        self._read_frugally(False)
        self._read_on()
        super().data_received(data[at:])

    def _take(self, data: bytes, at: int) -> bool:
        """Begin a request; whether it is one for this way."""
        end = data.find(b"\r\n\r\n", at, at + LONGEST_HEAD) + 4
        if end == 3:
            return False
        head = self._heads.read(data[at:end])
        small = self._small
        if head is None or head.length > small.exchange.settings.max_request_bytes:
            return False
        waiter = self._waiter
        if self._request_count and (self._messages or self._request_in_progress or (waiter is None or waiter.done())):
            return False
        tenant = self._identify(head.authorization)
        if tenant is None:
            return False
        exchange = small.exchange
        request = SmallRequest(self, head, exchange.clock.time_ns(), tenant, exchange.admission.ticket(tenant))
        self._quick = request
        self._request_count += 1
        reserved = min(head.length, RESERVE)
        request.ticket.here = whole = head.length < LARGE_BODY and len(data) - end >= head.length
        room = exchange.waiting_room
        if room.admits(head.length, here=whole):
            try:
                request.ticket.take(reserved)
            except GatewayError as error:
                request.error = error  # said when the body is here, which is not kept
            self._receive(request, reserved, data, end)
        elif (refusal := room.refusal(self, len(data))) is not None:
            request.error = refusal
            self._receive(request, reserved, data, end)
        else:
            request.waited = True
            self._stop_reading()
            self._let_in = room.wait(self, head.length, reserved, request.ticket, len(data))
            self._let_in.add_done_callback(partial(self._waited, request, reserved, data, end))
        return True

    def _waited(self, request: SmallRequest, reserved: int, data: bytes, at: int, let_in: asyncio.Future[None]) -> None:
        """There is room for a request that waited for it, or its wait is over."""
        if let_in.cancelled():
            return  # its client has gone away
        error = let_in.exception()
        assert error is None or isinstance(error, GatewayError)
        if self._quick is not request:
            return  # it has gone away just now
        self._let_in = None
        request.error = error
        request.received_ns = self._small.exchange.clock.time_ns()
        self._receive(request, reserved, data, at)

    def _receive(self, request: SmallRequest, reserved: int, data: bytes, at: int) -> None:
        """Take the body of the request, which begins at `at`; so many bytes of it are `reserved`."""
        small, length = self._small, request.head.length
        here = len(data) - at
        if here == length:
            request.take(memoryview(data)[at:])
            small.add(request)
        elif here > length:
            request.take(data[at : at + length])  # a copy, so that the rest is not kept with it
            self._wait_behind(data, at + length)
            small.add(request)
        elif length > _IN_PIECES and self.transport is not None:
            self._read_frugally(False)
            self._read_on()
            small.begin(request)
            if request.error is None:
                body = memoryview(np.empty(length, np.uint8))  # type: ignore[arg-type]
                taker, size = request.ticket.take, reserved
            else:
                body, taker, size = SCRAP, take_nothing, length
            PlainReceiver(self, self.transport, request, body, size, taker).begin(memoryview(data)[at:])
        else:
            if here:
                request.take(memoryview(data)[at:])
            self._read_frugally(False)
            self._read_on()
            small.begin(request)

    def body_received(self, request: SmallRequest, body: memoryview, error: GatewayError | None, behind: bytes) -> None:
        """A large body is complete; `behind` follows it."""
        if self._quick is not request:
            return  # it was too slow and is answered, the connection ends
        if behind:
            self._wait_behind(behind, 0)
        request.left = 0
        request.error = request.error or error
        if request.error is None:
            request.pieces.append(body)
        self._small.end(request)
        self._complete(request)

    def _complete(self, request: SmallRequest) -> None:
        """The rest of its body has come in."""
        transport = self.transport
        if request.waited and transport is not None and has_left(transport):
            self._quick = None
            request.ticket.close()
            transport.abort()
            return
        self._small.add(request)

    def answer(self, data: bytes, *, close: bool = False) -> None:
        """See Connection."""
        request, self._quick = self._quick, None
        if self._quick_done is not None and not self._quick_done.done():
            self._quick_done.set_result(None)
        transport = self.transport
        if transport is None:
            return
        transport.write(data)
        if close:
            self.force_close()
            return
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        self._read_frugally(self._small.exchange.waiting_room.crowded or (request is not None and request.waited))
        if self._behind or self._held_up or self._paused:
            self._go_on()

    def _wait_behind(self, data: bytes, at: int) -> None:
        if self._behind:
            data, at = self._behind[self._behind_at :] + data[at:], 0
        self._behind, self._behind_at = data, at
        if len(data) - at > _PIPELINED:
            self._stop_reading()

    def _go_on(self) -> None:
        """After an answer: what came behind the request, unless the client does not read."""
        transport = self.transport
        if transport is None:
            return
        if self._paused:
            self._stop_reading()
            return
        if len(self._behind) - self._behind_at <= _PIPELINED:
            self._read_on()
        behind, self._behind = self._behind, b""
        if self._behind_at < len(behind):
            self._begin(behind, self._behind_at)

    def _read_frugally(self, frugal: bool) -> None:
        transport = self.transport
        if frugal is self._frugal or transport is None or transport.is_closing():
            return
        self._frugal = frugal
        # The transport chooses how it reads when it starts to.
        if not self._held_up:
            transport.pause_reading()
        transport.set_protocol(FrugalReader(self, self._small.frugal_space) if frugal else self)
        if not self._held_up:
            transport.resume_reading()

    def _stop_reading(self) -> None:
        if not self._held_up and self.transport is not None:
            self._held_up = True
            self.transport.pause_reading()

    def _read_on(self) -> None:
        if self._held_up and self.transport is not None:
            self._held_up = False
            self.transport.resume_reading()

    def resume_writing(self) -> None:
        """The client reads its answers again."""
        super().resume_writing()
        if self._held_up and self._quick is None:
            self._go_on()

    def body_ended(self, behind: bytes) -> None:
        """See LargeBodyHandler: the parser is a fresh one, so what follows may take this way again."""
        self._usual = bool(behind)
        super().body_ended(behind)

    def connection_lost(self, error: BaseException | None) -> None:
        """See asyncio."""
        request = self._quick
        if request is not None and request.left:
            if self._let_in is None:
                self._small.end(request)
            else:
                self._let_in.cancel()
            request.ticket.close()
            self._quick = None
        self._behind = b""
        super().connection_lost(error)

    def _process_keepalive(self) -> None:
        if self._quick is not None:
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        super()._process_keepalive()

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        """As aiohttp's: a request in progress may finish within `timeout` seconds. One that waited for room is told
        to come again, once what is on its way of its body was read."""
        request = self._quick
        if request is not None and (not request.left or request.waited):
            self._quick_done = self._loop.create_future()
            await asyncio.wait([self._quick_done], timeout=timeout)
        await super().shutdown(timeout)


class FrugalReader(asyncio.BufferedProtocol):
    """Reads for a connection, at most a small body with its head at a time; all else is told to it."""

    __slots__ = ("_connection", "_space")

    def __init__(self, connection: PlainConnection, space: memoryview) -> None:
        self._connection, self._space = connection, space

    def get_buffer(self, sizehint: int) -> memoryview:
        """The space, which all connections of the event loop share: what comes is copied out of it at once."""
        return self._space

    def buffer_updated(self, nbytes: int) -> None:
        """`nbytes` came."""
        self._connection.data_received(bytes(self._space[:nbytes]))

    def eof_received(self) -> None:
        """See PlainConnection."""
        self._connection.eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        """See PlainConnection."""
        self._connection.connection_lost(error)

    def pause_writing(self) -> None:
        """See PlainConnection."""
        self._connection.pause_writing()

    def resume_writing(self) -> None:
        """See PlainConnection."""
        self._connection.resume_writing()


class PlainReceiver(BodyReceiver):
    """Has the body of a plain request filled by the transport."""

    def __init__(
        self,
        connection: PlainConnection,
        transport: asyncio.Transport,
        request: SmallRequest,
        body: memoryview,
        reserved: int,
        take: Callable[[int], None],
    ) -> None:
        super().__init__(connection, transport, body, request.head.length, reserved, take)
        self._connection, self._plain = connection, request
        if request.error is not None:
            self.done.set_exception(request.error)  # what comes is read and forgotten

    def _finish(self, behind: bytes) -> None:
        error = self.done.exception() if self.done.done() else None
        if not self.done.done():
            self.done.set_result(self._body)
        assert error is None or isinstance(error, GatewayError)
        self._connection.body_received(self._plain, self._body, error, behind)

    def connection_lost(self, error: Exception | None) -> None:
        """The client went away."""
        super().connection_lost(error)
        self.done.exception()  # nobody waits for it
