"""Connections whose small plain requests do not go through aiohttp's parser, tasks and responses.

A request is taken when the connection is at rest and its head, which is here whole, is plain and small. Whatever else
comes is given to aiohttp byte for byte from the head's first byte on, and so is everything behind it on this
connection, until a large body has left a fresh parser behind. One request of a connection is under way at a time:
bytes behind it wait, at most one reading of the transport of them.

    at rest  →  receiving: the body's pieces are kept as they come  →  waiting for the group's answer  →  at rest

Limits are those of the usual way: bytes in flight (admission), time for the body, time without a request, shutdown
that lets a request in progress finish. TLS connections take the usual way.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from aiohttp import web

from gateway.errors import GatewayError
from gateway.ingest.large_body import LargeBodyHandler
from gateway.ingest.request_head import Heads
from gateway.ingest.small_requests import Identify, SmallRequest, SmallRequests

_LONGEST_HEAD: Final = 8 * 1024
_PIPELINED: Final = 64 * 1024
"""Bytes behind a request at which the transport is stopped until it is answered."""


class SmallRequestHandler(LargeBodyHandler):
    """aiohttp's connection handler, with a shorter way for small plain requests."""

    __slots__ = ("_behind", "_heads", "_identify", "_quick", "_quick_done", "_small", "_stopped", "_usual", "address")

    def __init__(
        self, manager: web.Server, small: SmallRequests, heads: Heads, identify: Identify, **options: Any
    ) -> None:
        super().__init__(manager, **options)
        self._small, self._heads, self._identify = small, heads, identify
        self._quick: SmallRequest | None = None
        """The request under way that aiohttp does not know of."""
        self._quick_done: asyncio.Future[None] | None = None
        self._behind = b""
        self._stopped = False
        """Whether the transport was told to stop reading, or the client does not read its answers."""
        self._usual = False
        """Whether aiohttp's parser has seen bytes and must see those that follow."""
        self.address = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        super().connection_made(transport)
        self._usual = transport.get_extra_info("sslcontext") is not None
        peer = transport.get_extra_info("peername")
        self.address = str(peer[0]) if isinstance(peer, tuple) and peer else ""

    def data_received(self, data: bytes) -> None:
        """What the transport read."""
        if self._usual:
            super().data_received(data)
            return
        request = self._quick
        if request is None:
            if self._force_close or self._close or (data and self._take(data)):
                return
            self._usual = True
            super().data_received(data)
        elif request.left:
            size = len(data)
            if size <= request.left:
                request.take(data)
            else:
                self._wait_behind(data[request.left :])
                request.take(memoryview(data)[: request.left])
            if not request.left:
                self._small.end(request)
                self._small.add(request)
        else:
            self._wait_behind(data)

    def _take(self, data: bytes) -> bool:
        """Begin a request; whether it is one for this way."""
        end = data.find(b"\r\n\r\n", 0, _LONGEST_HEAD) + 4
        if end == 3:
            return False
        head = self._heads.read(data[:end])
        small = self._small
        if head is None or not small.takes(head):
            return False
        if not small.exchange.admission.fits(head.length):
            return False  # on the usual way it waits for room
        waiter = self._waiter
        if self._request_count and (self._messages or self._request_in_progress or (waiter is None or waiter.done())):
            return False
        tenant = self._identify(head.authorization)
        if tenant is None:
            return False
        exchange = small.exchange
        admission = exchange.admission
        request = SmallRequest(self, head, exchange.clock.time_ns(), tenant, admission.ticket(tenant))
        try:
            request.ticket.take(head.length)
        except GatewayError as error:
            request.error = error  # said when the body is here, which is not kept
        self._quick = request
        self._request_count += 1
        here = len(data) - end
        if here >= head.length:
            request.take(memoryview(data)[end : end + head.length])
            if here > head.length:
                self._wait_behind(data[end + head.length :])
            small.add(request)
        else:
            if here:
                request.take(memoryview(data)[end:])
            small.begin(request)
        return True

    def answer(self, data: bytes, *, close: bool = False) -> None:
        """See Connection."""
        self._quick = None
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
        if self._behind or self._stopped or self._paused:
            self._go_on()

    def _wait_behind(self, data: bytes) -> None:
        self._behind += data
        if len(self._behind) > _PIPELINED and not self._stopped and self.transport is not None:
            self._stopped = True
            self.transport.pause_reading()

    def _go_on(self) -> None:
        """After an answer: what came behind the request, unless the client does not read."""
        transport = self.transport
        if transport is None:
            return
        if self._paused:
            if not self._stopped:
                self._stopped = True
                transport.pause_reading()
            return
        if self._stopped:
            self._stopped = False
            transport.resume_reading()
        behind, self._behind = self._behind, b""
        if behind:
            self.data_received(behind)

    def resume_writing(self) -> None:
        """The client reads its answers again."""
        super().resume_writing()
        if self._stopped and self._quick is None:
            self._go_on()

    def body_ended(self, behind: bytes) -> None:
        """See LargeBodyHandler: the parser is a fresh one, so what follows may take this way again."""
        self._usual = bool(behind)
        super().body_ended(behind)

    def connection_lost(self, error: BaseException | None) -> None:
        """See asyncio."""
        request = self._quick
        if request is not None and request.left:
            self._small.end(request)
            request.ticket.close()
            self._quick = None
        self._behind = b""
        super().connection_lost(error)

    def _process_keepalive(self) -> None:
        if self._quick is not None:
            self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        super()._process_keepalive()

    async def shutdown(self, timeout: float | None = 15.0) -> None:
        """As aiohttp's: a request in progress may finish within `timeout` seconds."""
        if self._quick is not None and not self._quick.left:
            self._quick_done = self._loop.create_future()
            await asyncio.wait([self._quick_done], timeout=timeout)
        await super().shutdown(timeout)
