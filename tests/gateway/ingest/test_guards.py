"""Headers and JSON without end: refused, and the next request is served."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from gateway.decode.otlp_metrics import OtlpMetricsDecoder
from gateway.decode.settings import DecodeSettings
from gateway.errors import DecodeError, RequestError
from gateway.web.inbound_api import decode_json
from tests.gateway.ingest.receivers import Receivers, running


@pytest.fixture
async def receivers() -> AsyncIterator[Receivers]:
    async with running() as both:
        yield both


async def status_of(receivers: Receivers, head: str) -> int:
    """Of a request with these header lines; 0 where the connection is closed without an answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", receivers.http.port)
    body = "points=1"
    writer.write(
        f"POST /v1/metrics HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-protobuf\r\n{head}"
        f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    async with asyncio.timeout(10):
        line = await reader.readline()
    writer.close()
    return int(line.split()[1]) if line else 0


@pytest.mark.parametrize(
    "head",
    ["X-Long: " + "x" * 20_000 + "\r\n", "x" * 20_000 + ": 1\r\n", "".join(f"X-{n}: 1\r\n" for n in range(5_000))],
    ids=["value", "name", "number"],
)
async def test_headers_are_limited(receivers: Receivers, head: str) -> None:
    assert await status_of(receivers, head) in (400, 431)
    assert receivers.sink.points == 0
    assert await status_of(receivers, "X-Short: x\r\n") == 200


def nested(depth: int) -> bytes:
    """An attribute whose value is a list of a list of … a list."""
    value = b'{"arrayValue":{"values":[' * depth + b'{"stringValue":"x"}' + b"]}}" * depth
    point = b'{"timeUnixNano":"1700000000000000000","asDouble":1,"attributes":[{"key":"a","value":' + value + b"}]}"
    return (
        b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"x","gauge":{"dataPoints":[' + point + b"]}}]}]}]}"
    )


def test_the_depth_of_json_is_limited() -> None:
    decoder = OtlpMetricsDecoder((1, 2), DecodeSettings())
    now_ms = 1_700_000_000_000
    assert decoder.decode_json(nested(3), now_ms).points == 1
    assert decoder.decode_json(nested(50), now_ms).rejected == {"attribute_depth": 1}
    for body in (nested(100_000), b"[" * 1_000_000, b'{"resourceMetrics":' * 200_000):
        with pytest.raises(DecodeError):
            decoder.decode_json(body, now_ms)
    with pytest.raises(RequestError):
        decode_json(b'{"a":' * 100_000 + b"1" + b"}" * 100_000)
