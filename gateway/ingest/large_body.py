"""Large bodies of HTTP requests, received straight into the memory they are decoded from.

aiohttp's parser hands a body on in pieces that are copied three times before they are one: out of the socket, out of
the parser, into the whole. Where a request announces a large body, only its headers go through the parser here; the
body is read by a BufferedProtocol into one array, and the connection then gets a fresh parser for the next request.

    head seen, large body announced    →  holding: it waits in the socket until somebody asks for the body
    `receive_body`                     →  receiving: the transport fills the array, never a byte beyond the body
    body complete                      →  a fresh parser; what was pipelined behind the body goes into it
    the request ends without asking    →  `release_body`: the transport fills the same scrap again and again

Chunked bodies, upgrades, `Expect: 100-continue` and TLS connections take aiohttp's usual way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import numpy as np
from aiohttp import web
from aiohttp.http import HttpRequestParser, RawRequestMessage
from aiohttp.web_protocol import RequestHandler

from gateway.errors import GatewayError

LARGE_BODY: Final = 64 * 1024
"""Content-Length from which a body takes this way."""
_LARGEST_PIECE: Final = 256 * 1024
"""What one reading of the transport brings at most. A body up to this mostly comes in one or two pieces, and stopping
the transport for it would cost more than its copies (`python -m bench.http_transport`)."""
_LONGEST_HEAD: Final = 16 * 1024
"""How far the end of the headers is looked for."""
_WINDOW: Final = 2**20
"""Bytes of a body that are reserved at a time."""
SCRAP: Final = memoryview(bytearray(2**18))
"""Where all bodies go that nobody wants."""


def take_nothing(amount: int) -> None:
    """For what uses no memory of its own."""
    del amount


class LargeBodyHandler(RequestHandler):
    """aiohttp's connection handler, with a way for large bodies of its own."""

    __slots__ = ("_aside", "_stopped", "departed", "told_to_wait_until")

    def __init__(self, manager: web.Server, **options: Any) -> None:
        super().__init__(manager, **options)
        self._aside: memoryview | None = None
        self._stopped = False
        self.departed: Callable[[], None] | None = None
        """To be called when the connection is lost, while its request waits for room."""
        self.told_to_wait_until = 0.0
        """Time of the event loop at which the wait is over that the last refusal on this connection asked for."""

    def connection_lost(self, error: BaseException | None) -> None:
        """See asyncio."""
        waiter, task = self._waiter, self._task_handler
        super().connection_lost(error)
        if task is not None and waiter is not None and waiter.done() and not waiter.cancelled():
            task.cancel()  # woken and not run yet: it would make a request of what is gone, and fail
        if self.departed is not None:
            self.departed()

    def stop_reading(self) -> None:
        """Leave what the client sends in the socket, until `read_again`."""
        if self.transport is not None and not self._reading_paused:
            self._stopped = True
            self.transport.pause_reading()

    def read_again(self) -> None:
        """After `stop_reading`. A large body that is held goes on waiting until it is asked for."""
        if self._stopped and self.transport is not None:
            aside = self._aside
            if aside is None or len(aside) <= _LARGEST_PIECE:
                self.transport.resume_reading()
        self._stopped = False

    @property
    def holds_body(self) -> bool:
        """Whether the present request's body waits for `receive_body`."""
        return self._aside is not None

    @property
    def held(self) -> int:
        """Bytes read of the body that waits for `receive_body`."""
        return 0 if self._aside is None else len(self._aside)

    def data_received(self, data: bytes) -> None:
        """What the transport read: the head of a large request is told from its body, the rest is aiohttp's."""
        if self._aside is not None:
            self._aside = memoryview(bytes(self._aside) + data)
            if len(self._aside) > _LARGEST_PIECE and self.transport is not None:
                self.transport.pause_reading()
            return
        waits = self._waiter is not None and not self._waiter.done() and not self._messages
        end = data.find(b"\r\n\r\n", 0, _LONGEST_HEAD) + 4 if waits else 3
        if end > 3:
            # Many senders write the head by itself, so that nothing of the body may be here yet.
            super().data_received(data[:end])
            length = self._announced_large_body()
            if length:
                self._aside = memoryview(data)[end:]
                if length > _LARGEST_PIECE and self.transport is not None:
                    # Nothing more is read until the body is asked for: what comes now would be copied twice.
                    self.transport.pause_reading()
                return
            data = data[end:]
            if not data or self._breaks_off():
                return
        super().data_received(data)
        self._breaks_off()

    def _breaks_off(self) -> bool:
        """Whether the parser did not understand what came. The connection then ends with one refusal: aiohttp would
        refuse every further piece, and leave whoever reads a body that breaks off waiting until it is too slow."""
        if not self._messages or isinstance(self._messages[-1][0], RawRequestMessage):
            return False
        bodies = [payload for message, payload in self._messages if isinstance(message, RawRequestMessage)]
        if self._current_request is not None:
            bodies.append(self._current_request.content)
        for body in bodies:
            if not body.is_eof():
                body.set_exception(web.RequestPayloadError("its framing is not valid"))
                body.feed_eof()
                self._messages.pop()
                break
        self.close()
        return True

    def _announced_large_body(self) -> int:
        """The length of the large body that is to follow; 0 if there is none."""
        if len(self._messages) != 1 or self._upgraded or self._close or self._force_close:
            return 0
        message, payload = self._messages[0]
        if not isinstance(message, RawRequestMessage) or message.chunked or message.upgrade:
            return 0
        if self.transport is None or self.transport.get_extra_info("sslcontext") is not None:
            return 0
        length = message.headers.get("Content-Length", "")
        if "Expect" in message.headers or not length.isdecimal() or payload.total_bytes:
            return 0
        return int(length) if int(length) >= LARGE_BODY else 0

    async def receive_body(
        self, request: web.BaseRequest, size: int, reserved: int, take: Callable[[int], None]
    ) -> memoryview:
        """The body of `size` bytes, of which `reserved` are taken already; `take` is told of every growth before the
        memory is used, and may raise.

        Raises what `take` raises, and ConnectionResetError when the client goes away. After an error, or when the
        waiting is cancelled, what still comes of the body is read and forgotten, so that the client sees the answer.
        """
        aside, self._aside = self._aside, None
        if aside is None or self.transport is None:
            raise ConnectionResetError("the connection is gone")
        body = memoryview(np.empty(size, np.uint8))  # type: ignore[arg-type]  # pages are untouched until filled
        receiver = _Receiver(self, self.transport, request, body, size, reserved, take)
        receiver.begin(aside)
        return await receiver.done

    def body_ended(self, behind: bytes) -> None:
        """The present body is complete and never went through the parser; `behind` follows it."""
        self._parser = self._fresh_parser()
        if behind:
            self.data_received(behind)

    def release_body(self, request: web.BaseRequest) -> None:
        """The request was answered without its body, which is read and forgotten: in an overload most are, and the
        parser would cost more than the answer. aiohttp waits for its end for a while, or closes the connection."""
        aside, self._aside = self._aside, None
        size = request.content_length
        if aside is None or self.transport is None or size is None:
            return
        receiver = _Receiver(self, self.transport, request, SCRAP, size, size, take_nothing)
        receiver.done.cancel()
        receiver.begin(aside)

    def _fresh_parser(self) -> HttpRequestParser:
        return HttpRequestParser(
            self,
            self._loop,
            self._read_bufsize,
            max_line_size=self.max_line_size,
            max_field_size=self.max_field_size,
            max_headers=self.max_headers,
            payload_exception=web.RequestPayloadError,
            auto_decompress=False,
            max_msg_queue_size=self._max_msg_queue_size,
        )


