"""Large bodies that bypass the HTTP parser: whatever way the bytes are cut, whatever follows or fails, the connection
stays in step and the memory is given back."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from itertools import pairwise

import pytest
from aiohttp import web

from gateway.errors import Unavailable
from gateway.ingest.large_body import LARGE_BODY, LargeBodyHandler
from gateway.ingest.settings import IngestSettings
from gateway.settings_types import Duration
from tests.gateway.ingest.receivers import Receivers, running

SIZE = 3 * 2**20 + 17


@pytest.fixture
async def receivers() -> AsyncIterator[Receivers]:
    async with running(IngestSettings(body_timeout=Duration(1.0))) as both:
        yield both


def post(points: int, size: int, path: str = "/v1/metrics", extra: str = "", kind: str = "points") -> bytes:
    body = f"{kind}={points},pad=".encode().ljust(size, b"x")
    head = f"POST {path} HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-protobuf\r\n{extra}"
    head += f"Content-Length: {size}\r\n\r\n"
    return head.encode() + body


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def to(cls, receivers: Receivers) -> Client:
        return cls(*await asyncio.open_connection("127.0.0.1", receivers.http.port))

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> int:
        async with asyncio.timeout(10):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = next(int(h[15:]) for h in head.split(b"\r\n") if h.lower().startswith(b"content-length:"))
            await self.reader.readexactly(length)
            return int(head.split()[1])

    def close(self) -> None:
        self.writer.close()


async def test_a_connection_that_is_lost_as_its_request_comes_ends_quietly() -> None:
    async def handle(_request: web.BaseRequest) -> web.StreamResponse:
        raise AssertionError("nobody hears the answer")

    loop = asyncio.get_running_loop()
    server = web.Server(handle)
    handler = LargeBodyHandler(server, loop=loop)
    reader, writer = socket.socketpair()
    transport, _ = await loop.create_connection(lambda: handler, sock=reader)
    task = handler._task_handler
    assert task is not None
    await asyncio.sleep(0)  # it waits for a request
    handler.data_received(post(1, 10))
    handler.connection_lost(None)
    await asyncio.wait([task])
    assert task.cancelled()
    transport.abort()
    writer.close()


HEAD = post(1, SIZE).index(b"\r\n\r\n") + 4


@pytest.mark.parametrize(
    "cuts",
    [(), (10,), (HEAD - 2,), (HEAD,), (HEAD + 1,), (HEAD + 70_000, HEAD + 2**20, HEAD + 2**20 + 1), (HEAD + SIZE - 1,)],
)
async def test_however_the_bytes_are_cut_the_body_is_whole_and_the_next_request_is_heard(receivers, cuts):
    client = await Client.to(receivers)
    request = post(7, SIZE)
    edges = [0, *cuts, len(request)]
    for begin, end in pairwise(edges):
        await client.send(request[begin:end])
        await asyncio.sleep(0.01)  # so that the pieces arrive apart
    assert await client.answer() == 200
    for points, size in ((3, 100), (5, LARGE_BODY), (2, LARGE_BODY - 1)):
        await client.send(post(points, size))
        assert await client.answer() == 200
    assert receivers.sink.points == 17
    assert receivers.admission.in_flight == 0
    client.close()


async def test_pipelined_requests_of_all_sizes_are_answered_in_turn(receivers):
    client = await Client.to(receivers)
    sizes = [100, SIZE, LARGE_BODY, 50, 200_000, LARGE_BODY + 1, 20, SIZE]
    sending = asyncio.create_task(client.send(b"".join(post(2**n, size) for n, size in enumerate(sizes))))
    assert [await client.answer() for _ in sizes] == [200] * len(sizes)
    await sending
    assert receivers.sink.points == 2 ** len(sizes) - 1
    client.close()


async def test_a_refused_large_request_is_answered_and_the_connection_goes_on(receivers):
    """Refused before the body is asked for (path, content type), by the decoder and by the sink."""
    client = await Client.to(receivers)
    for request, status in (
        (post(1, SIZE, path="/nowhere"), 404),
        (post(1, SIZE).replace(b"application/x-protobuf", b"text/plain;;;;;;;;;;;;"), 415),
        (post(1, SIZE, kind="bad"), 400),
        (post(9, SIZE), 200),
    ):
        await client.send(request)
        assert await client.answer() == status
    receivers.sink.failure = Unavailable("planted")
    await client.send(post(9, SIZE))
    assert await client.answer() == 503
    assert receivers.sink.points == 9
    assert receivers.admission.in_flight == 0
    client.close()


async def test_what_is_pipelined_behind_a_refused_large_body_is_heard(receivers):
    client = await Client.to(receivers)
    requests = [post(1, SIZE, path="/nowhere"), post(2, 50), post(1, LARGE_BODY, path="/nowhere"), post(4, SIZE)]
    sending = asyncio.create_task(client.send(b"".join(requests)))
    assert [await client.answer() for _ in requests] == [404, 200, 404, 200]
    await sending
    assert receivers.sink.points == 6
    client.close()


async def test_a_body_that_does_not_fit_in_memory_is_refused_while_it_arrives():
    async with running() as receivers:
        receivers.admission.max_bytes = 4 * 2**20
        held = await Client.to(receivers)
        first = post(1, SIZE)
        await held.send(first[:-1])
        async with asyncio.timeout(10):
            while receivers.admission.in_flight < 3 * 2**20:
                await asyncio.sleep(0.005)
        late = await Client.to(receivers)
        await late.send(post(1, 2**20 + 5_000))
        assert await late.answer() == 429
        await held.send(first[-1:])
        assert await held.answer() == 200
        await late.send(post(4, 2**20 + 5_000))
        assert await late.answer() == 200, "the connection that was refused is in step"
        assert receivers.sink.points == 5
        assert receivers.admission.in_flight == 0
        held.close()
        late.close()


async def test_memory_that_runs_out_in_the_middle_of_a_body_is_answered_and_the_rest_is_forgotten():
    async with running() as receivers:
        receivers.admission.max_bytes = 5 * 2**20 + 4096
        held, late = [await Client.to(receivers) for _ in range(2)]
        request = post(1, SIZE)
        await held.send(request[:-1])
        async with asyncio.timeout(10):
            while receivers.admission.in_flight < SIZE:
                await asyncio.sleep(0.005)
        await late.send(request)
        assert await late.answer() == 429, "after two of its four parts"
        await held.send(request[-1:])
        assert await held.answer() == 200
        for client in (held, late):
            await client.send(request)
            assert await client.answer() == 200, "either connection is in step"
            client.close()
        assert receivers.admission.in_flight == 0


async def test_a_client_that_goes_away_or_stalls_frees_what_it_held(receivers):
    gone, slow = await Client.to(receivers), await Client.to(receivers)
    request = post(1, SIZE)
    await gone.send(request[: SIZE // 2])
    await slow.send(request[: SIZE // 2])
    gone.close()
    assert await slow.answer() == 400
    async with asyncio.timeout(10):
        while receivers.admission.in_flight:
            await asyncio.sleep(0.005)
    assert receivers.sink.points == 0
    slow.close()


async def test_chunked_and_expecting_bodies_take_the_usual_way(receivers):
    client = await Client.to(receivers)
    body = b"points=6,pad=" + b"x" * 200_000
    head = b"POST /v1/metrics HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-protobuf\r\n"
    head += b"Transfer-Encoding: chunked\r\n\r\n"
    await client.send(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
    assert await client.answer() == 200
    expecting = post(8, SIZE, extra="Expect: 100-continue\r\n")
    await client.send(expecting[: expecting.index(b"\r\n\r\n") + 4])
    assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100")
    await client.send(expecting[expecting.index(b"\r\n\r\n") + 4 :])
    assert await client.answer() == 200
    assert receivers.sink.points == 14
    client.close()
