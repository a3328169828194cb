"""Plain requests over HTTP, many at a time: what a request costs beside its points is spent once a group.

At ten or a hundred points a request the points are not what costs: it is the task, the futures, the parser's objects,
a call of every kernel. So requests whose head is plain (`request_head.py`) do not go through aiohttp. What has come in
on all connections while the loop went round, or while the decoding threads were busy, is a group. Of OTLP it is joined
in one piece of memory, decoded as one (`decode_joined`) and handed to the sink as one; each is answered with one write.

Where one of a group is not in order, each is decoded alone, as if it had come alone, so that one sender's error says
nothing to another. Nothing here keeps requests back to make groups larger: an idle gateway handles one at once.

    connection (`plain_connection.py`)  →  add  →  group  →  decode (loop, or a thread)  →  sink  →  connection.answer
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import structlog
from aiohttp import web

from gateway import selfmetrics
from gateway.errors import GatewayError, RequestError, ShuttingDown, Unavailable
from gateway.ingest.admission import Ticket
from gateway.ingest.content_encoding import Take
from gateway.ingest.decoders import Body, JoinedDecoder, PointDecoder
from gateway.ingest.http_exchange import Exchange, FixedReply, rendered
from gateway.ingest.large_body import LARGE_BODY
from gateway.ingest.receiver_metrics import ReceiverMetrics, rejected_message
from gateway.ingest.request_head import Head
from gateway.owned_tasks import end_tasks
from gateway.telemetry import kind
from gateway.telemetry.columns import JoinedColumns, PointColumns, Receipt, Sink

_log = structlog.get_logger(__name__)

_GROUP_BYTES: Final = 2**20
"""Bodies of one group, about: so long a decoding thread holds what it works on, and no longer."""
_GROUP_REQUESTS: Final = 1000
_ON_LOOP: Final = 192 * 1024
"""Bytes of a group up to which it is decoded on the loop (about 0.2 ms)."""
_EXPANDS: Final = 12
"""What a compressed body counts as, for that."""
_SMALL_PIECE: Final = 4096
"""Bytes of a body's piece below which it is kept together with the next: a client that sends single bytes must not
make as many objects."""
_SWEEP_SECONDS: Final = 1.0
LONGEST_HEAD: Final = 8 * 1024
"""Bytes within which the end of a plain head is looked for."""


class Connection(Protocol):
    """What a connection is to a request."""

    address: str

    def answer(self, data: bytes, *, close: bool = False) -> None:
        """Send the answer to the request under way; nothing happens if the client has gone away."""
        ...


class SmallRequest:
    """One request: its head is read, its body comes in or is complete."""

    __slots__ = ("connection", "error", "head", "left", "pieces", "received_ns", "tenant", "ticket", "waited")

    def __init__(self, connection: Connection, head: Head, received_ns: int, tenant: str, ticket: Ticket) -> None:
        self.connection, self.head, self.received_ns = connection, head, received_ns
        self.tenant, self.ticket = tenant, ticket
        self.pieces: list[Body] = []
        self.left = head.length
        """Bytes of the body that are still to come."""
        self.error: GatewayError | None = None
        """Why it is refused, once that is known; what still comes of the body is then not kept."""
        self.waited = False
        """Whether it waits, or has waited, for room."""

    def take(self, piece: Body) -> None:
        """The next part of the body, not more than is left."""
        self.left -= len(piece)
        if self.error is not None:
            return
        if len(piece) >= _SMALL_PIECE or not self.pieces:
            self.pieces.append(piece)
        elif isinstance(last := self.pieces[-1], bytearray):
            last += piece
        else:
            self.pieces.append(bytearray(piece))

    def whole(self) -> Body:
        """The body in one piece."""
        return self.pieces[0] if len(self.pieces) == 1 else b"".join(self.pieces)

    def weight(self) -> int:
        """Bytes it counts as, for where it is decoded."""
        return self.head.length if self.head.encoding is None else self.head.length * _EXPANDS


@dataclass(frozen=True, slots=True)
class Route:
    """What differs between OTLP and remote write."""

    metrics: ReceiverMetrics
    decompressors: Mapping[str, Callable[[Body, int, Take], Body]]
    decode: PointDecoder
    joined: JoinedDecoder
    reply: FixedReply
    """To a request of which everything was accepted."""
    partly: Callable[[int, str], web.Response]
    """(points not accepted, what to say of them) → the answer."""
    refuse: Callable[[GatewayError, int], web.Response]
    """(error, bytes of the body) → the answer, which it counts."""


class _Part:
    """Requests of one group, route and tenant that share their columns."""

    def __init__(
        self, route: Route, requests: list[SmallRequest], columns: PointColumns, joined: JoinedColumns | None
    ) -> None:
        self.route, self.requests, self.columns, self.joined = route, requests, columns, joined


class SmallRequests:
    """All plain requests of a receiver; belongs to its event loop."""

    def __init__(self, exchange: Exchange, routes: Mapping[str, Route], sink: Sink) -> None:
        """routes: by Head.kind."""
        self.exchange = exchange
        self.frugal_space = memoryview(bytearray(LONGEST_HEAD + LARGE_BODY))
        """Where connections read while others wait for room: a small body with its head has a place in it."""
        self._routes, self._sink = routes, sink
        self._loop = asyncio.get_running_loop()
        self._waiting: list[SmallRequest] = []
        self._scheduled = False
        self._threads_busy = 0
        self._groups: set[asyncio.Task[None]] = set()
        self._receiving: dict[SmallRequest, float] = {}
        self._sweep: asyncio.TimerHandle | None = None

    @property
    def decoding(self) -> bool:
        """Whether a thread is decoding a group, which will be with the sink soon. May be read from any thread."""
        return self._threads_busy > 0

    # ---- bodies that take their time --------------------------------------------------------------------------------

    def begin(self, request: SmallRequest) -> None:
        """A body is not complete yet; it has until the limit for bodies."""
        self._receiving[request] = self._loop.time() + float(self.exchange.settings.body_timeout)
        if self._sweep is None:
            self._sweep = self._loop.call_later(_SWEEP_SECONDS, self._end_slow)

    def end(self, request: SmallRequest) -> None:
        """It is complete, or its client has gone away."""
        del self._receiving[request]

    def _end_slow(self) -> None:
        now = self._loop.time()
        slow = []
        for request, until in self._receiving.items():  # in the order in which they began, so the first end first
            if until > now:
                break
            slow.append(request)
        for request in slow:
            self.end(request)
            self._refuse(request, RequestError("the body did not arrive in time", reason="slow_body"), close=True)
        self._sweep = self._loop.call_later(_SWEEP_SECONDS, self._end_slow) if self._receiving else None

    # ---- groups -----------------------------------------------------------------------------------------------------

    def add(self, request: SmallRequest) -> None:
        """A request is complete."""
        if request.error is not None:
            self._refuse(request, request.error, close=isinstance(request.error, ShuttingDown))
            return
        self._waiting.append(request)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._form_groups)

    def _form_groups(self) -> None:
        """Begin as many groups as there is somebody to decode them."""
        self._scheduled = False
        while self._waiting:
            count = size = 0
            for request in self._waiting[:_GROUP_REQUESTS]:
                if size and size + request.weight() > _GROUP_BYTES:
                    break
                size += request.weight()
                count += 1
            threaded = size > _ON_LOOP
            if threaded and self._threads_busy >= self.exchange.settings.decode_threads:
                return  # when one of them is free
            group, self._waiting = self._waiting[:count], self._waiting[count:]
            if threaded:
                self._threads_busy += 1
            task = self._loop.create_task(self._serve(group, threaded), name="small requests")
            self._groups.add(task)
            task.add_done_callback(self._groups.discard)

    async def _serve(self, group: list[SmallRequest], threaded: bool) -> None:
        try:
            if threaded:
                try:
                    parts = await self._loop.run_in_executor(self.exchange.pool, self._decode, group)
                finally:
                    self._threads_busy -= 1
                    self._form_groups()
            else:
                parts = self._decode(group)
            for request in group:
                if request.error is not None:
                    self._refuse(request, request.error)
            if len(parts) == 1:
                await self._store(parts[0])
            elif parts:
                await asyncio.gather(*(self._store(part) for part in parts))
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001  # a group's outermost edge: 503 keeps the senders' data
            selfmetrics.TASK_FAILURES.labels("http_request").inc()
            _log.exception("a group of http requests failed", requests=len(group), error=repr(error))
            for request in group:
                if request.error is None:
                    self._refuse(request, Unavailable("the request could not be handled; send it again"))
        finally:
            for request in group:
                request.ticket.close()

    def _decode(self, group: list[SmallRequest]) -> list[_Part]:
        """On the loop, or in a thread."""
        alike: dict[tuple[str, str], list[SmallRequest]] = {}
        for request in group:
            if request.head.encoding is not None:
                try:
                    decompress = self._routes[request.head.kind].decompressors[request.head.encoding]
                    limit = int(self.exchange.settings.max_request_bytes)
                    request.pieces = [decompress(request.whole(), limit, request.ticket.take)]
                except GatewayError as error:
                    request.error = error
                    continue
            alike.setdefault((request.head.kind, request.tenant), []).append(request)
        parts: list[_Part] = []
        for (kind_of_request, _), requests in alike.items():
            route = self._routes[kind_of_request]
            # A tenant's limit of series is a matter of single requests: each is told what of it was refused.
            if len(requests) > 1 and not requests[0].ticket.limits_series:
                now_ms = max(request.received_ns for request in requests) // 1_000_000
                joined = route.joined([request.pieces for request in requests], now_ms)
                if joined is not None:
                    first, *others = (request.ticket for request in requests)
                    first.hold_columns(len(joined.columns), others)
                    parts.append(_Part(route, requests, joined.columns, joined))
                    continue
            for request in requests:
                try:
                    columns = route.decode(request.whole(), request.received_ns // 1_000_000)
                except GatewayError as error:
                    request.error = error
                except Exception as error:  # noqa: BLE001  # a request's outermost edge: the others of the group go on
                    selfmetrics.TASK_FAILURES.labels("http_request").inc()
                    _log.exception("http request failed", path=request.head.kind, error=repr(error))
                    request.error = Unavailable("the request could not be handled; send it again")
                else:
                    parts.append(_Part(route, [request], request.ticket.hold(columns), None))
        return parts

    async def _store(self, part: _Part) -> None:
        route, requests, columns = part.route, part.requests, part.columns
        size = sum(request.head.length for request in requests)
        try:
            receipt = None
            if len(columns):
                receipt = await self._sink.accept(
                    columns,
                    received_ns=min(request.received_ns for request in requests),
                    body_bytes=size,
                    latest_ns=max(request.received_ns for request in requests),
                )
        except GatewayError as error:
            for request in requests:
                self._refuse(request, error)
            return
        rejected = route.metrics.accepted(columns, receipt)
        second = self.exchange.clock.time_ns() // 1_000_000_000
        points = [columns.points] if part.joined is None else part.joined.points.tolist()
        for request, count in zip(requests, points, strict=True):
            self._count(request, count)
        if not rejected and not columns.rejected_message:
            route.metrics.answered(str(route.reply.status), size, len(requests))
            data = route.reply.render(second)
            for request in requests:
                request.connection.answer(data)
            return
        lost = [rejected] if part.joined is None else _refused_points(part.joined, receipt)
        for request, count in zip(requests, lost, strict=True):
            message = rejected_message(columns, receipt) if count or part.joined is None else ""
            response = route.partly(count, message)
            route.metrics.answered(str(response.status), request.head.length)
            request.connection.answer(rendered(response, second))

    def _refuse(self, request: SmallRequest, error: GatewayError, *, close: bool = False) -> None:
        request.error = error
        request.ticket.close()
        self._count(request, 0, refused=True)
        response = self._routes[request.head.kind].refuse(error, request.head.length)
        second = self.exchange.clock.time_ns() // 1_000_000_000
        request.connection.answer(rendered(response, second, close=close), close=close)

    def _count(self, request: SmallRequest, points: int, *, refused: bool = False) -> None:
        clients = self.exchange.clients
        if clients is not None:
            clients.count(
                self._routes[request.head.kind].metrics.protocol,
                request.head.agent,
                request.connection.address,
                received_ns=request.received_ns,
                points=points,
                size=request.head.length,
                refused=refused,
            )

    async def stop(self) -> None:
        """End what is still under way; their connections are closed."""
        if self._sweep is not None:
            self._sweep.cancel()
        await end_tasks(*self._groups)


def _refused_points(joined: JoinedColumns, receipt: Receipt | None) -> Sequence[int]:
    """Points refused after decoding, of each request."""
    refused = receipt.refused_rows if receipt is not None else None
    if refused is None:
        return [0] * len(joined.row_ends)
    columns = joined.columns
    counted = refused & ((columns.kinds & kind.CLASS_MASK) != kind.TARGET_INFO)
    points = columns.row_points if columns.row_points is not None else np.arange(len(counted))
    first, found = 0, []
    for end in joined.row_ends.tolist():
        found.append(len(np.unique(points[first:end][counted[first:end]])))
        first = end
    return found


Identify = Callable[[str | None], str | None]
"""An Authorization header → the tenant that may send, or None where the usual way has to look at it. Does not raise."""
