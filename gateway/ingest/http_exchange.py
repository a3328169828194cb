"""One HTTP request on its way in: read within limits, decompressed and decoded where it hurts nobody, answered.

What the OTLP and remote-write addresses share. A small body is handled on the event loop, because handing it to a
thread costs more than the work; a large one is decompressed and decoded in one step on a bounded pool of threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from email.utils import formatdate
from http import HTTPStatus
from typing import TYPE_CHECKING, Final, TypeVar, cast

from aiohttp import web

from gateway.access.tokens import ANONYMOUS, Identity
from gateway.clock import Clock
from gateway.errors import BodyTooLarge, RequestError, UnsupportedMediaType
from gateway.ingest.admission import Admission, Ticket
from gateway.ingest.clients import ClientTable
from gateway.ingest.content_encoding import Take
from gateway.ingest.decoders import Body
from gateway.ingest.departures import has_left
from gateway.ingest.large_body import LargeBodyHandler
from gateway.ingest.settings import IngestSettings
from gateway.ingest.waiting_room import WaitingRoom

if TYPE_CHECKING:
    from aiohttp.streams import StreamReader

R = TypeVar("R")
Decompressor = Callable[[Body, int, Take], Body]

SENDER: Final = web.RequestKey("sender", Identity)
"""Where a request keeps who it was authenticated as."""
RESERVE: Final = 1 << 20
"""Bytes reserved ahead of reading; a declared length above this is reserved while it arrives."""
_INLINE_BODY: Final = 192 * 1024
"""Bytes up to which a body is decoded on the event loop (about 0.2 ms): a thread would cost more than it takes over."""
_INLINE_COMPRESSED: Final = 16 * 1024
"""Bytes up to which a compressed body is tried on the event loop, as long as it stays under _INLINE_BODY."""
_FRAMING: Final = frozenset({"Content-Length", "Date", "Connection", "Transfer-Encoding"})
_DRAIN: Final = 64 * 1024
"""Bytes of unread answers at which a connection is no longer answered without waiting."""


class Exchange:
    """What handling a request needs; one for the receiver's life, used from its event loop."""

    def __init__(
        self,
        settings: IngestSettings,
        admission: Admission,
        pool: ThreadPoolExecutor,
        clock: Clock,
        clients: ClientTable | None = None,
        anonymous: Identity = ANONYMOUS,
    ) -> None:
        """anonymous: who sends what nobody authenticated."""
        self.settings, self.admission, self.pool, self.clock = settings, admission, pool, clock
        self.clients, self.anonymous = clients, anonymous
        self._loop = asyncio.get_running_loop()
        self._limit = int(settings.max_request_bytes)
        self.waiting_room = WaitingRoom(admission)

    def ticket(self, request: web.BaseRequest) -> Ticket:
        """For what the request will hold, on the account of the tenant it was authenticated as."""
        return self.admission.ticket(request.get(SENDER, self.anonymous).tenant)

    async def read(self, request: web.BaseRequest, ticket: Ticket) -> Body:
        """The body as sent. Raises BodyTooLarge, Overloaded, RequestError (too slow, or cut off)."""
        declared = request.content_length
        if declared is not None:
            if declared > self._limit:
                raise BodyTooLarge(f"the body is {declared} bytes and {self._limit} is the limit")
            if await self.waiting_room.enter(request, declared, min(declared, RESERVE), ticket):
                body = await self._rest(request, declared, ticket)
                if has_left(request.transport):
                    raise RequestError("the client went away", reason="cut_off")
                return body
        elif not request.body_exists:
            return b""
        return await self._rest(request, declared, ticket)

    async def _rest(self, request: web.BaseRequest, declared: int | None, ticket: Ticket) -> Body:
        """See `read`, once there is room for the body."""
        content = request.content
        if not content.is_eof() and not request.protocol.connected:
            # The connection was lost before the handler began: aiohttp tells the body nothing of it.
            raise RequestError("the client went away", reason="cut_off")
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        if content.is_eof() and content.exception() is None:  # a small body arrives together with its headers
            body = content.read_nowait()
            if declared is None:
                if len(body) > self._limit:
                    raise BodyTooLarge(f"the body is larger than {self._limit} bytes")
                ticket.take(len(body))
            return body
        handler = request.protocol
        try:
            async with asyncio.timeout(self.settings.body_timeout):
                if declared is not None and isinstance(handler, LargeBodyHandler) and handler.holds_body:
                    return await handler.receive_body(request, declared, min(declared, RESERVE), ticket.take)
                return await self._read_slowly(content, declared, ticket)
        except TimeoutError:
            raise RequestError("the body did not arrive in time", reason="slow_body") from None
        except (web.RequestPayloadError, ConnectionError) as error:
            raise RequestError(f"the body was cut off: {error}", reason="cut_off") from None

    async def _read_slowly(self, content: StreamReader, declared: int | None, ticket: Ticket) -> bytes:
        parts: list[bytes] = []
        size, held = 0, min(declared or 0, RESERVE)
        while part := await content.readany():
            size += len(part)
            if size > self._limit:
                raise BodyTooLarge(f"the body is larger than {self._limit} bytes")
            if size > held:
                ticket.take(max(size - held, len(part)))
                held += max(size - held, len(part))
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def count_client(
        self, request: web.BaseRequest, protocol: str, received_ns: int, size: int, points: int, refused: bool = False
    ) -> None:
        """Who sent this request, for the table of clients."""
        if self.clients is not None:
            agent = request.headers.get("User-Agent", "")
            self.clients.count(
                protocol,
                agent,
                request.remote or "",
                received_ns=received_ns,
                points=points,
                size=size,
                refused=refused,
            )

    async def decode(
        self, body: Body, decompressor: Decompressor | None, ticket: Ticket, decode: Callable[[Body], R]
    ) -> R:
        """Decompress and decode. Raises what decompression, `ticket.take` and `decode` raise."""
        size = len(body)
        if decompressor is None:
            if size <= _INLINE_BODY:
                return decode(body)
            return await self._loop.run_in_executor(self.pool, decode, body)
        if size <= _INLINE_COMPRESSED:
            plain: Body | None = None
            try:
                plain = decompressor(body, min(_INLINE_BODY, self._limit), ticket.take)
            except BodyTooLarge:
                if self._limit <= _INLINE_BODY:
                    raise
            if plain is not None:
                return decode(plain)
        return await self._loop.run_in_executor(self.pool, lambda: decode(decompressor(body, self._limit, ticket.take)))