class BodyReceiver(asyncio.BufferedProtocol):
    """Has one body filled by the transport; everything else is told to the connection's handler."""

    def __init__(
        self,
        handler: LargeBodyHandler,
        transport: asyncio.Transport,
        body: memoryview,
        size: int,
        reserved: int,
        take: Callable[[int], None],
    ) -> None:
        self._handler, self._transport, self._take = handler, transport, take
        self._size, self._reserved = size, reserved
        self._at = 0
        self._body = body
        self.done: asyncio.Future[memoryview] = asyncio.get_running_loop().create_future()

    def begin(self, came: memoryview) -> None:
        """Take what came with the headers, then all else from the transport."""
        here = min(len(came), self._size)
        while self._reserved < here and not self.done.done():
            self._reserve_more()
        if not self.done.done():
            self._body[:here] = came[:here]
        self._at = here
        if self._transport.is_closing():
            self.connection_lost(None)
        elif here == self._size:
            self._transport.resume_reading()
            self._finish(bytes(came[here:]))
        else:
            self._switch_to(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        """The part of the body to be filled next; anything, once nobody waits for it."""
        if self.done.done():
            return self._body[: min(self._size - self._at, _WINDOW)]
        return self._body[self._at : self._reserved]

    def buffer_updated(self, nbytes: int) -> None:
        """`nbytes` were filled in."""
        self._at += nbytes
        if self._at == self._size:
            self._switch_to(self._handler)
            self._finish(b"")
        elif self._at == self._reserved and not self.done.done():
            self._reserve_more()

    def eof_received(self) -> None:
        """The client sends no more: the transport closes."""

    def connection_lost(self, error: Exception | None) -> None:
        """The client went away."""
        if not self.done.done():
            self.done.set_exception(ConnectionResetError("the connection broke"))
        if self._transport.get_protocol() is self:
            self._handler.connection_lost(error)

    def pause_writing(self) -> None:
        """The client does not read."""
        self._handler.pause_writing()

    def resume_writing(self) -> None:
        """It reads again."""
        self._handler.resume_writing()

    def _reserve_more(self) -> None:
        more = min(self._size - self._reserved, _WINDOW)
        try:
            self._take(more)
        except GatewayError as error:
            self.done.set_exception(error)
            return
        self._reserved += more

    def _switch_to(self, protocol: asyncio.BaseProtocol) -> None:
        # Reading is stopped and started because the transport chooses how it reads when it starts to.
        self._transport.pause_reading()
        self._transport.set_protocol(protocol)
        self._transport.resume_reading()

    def _finish(self, behind: bytes) -> None:
        """The body is complete; `behind` follows it."""
        raise NotImplementedError


class _Receiver(BodyReceiver):
    """For a request that went through aiohttp's parser."""

    def __init__(
        self,
        handler: LargeBodyHandler,
        transport: asyncio.Transport,
        request: web.BaseRequest,
        body: memoryview,
        size: int,
        reserved: int,
        take: Callable[[int], None],
    ) -> None:
        super().__init__(handler, transport, body, size, reserved, take)
        self._request = request

    def _finish(self, behind: bytes) -> None:
        self._request.content.feed_eof()
        if not self.done.done():
            self.done.set_result(self._body)
        self._handler.body_ended(behind)
