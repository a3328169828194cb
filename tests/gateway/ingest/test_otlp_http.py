"""OTLP/HTTP: every answer a client may get, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import zlib

import aiohttp
import cramjam
import pytest
import zstandard
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from gateway.errors import LogFull
from gateway.ingest.settings import IngestSettings
from gateway.settings_types import ByteSize, Duration
from tests.gateway.ingest.receivers import running

PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}
ENCODERS = {
    "identity": bytes,
    "gzip": gzip.compress,
    "deflate": zlib.compress,
    "zstd": zstandard.compress,
    "snappy": lambda b: bytes(cramjam.snappy.compress_raw(b)),
}


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.mark.parametrize("encoding", ENCODERS)
@pytest.mark.parametrize("size", [0, 200_000])
async def test_accepts_every_encoding_small_and_large(session, encoding, size):
    body = ENCODERS[encoding](b"points=3,pad=" + b"x" * size)
    async with running() as r:
        answer = await session.post(f"{r.url}/v1/metrics", data=body, headers=PROTOBUF | {"Content-Encoding": encoding})
        assert (answer.status, await answer.read()) == (200, b"")
        assert answer.headers["Content-Type"] == "application/x-protobuf"
        assert "Date" in answer.headers
        assert r.sink.points == 3
        assert r.admission.in_flight == 0


async def test_json_is_answered_in_json(session):
    async with running() as r:
        answer = await session.post(f"{r.url}/v1/metrics", data=b"points=1", headers=JSON)
        assert answer.content_type == "application/json"
        assert await answer.json() == {}
        answer = await session.post(f"{r.url}/v1/metrics", data=b"points=1,reject=2", headers=JSON)
        partial = (await answer.json())["partialSuccess"]
        assert partial == {"rejectedDataPoints": "2", "errorMessage": '2 points of "toy" are older than 48h'}


async def test_partial_success_counts_what_decoder_and_log_refused(session):
    async with running() as r:
        r.sink.refused = {"series_limit": 1}
        answer = await session.post(f"{r.url}/v1/metrics", data=b"points=5,reject=2", headers=PROTOBUF)
        response = ExportMetricsServiceResponse.FromString(await answer.read())
        assert answer.status == 200
        assert response.partial_success.rejected_data_points == 3
        assert "48h" in response.partial_success.error_message
        assert "series_limit" in response.partial_success.error_message


async def test_empty_body_is_an_empty_export(session):
    async with running() as r:
        answer = await session.post(f"{r.url}/v1/metrics", data=b"", headers=PROTOBUF)
        assert (answer.status, r.sink.accepted) == (200, [])


async def test_traces_and_logs_are_answered_truthfully(session):
    async with running() as r:
        answer = await session.post(f"{r.url}/v1/traces", data=b"points=4", headers=PROTOBUF)
        spans = ExportTraceServiceResponse.FromString(await answer.read()).partial_success
        assert (answer.status, spans.rejected_spans) == (200, 4)
        assert "does not store" in spans.error_message
        answer = await session.post(f"{r.url}/v1/logs", data=b"points=7", headers=PROTOBUF)
        records = ExportLogsServiceResponse.FromString(await answer.read()).partial_success
        assert (answer.status, records.rejected_log_records) == (200, 7)
        answer = await session.post(f"{r.url}/v1/traces", data=b"", headers=JSON)
        assert await answer.json() == {}
        assert r.sink.accepted == []


@pytest.mark.parametrize(
    ("body", "headers", "status", "code", "words"),
    [
        (b"bad", {}, 400, 3, "at byte 3"),
        (b"points=1", {"Content-Encoding": "gzip"}, 400, 3, "not valid gzip"),
        (gzip.compress(b"points=1", mtime=0)[:-4], {"Content-Encoding": "gzip"}, 400, 3, "ends too early"),
        (b"points=1", {"Content-Encoding": "br"}, 415, 3, "content encoding"),
        (b"points=1", {"Content-Type": "text/plain"}, 415, 3, "content type"),
        (b"x" * 100_001, {}, 413, 8, "limit"),
        (gzip.compress(bytes(10_000_000), mtime=0), {"Content-Encoding": "gzip"}, 413, 8, "after decompression"),
        (zstandard.compress(bytes(10_000_000)), {"Content-Encoding": "zstd"}, 413, 8, "after decompression"),
        (b"\xff\xff\xff\xff\x0f" + b"a" * 20, {"Content-Encoding": "snappy"}, 413, 8, "after decompression"),
        (b"boom", {}, 503, 14, "send it again"),
    ],
)
async def test_bad_requests_are_refused_with_a_status_message(session, body, headers, status, code, words):
    async with running(IngestSettings(max_request_bytes=ByteSize(100_000))) as r:
        answer = await session.post(f"{r.url}/v1/metrics", data=body, headers=PROTOBUF | headers)
        if answer.content_type == "application/json":
            refusal = status_pb2.Status(**json.loads(await answer.read()))
        else:
            assert answer.content_type == "application/x-protobuf"
            refusal = status_pb2.Status.FromString(await answer.read())
        assert (answer.status, refusal.code) == (status, code)
        assert words in refusal.message
        assert r.admission.in_flight == 0
        neighbour = await session.post(f"{r.url}/v1/metrics", data=b"points=1", headers=PROTOBUF)
        assert (neighbour.status, r.sink.points) == (200, 1)


async def test_temporary_failures_tell_when_to_come_back(session):
    async with running() as r:
        r.sink.failure = LogFull("the log is full", retry_after=2.5)
        answer = await session.post(f"{r.url}/v1/metrics", data=b"points=1", headers=PROTOBUF)
        refusal = status_pb2.Status.FromString(await answer.read())
        wait = error_details_pb2.RetryInfo()
        assert refusal.details[0].Unpack(wait)
        assert (answer.status, answer.headers["Retry-After"]) == (503, "3")
        assert (wait.retry_delay.seconds, wait.retry_delay.nanos) == (2, 500_000_000)
        answer = await session.post(f"{r.url}/v1/metrics", data=b"points=1", headers=JSON)
        assert (await answer.json())["details"][0]["retryDelay"] == "2.5s"


async def test_overload_is_429_and_ends_with_the_answers(session):
    settings = IngestSettings(max_request_bytes=ByteSize(150_000), max_in_flight_bytes=ByteSize(300_000))
    async with running(settings) as r:
        r.sink.gate = asyncio.Event()
        body = b"points=1,pad=" + b"x" * 100_000
        held = [asyncio.create_task(session.post(f"{r.url}/v1/metrics", data=body, headers=PROTOBUF)) for _ in "ab"]
        async with asyncio.timeout(5):
            while r.admission.in_flight < 200_000:
                await asyncio.sleep(0.01)
        refused = await session.post(f"{r.url}/v1/metrics", data=body, headers=PROTOBUF)
        assert refused.status == 429
        assert int(refused.headers["Retry-After"]) >= 1
        r.sink.gate.set()
        assert [(await answer).status for answer in held] == [200, 200]
        assert r.admission.in_flight == 0
        assert (await session.post(f"{r.url}/v1/metrics", data=body, headers=PROTOBUF)).status == 200


async def test_growth_through_decompression_is_admitted_too(session):
    settings = IngestSettings(max_request_bytes=ByteSize(150_000), max_in_flight_bytes=ByteSize(300_000))
    async with running(settings) as r:
        r.sink.gate = asyncio.Event()
        plain = b"points=1,pad=" + b"x" * 120_000
        held = [asyncio.create_task(session.post(f"{r.url}/v1/metrics", data=plain, headers=PROTOBUF)) for _ in "ab"]
        async with asyncio.timeout(5):
            while r.admission.in_flight < 240_000:
                await asyncio.sleep(0.01)
        body = gzip.compress(plain, mtime=0)
        answer = await session.post(f"{r.url}/v1/metrics", data=body, headers=PROTOBUF | {"Content-Encoding": "gzip"})
        assert answer.status == 429
        r.sink.gate.set()
        assert [(await answer).status for answer in held] == [200, 200]
        assert r.admission.in_flight == 0


async def test_other_paths_and_methods(session):
    async with running() as r:
        assert (await session.post(f"{r.url}/v1/nothing", data=b"")).status == 404
        answer = await session.get(f"{r.url}/v1/metrics")
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
        answer = await session.post(f"{r.url}/-/ready")
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD")
        assert (await session.get(f"{r.url}/-/healthy")).status == 200
        assert (await session.get(f"{r.url}/-/ready")).status == 200
        r.problem = "the writer makes no progress"
        answer = await session.get(f"{r.url}/-/ready")
        assert (answer.status, await answer.text()) == (503, "the writer makes no progress\n")


async def test_chunked_bodies_are_counted_while_they_arrive(session):
    async def chunks(total):
        for _ in range(total // 10_000):
            yield b"p" * 10_000

    async with running(IngestSettings(max_request_bytes=ByteSize(50_000))) as r:
        answer = await session.post(f"{r.url}/v1/metrics", data=chunks(200_000), headers=PROTOBUF)
        assert answer.status == 413
        assert r.admission.in_flight == 0


async def _raw(port: int, data: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(data)
    return reader, writer


HEAD = b"POST /v1/metrics HTTP/1.1\r\nHost: a\r\nContent-Type: application/x-protobuf\r\nContent-Length: "


async def test_slow_headers_and_slow_bodies_are_ended():
    settings = IngestSettings(header_timeout=Duration(0.2), body_timeout=Duration(0.2))
    async with running(settings) as r, asyncio.timeout(10):
        reader, writer = await _raw(r.http.port, b"POST /v1/met")
        assert await reader.read() == b""
        writer.close()
        reader, writer = await _raw(r.http.port, HEAD + b"500\r\n\r\npoints=")
        assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
        assert r.admission.in_flight == 0
        writer.close()


async def test_a_client_that_goes_away_frees_what_it_held():
    async with running() as r, asyncio.timeout(10):
        _, writer = await _raw(r.http.port, HEAD + b"100000\r\n\r\npoints=")
        while not r.admission.in_flight:
            await asyncio.sleep(0.01)
        writer.transport.abort()
        while r.admission.in_flight:
            await asyncio.sleep(0.01)


async def test_expect_continue_and_pipelining():
    async with running() as r, asyncio.timeout(10):
        reader, writer = await _raw(r.http.port, HEAD + b"8\r\nExpect: 100-continue\r\n\r\n")
        assert await reader.readline() == b"HTTP/1.1 100 Continue\r\n"
        await reader.readline()
        writer.write(b"points=1")
        assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        assert b"Content-Length: 0\r\n" in await reader.readuntil(b"\r\n\r\n")
        writer.write((HEAD + b"8\r\n\r\npoints=1") * 3)
        for _ in range(3):
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
            await reader.readuntil(b"\r\n\r\n")
        assert r.sink.points == 4
        writer.write(HEAD + b"8\r\nConnection: close\r\n\r\npoints=1")
        answer = await reader.read()
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert r.sink.points == 5
        writer.close()


async def test_connections_are_bounded():
    async with running(IngestSettings(max_connections=2)) as r, asyncio.timeout(10):
        kept = [await _raw(r.http.port, HEAD + b"8\r\n\r\npoints=1") for _ in range(2)]
        for reader, _ in kept:
            assert await reader.readline() == b"HTTP/1.1 200 OK\r\n"
        reader, writer = await _raw(r.http.port, HEAD + b"8\r\n\r\npoints=1")
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        for _, kept_writer in [*kept, (reader, writer)]:
            kept_writer.close()


async def test_stop_lets_requests_in_progress_finish(session):
    async with running() as r:
        r.sink.gate = asyncio.Event()
        pending = asyncio.create_task(session.post(f"{r.url}/v1/metrics", data=b"points=1", headers=PROTOBUF))
        async with asyncio.timeout(5):
            while not r.admission.in_flight:
                await asyncio.sleep(0.01)
        stopping = asyncio.create_task(r.http.stop(5.0))
        await asyncio.sleep(0)
        r.sink.gate.set()
        assert (await pending).status == 200
        await stopping
        await r.http.stop(5.0)
