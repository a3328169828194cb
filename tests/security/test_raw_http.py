"""Bytes that no client library sends, over plain sockets: where a request ends is never in doubt, every answer is a
declared one, and nothing of it counts as a failure of ours."""

from __future__ import annotations

import asyncio
import re

import pytest

from gateway.selfmetrics import REGISTRY
from tests.gateway.ingest.receivers import running

POST = b"POST /v1/metrics HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\n"
WRITE = (
    b"POST /api/v1/write HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nContent-Encoding: snappy\r\n"
)
SMUGGLED = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\n\r\n"
BODY = b"points=1"

AMBIGUOUS = {
    "both lengths": POST + b"Content-Length: 8\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 8\r\n\r\n" + BODY,
    "two equal lengths": POST + b"Content-Length: 8\r\nContent-Length: 8\r\n\r\n" + BODY,
    "a list of lengths": POST + b"Content-Length: 8, 8\r\n\r\n" + BODY,
    "a signed length": POST + b"Content-Length: +8\r\n\r\n" + BODY,
    "a negative length": POST + b"Content-Length: -8\r\n\r\n" + BODY,
    "a hexadecimal length": POST + b"Content-Length: 0x8\r\n\r\n" + BODY,
    "a length beyond 64 bits": POST + b"Content-Length: 99999999999999999999\r\n\r\n" + BODY,
    "an unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n8\r\npoints=1\r\n0\r\n\r\n",
    "chunked not last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n8\r\npoints=1\r\n0\r\n\r\n",
    "a space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n8\r\npoints=1\r\n0\r\n\r\n",
    "a chunk without a size": POST + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\nabc\r\n0\r\n\r\n",
    "a chunk beyond 64 bits": POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
    "a negative chunk": POST + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nabc\r\n0\r\n\r\n",
    "chunks with bare line feeds": POST + b"Transfer-Encoding: chunked\r\n\r\n8\npoints=1\n0\n\n",
    "a folded header": POST + b"X: a\r\n b\r\nContent-Length: 8\r\n\r\n" + BODY,
    "a NUL": POST + b"X: a\0b\r\nContent-Length: 8\r\n\r\n" + BODY,
    "a bare carriage return": POST + b"X: a\rContent-Length: 5\r\nContent-Length: 8\r\n\r\n" + BODY,
    "bare line feeds": b"GET /-/healthy HTTP/1.1\nHost: x\n\n",
    "10,000 headers": POST + b"X: y\r\n" * 10_000 + b"\r\n",
    "a header of a megabyte": POST + b"X: " + bytes([97]) * 2**20 + b"\r\n\r\n",
    "an address of a megabyte": b"GET /" + bytes([97]) * 2**20 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "50,000 trailers": POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"X: y\r\n" * 50_000 + b"\r\n",
    "another protocol": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
}


async def exchange(port: int, data: bytes) -> bytes:
    """Everything that is answered until the other side closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    try:
        return await asyncio.wait_for(reader.read(), 20)
    except ConnectionError:
        return b""  # closed while we still sent
    finally:
        writer.close()


def failures() -> float:
    return sum(
        sample.value
        for metric in REGISTRY.collect()
        if metric.name == "gateway_task_failures"
        for sample in metric.samples
        if sample.name.endswith("_total")
    )


async def test_a_request_whose_end_is_in_doubt_is_refused_and_so_is_all_behind_it() -> None:
    before = failures()
    async with running() as receivers:
        for name, data in AMBIGUOUS.items():
            try:
                answer = await exchange(receivers.http.port, data + SMUGGLED)
            except TimeoutError:
                raise AssertionError(name) from None
            assert len(re.findall(rb"^HTTP/1", answer, re.MULTILINE)) <= 1, name  # a refusal quotes what it refuses
            assert not answer.endswith(b"healthy\n"), name
            assert not answer or b" 400 " in answer.split(b"\r\n")[0], name
        assert receivers.sink.points == 0
        assert receivers.admission.in_flight == 0
    assert failures() == before


LAST = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.mark.parametrize("start", [POST, WRITE])
@pytest.mark.parametrize("name", [b"Content-Type", b"Content-Encoding", b"User-Agent", b"Authorization", b"Expect"])
async def test_headers_that_are_no_text_have_declared_answers(start: bytes, name: bytes) -> None:
    before = failures()
    kept = b"".join(line + b"\r\n" for line in start.split(b"\r\n")[:-1] if not line.startswith(name))
    async with running() as receivers:
        answer = await exchange(
            receivers.http.port, kept + name + b": \xff\xfe\xed\xa0\x80\r\nContent-Length: 8\r\n\r\n" + BODY + LAST
        )
    assert int(answer.split(b" ", 2)[1]) in (200, 204, 400, 415, 417)
    assert answer.endswith(b"healthy\n")
    assert failures() == before


async def test_a_thousand_requests_in_one_piece_are_answered_one_by_one() -> None:
    async with running() as receivers:
        answer = await exchange(receivers.http.port, (POST + b"Content-Length: 8\r\n\r\n" + BODY) * 1_000 + LAST)
        assert answer.count(b"HTTP/1.1 200 OK") == 1_001
        assert receivers.sink.points == 1_000
