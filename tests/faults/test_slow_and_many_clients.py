"""Clients that are slow on purpose, or too many: what each can hold is bounded in time and number."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import grpc
import pytest
from aiohttp import web

from gateway.ingest.admission import COLUMN_BYTES, Admission, Ticket
from gateway.ingest.settings import IngestSettings
from gateway.settings_types import ByteSize, Duration
from gateway.web.connection_guard import guard_connections
from tests.gateway.ingest.receivers import running

EXPORT = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
REQUEST = (
    b"POST /v1/metrics HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Length: 8\r\n\r\npoints=1"
)


async def closed_within(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, trickle: bytes) -> None:
    """Send one byte after another until the other side closes; fails when it does not."""
    async with asyncio.timeout(10):
        with contextlib.suppress(ConnectionError):
            for number in range(10_000):
                writer.write(trickle[number % len(trickle) : number % len(trickle) + 1])
                await writer.drain()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.02):
                        if not await reader.read(1000):
                            return


async def test_headers_that_trickle_on_a_kept_connection_are_cut_off() -> None:
    async with running(IngestSettings(idle_timeout=Duration(0.5))) as r:
        reader, writer = await asyncio.open_connection("127.0.0.1", r.http.port)
        writer.write(REQUEST)
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"POST /v1/metrics HTTP/1.1\r\nX-Slow: ")
        await closed_within(reader, writer, b"a")
        writer.close()


async def test_grpc_connections_that_never_finish_their_handshake_are_cut_off_and_others_served() -> None:
    async with running(IngestSettings(header_timeout=Duration(0.5))) as r:
        silent = [await asyncio.open_connection("127.0.0.1", r.grpc.port) for _ in range(20)]
        async with grpc.aio.insecure_channel(r.target) as channel:
            assert await channel.unary_unary(EXPORT)(b"points=3", timeout=5) == b""
        for reader, writer in silent:
            async with asyncio.timeout(10):
                with contextlib.suppress(ConnectionError):
                    while await reader.read(4096):
                        pass
            writer.close()


async def test_grpc_connections_are_bounded() -> None:
    async with running(IngestSettings(max_connections=3)) as r:
        channels = []
        answered = refused = 0
        for number in range(8):
            channel = grpc.aio.insecure_channel(r.target, options=[("grpc.use_local_subchannel_pool", number + 1)])
            channels.append(channel)
            try:
                await channel.unary_unary(EXPORT)(b"points=1", timeout=2)
                answered += 1
            except grpc.aio.AioRpcError as error:
                refused += error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        assert answered >= 3
        assert refused == 8 - answered > 0
        for channel in channels:
            await channel.close()
        async with grpc.aio.insecure_channel(r.target) as channel, asyncio.timeout(20):
            assert await channel.unary_unary(EXPORT)(b"points=1", timeout=15, wait_for_ready=True) == b""


async def test_a_thousand_idle_connections_do_not_keep_others_out() -> None:
    async with running() as r:
        idle = [await asyncio.open_connection("127.0.0.1", r.http.port) for _ in range(1000)]
        async with aiohttp.ClientSession() as session:
            headers = {"Content-Type": "application/x-protobuf"}
            async with session.post(f"{r.url}/v1/metrics", data=b"points=2", headers=headers) as response:
                assert response.status == 200
        for _, writer in idle:
            writer.transport.abort()


async def test_announced_bodies_that_do_not_come_keep_no_small_request_out() -> None:
    settings = IngestSettings(max_request_bytes=ByteSize(2**20), max_in_flight_bytes=ByteSize(2**21))
    async with running(settings) as r:
        head = b"POST /v1/metrics HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
        head += b"Content-Length: %d\r\n\r\n"
        held = [await asyncio.open_connection("127.0.0.1", r.http.port) for _ in range(4)]
        for _, writer in held:
            writer.write(head % 2**20)
        async with asyncio.timeout(10):
            while r.admission.in_flight < 2**21:
                await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection("127.0.0.1", r.http.port)
        writer.write(head % 8 + b"points=1")
        assert b"200 OK" in await asyncio.wait_for(reader.readline(), 10)
        for _, one in (*held, (reader, writer)):
            one.close()


def test_decoded_rows_count_against_those_who_come_next() -> None:
    admission = Admission(1000)
    ticket = Ticket(admission)
    ticket.take(100)
    ticket.hold_columns(40)
    assert admission.in_flight == 100 + 40 * COLUMN_BYTES
    with pytest.raises(Exception, match="in flight"):
        Ticket(admission).take(1)
    ticket.close()
    assert admission.in_flight == 0


@asynccontextmanager
async def control_plane() -> AsyncIterator[int]:
    application = web.Application()

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text="fine")

    application.router.add_get("/", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    assert runner.server is not None
    guard_connections(runner.server, max_connections=3, header_seconds=0.3)
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def test_slow_headers_and_too_many_connections_to_the_control_plane() -> None:
    async with control_plane() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\nX-Slow: ")
        await closed_within(reader, writer, b"a")
        writer.close()
        kept = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
        await asyncio.sleep(0.05)
        with pytest.raises((aiohttp.ClientError, ConnectionError)):
            async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/"):
                pass
        for one in kept:
            one.close()
        async with asyncio.timeout(5), aiohttp.ClientSession() as session:
            while True:
                with contextlib.suppress(aiohttp.ClientError, ConnectionError):
                    async with session.get(f"http://127.0.0.1:{port}/") as response:
                        assert await response.text() == "fine"
                        break
                await asyncio.sleep(0.02)
