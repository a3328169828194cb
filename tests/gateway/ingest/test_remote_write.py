"""Remote write 1.0 and 2.0: statuses, Written headers, encodings."""

from __future__ import annotations

import gzip

import aiohttp
import cramjam
import pytest
import zstandard

from gateway.errors import LogFull
from gateway.ingest.settings import IngestSettings
from gateway.settings_types import ByteSize
from tests.gateway.ingest.receivers import running

V1 = {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"}
V2 = V1 | {"Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request"}
SAMPLES, HISTOGRAMS, EXEMPLARS = (
    f"X-Prometheus-Remote-Write-{kind}-Written" for kind in ("Samples", "Histograms", "Exemplars")
)


def snappy(body: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(body))


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as session:
        yield session


@pytest.mark.parametrize("path", ["/api/v1/write", "/api/v1/push", "/api/v1/write?source=a"])
@pytest.mark.parametrize("size", [0, 200_000])
async def test_v1_is_204(session, path, size):
    async with running() as r:
        body = snappy(b"points=3,pad=" + b"x" * size)
        answer = await session.post(r.url + path, data=body, headers=V1)
        assert (answer.status, await answer.read()) == (204, b"")
        assert SAMPLES not in answer.headers
        assert r.sink.points == 3


async def test_v2_says_what_was_written(session):
    async with running() as r:
        answer = await session.post(f"{r.url}/api/v1/write", data=snappy(b"points=3"), headers=V2)
        assert (answer.status, answer.headers[SAMPLES]) == (204, "3")
        assert (answer.headers[HISTOGRAMS], answer.headers[EXEMPLARS]) == ("0", "0")
        answer = await session.post(f"{r.url}/api/v1/write", data=snappy(b"points=3,reject=1"), headers=V2)
        assert (answer.status, answer.headers[SAMPLES]) == (400, "3")
        r.sink.refused = {"series_limit": 2}
        answer = await session.post(f"{r.url}/api/v1/write", data=snappy(b"points=3"), headers=V2)
        assert (answer.status, answer.headers[SAMPLES]) == (400, "1")
        r.sink.failure = LogFull("full")
        answer = await session.post(f"{r.url}/api/v1/write", data=snappy(b"points=3"), headers=V2)
        assert (answer.status, answer.headers[SAMPLES]) == (503, "0")


async def test_the_valid_rest_of_a_partly_bad_request_is_kept(session):
    async with running() as r:
        answer = await session.post(f"{r.url}/api/v1/write", data=snappy(b"points=3,reject=1"), headers=V1)
        assert answer.status == 400
        assert await answer.text() == '1 points of "toy" are older than 48h'
        assert r.sink.points == 3


@pytest.mark.parametrize(
    ("media_type", "status"),
    [
        ("application/x-protobuf", 204),
        ("application/x-protobuf; proto=prometheus.WriteRequest", 204),
        ('Application/X-Protobuf;proto="io.prometheus.write.v2.Request"', 204),
        ("application/x-protobuf;proto=io.prometheus.write.v3.Request", 415),
        ("application/json", 415),
        ("text/plain", 415),
    ],
)
async def test_content_types(session, media_type, status):
    async with running() as r:
        headers = V1 | {"Content-Type": media_type}
        answer = await session.post(f"{r.url}/api/v1/write", data=snappy(b"points=1"), headers=headers)
        assert answer.status == status
        assert (SAMPLES in answer.headers) == ("write.v2" in media_type)


@pytest.mark.parametrize(
    ("encoding", "body", "status"),
    [
        ("zstd", zstandard.compress(b"points=1"), 204),
        ("gzip", gzip.compress(b"points=1", mtime=0), 415),
        ("deflate", b"points=1", 415),
        ("br", b"points=1", 415),
        ("identity", b"points=1", 415),
        ("snappy", b"points=1", 400),
        ("snappy", b"", 400),
        ("snappy", bytes(cramjam.snappy.compress(b"points=1")), 400),
        ("snappy", b"\xff\xff\xff\xff\x0f" + b"a" * 50, 413),
        ("snappy", b"\x80\x80\x04" + b"a" * 50, 400),
        ("zstd", zstandard.compress(bytes(1_000_000)), 413),
    ],
)
async def test_encodings(session, encoding, body, status):
    async with running(IngestSettings(max_request_bytes=ByteSize(100_000))) as r:
        headers = V1 | {"Content-Encoding": encoding}
        answer = await session.post(f"{r.url}/api/v1/write", data=body, headers=headers)
        assert answer.status == status, await answer.text()
        assert r.admission.in_flight == 0


async def test_temporary_failures_tell_when_to_come_back(session):
    async with running() as r:
        r.sink.failure = LogFull("the log is full", retry_after=2.5)
        answer = await session.post(f"{r.url}/api/v1/write", data=snappy(b"points=1"), headers=V1)
        assert (answer.status, answer.headers["Retry-After"], await answer.text()) == (503, "3", "the log is full")


async def test_vmagent_learns_that_zstd_is_welcome(session):
    async with running() as r:
        answer = await session.get(f"{r.url}/api/v1/write?get_vm_proto_version=1")
        assert (answer.status, await answer.text()) == (200, "1")
        answer = await session.get(f"{r.url}/api/v1/write")
        assert (answer.status, answer.headers["Allow"]) == (405, "POST")
