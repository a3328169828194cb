"""Receivers that answer badly: slowly, endlessly, elsewhere, or with what is no HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from gateway.alerting import http_delivery
from gateway.alerting.address_guard import AddressGuard
from gateway.alerting.notification import Again, Delivered, Outcome, Refused
from tests.gateway.alerting.test_channels import Channels, notification

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def receiver(answer: Answer) -> AsyncIterator[tuple[str, list[int]]]:
    """A server that reads a request's head and then does as `answer` says; and how often it was asked."""
    asked = [0]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                asked[0] += 1
                length = next(int(v) for k, v in _headers(head) if k == "content-length")
                await reader.readexactly(length)
                await answer(writer)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/hook", asked
    finally:
        server.close()


def _headers(head: bytes) -> list[tuple[str, str]]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines) if name]


def saying(*parts: bytes, pause: float = 0.0) -> Answer:
    async def answer(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(pause)

    return answer


async def told(answer: Answer) -> tuple[Outcome, int]:
    async with receiver(answer) as (url, asked), Channels(f"    webhook_configs: [{{url: '{url}'}}]\n") as channels:
        return await channels["webhook"].send(notification()), asked[0]


OK = b"HTTP/1.1 200 OK\r\n"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (saying(OK + b"Content-Length: 5\r\n\r\n"), Delivered),
        (saying(OK + b"Content-Length: 1000\r\n\r\n", *[b"x"] * 100, pause=0.05), Delivered),
        (saying(OK + b"Content-Length: 100000000\r\n\r\n", *[b"x" * 65536] * 40), Delivered),
        (saying(OK + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\n12345"), Delivered),
        (saying(b"HTTP/1.1 500 No\r\nContent-Length: 99\r\n\r\nwhy"), Again),
        (saying(b"HTTP/1.1 400 No\r\nContent-Length: 2\r\n\r\n\xff\xfe"), Refused),
        (saying(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), Again),
        (saying(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n"), Again),
        (saying(b"HTTP/1.1 999999 OK\r\n\r\n"), Again),
        (saying(b"HTTP/1.1 308 Go\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n"), Refused),
        (saying(b"HTTP/1.1 308 Go\r\nLocation: ftp://x/\r\nContent-Length: 0\r\n\r\n"), Again),
        (saying(b"HTTP/1.1 503 No\r\nRetry-After: 1e999\r\nContent-Length: 0\r\n\r\n"), Again),
        (saying(b"HTTP/1.1 503 No\r\nRetry-After: nan\r\nContent-Length: 0\r\n\r\n"), Again),
    ],
    ids=[
        "body that never comes", "byte by byte", "endless body", "no gzip", "half a reason", "reason of no text",
        "another protocol", "long header", "no status", "address of nowhere", "other scheme",
        "pause without end", "pause that is no number",
    ],
)  # fmt: skip
async def test_a_bad_answer_has_an_outcome(
    answer: Answer, expected: type[Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_delivery, "BODY_SECONDS", 0.2)
    outcome, _ = await told(answer)
    assert isinstance(outcome, expected), outcome
    if isinstance(outcome, Again) and outcome.after is not None:
        assert 0 <= outcome.after <= http_delivery.MAX_RETRY_AFTER


async def test_redirects_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_delivery, "BODY_SECONDS", 0.2)
    outcome, asked = await told(saying(b"HTTP/1.1 307 Go\r\nLocation: /hook\r\nContent-Length: 0\r\n\r\n"))
    assert isinstance(outcome, Refused)
    assert asked == http_delivery.MAX_REDIRECTS + 1


async def test_a_packed_bomb_is_not_unpacked() -> None:
    bomb = gzip.compress(b"\0" * 50_000_000)
    head = OK + b"Content-Encoding: gzip\r\nContent-Length: " + str(len(bomb)).encode() + b"\r\n\r\n"
    async with receiver(saying(head + bomb)) as (url, _):
        delivery = http_delivery.HttpDelivery(AddressGuard(["loopback"]))
        try:
            answer = await delivery.post(url, b"{}", headers={}, options=http_delivery.HttpOptions())
        finally:
            await delivery.close()
    assert len(answer.body) <= len(bomb)