def choose_decompressor(encoding: str | None, known: dict[str, Decompressor]) -> Decompressor | None:
    """None for a body that is sent as it is. Raises UnsupportedMediaType."""
    if encoding is None:
        return None
    found = known.get(encoding)
    if found is not None:
        return found
    name = encoding.strip().lower()
    if name in ("", "identity"):
        return None
    found = known.get(name)
    if found is None:
        expected = ", ".join(known)
        raise UnsupportedMediaType(f'content encoding "{name[:40]}" is not one of {expected}', reason="encoding")
    return found


class FixedReply:
    """An answer whose bytes are made once: the common answer to a small request, without building headers anew.

    Has what aiohttp's protocol asks of a response: `prepare`, `write_eof`, `keep_alive`. Sent by `send_fixed`.
    """

    __slots__ = ("_bytes", "_date", "_head", "_request", "_tail", "status")

    keep_alive = True

    def __init__(self, status: int, reason: str, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        lines = [f"HTTP/1.1 {status} {reason}", *(f"{k}: {v}" for k, v in headers.items())]
        if status != 204:
            lines.append(f"Content-Length: {len(body)}")
        self._head = "\r\n".join(lines).encode() + b"\r\nDate: "
        self._tail = b"\r\n\r\n" + body
        self._date = -1
        self._bytes = b""

    def render(self, now: int) -> bytes:
        """The whole answer; `now` in Unix seconds."""
        if now != self._date:
            self._date = now
            self._bytes = self._head + formatdate(now, usegmt=True).encode() + self._tail
        return self._bytes


class _Sent:
    """Stands for an answer that is on its way already."""

    __slots__ = ()
    keep_alive = True

    async def prepare(self, request: web.BaseRequest) -> None:
        del request

    async def write_eof(self) -> None:
        pass


_SENT: Final = cast(web.StreamResponse, _Sent())


def rendered(response: web.Response, now: int, *, close: bool = False) -> bytes:
    """A response as bytes, for a connection of HTTP/1.1; `now` in Unix seconds."""
    body = response.body if isinstance(response.body, bytes) else b""
    lines = [f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in response.headers.items() if name not in _FRAMING]
    lines += [f"Content-Length: {len(body)}", f"Date: {formatdate(now, usegmt=True)}"]
    if close:
        lines.append("Connection: close")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def send_fixed(request: web.BaseRequest, reply: FixedReply, now: int) -> web.StreamResponse | None:
    """Write the answer at once; None where the connection needs a usual response (it closes, or reads no answers)."""
    transport = request.transport
    if transport is None or not request.keep_alive or request.version != (1, 1):
        return None
    if transport.get_write_buffer_size() > _DRAIN or not request.content.is_eof():
        return None
    transport.write(reply.render(now))
    return _SENT
