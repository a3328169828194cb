"""Bad input with the real decoders: each has a declared answer and a counted reason, and costs no neighbour's data."""

from __future__ import annotations

import gzip
import math
import random
from collections.abc import Callable
from dataclasses import replace

import aiohttp
import cramjam
import pytest
import zstandard
from google.rpc import status_pb2
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint

from gateway.clock import SystemClock
from gateway.decode.otlp_metrics import OtlpMetricsDecoder
from gateway.decode.remote_write_settings import RemoteWriteSettings
from gateway.decode.remote_write_v1 import RemoteWriteV1Decoder
from gateway.decode.settings import DecodeSettings
from gateway.ingest.settings import IngestSettings
from gateway.selfmetrics import REGISTRY
from tests.gateway.ingest.receivers import TOY_DECODERS, Receivers, running

KEY = (0x0123456789ABCDEF, 0xFEDCBA9876543210)
DECODERS = replace(
    TOY_DECODERS,
    otlp_metrics_protobuf=OtlpMetricsDecoder(KEY, DecodeSettings()).decode_protobuf,
    remote_write_v1=RemoteWriteV1Decoder(KEY, RemoteWriteSettings()).decode,
)
PROTOBUF = {"Content-Type": "application/x-protobuf"}
REMOTE_WRITE = PROTOBUF | {"Content-Encoding": "snappy"}
YEAR_1970, YEAR_2100 = 1_000_000_000, 4_102_444_800_000_000_000


@pytest.fixture
async def session():
    async with aiohttp.ClientSession() as session:
        yield session


def now_ns() -> int:
    return SystemClock().time_ns()


def request(change: Callable[[NumberDataPoint], None] | None = None, **attributes: str) -> bytes:
    """A good point, and beside it one that is changed."""
    message = ExportMetricsServiceRequest()
    gauge = message.resource_metrics.add().scope_metrics.add().metrics.add(name="queue").gauge
    for index in range(2):
        point = gauge.data_points.add(time_unix_nano=now_ns(), as_double=1.0)
        point.attributes.add(key="n").value.string_value = str(index)
    if change is not None:
        change(gauge.data_points[1])
    return message.SerializeToString()


def _set(**fields: object) -> Callable[[NumberDataPoint], None]:
    def change(point: NumberDataPoint) -> None:
        for name, value in fields.items():
            setattr(point, name, value)

    return change


def _many_attributes(point: NumberDataPoint) -> None:
    for index in range(10_000):
        point.attributes.add(key=f"a{index}").value.string_value = "x"


def _huge_attribute(point: NumberDataPoint) -> None:
    point.attributes.add(key="a").value.string_value = "x" * 1_000_000


def _repeated_key(point: NumberDataPoint) -> None:
    point.attributes.add(key="n").value.string_value = "again"


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"gateway_{name}_total", labels) or 0.0


async def _neighbour_is_taken(session: aiohttp.ClientSession, r: Receivers) -> None:
    before = r.sink.points
    answer = await session.post(f"{r.url}/v1/metrics", data=request(), headers=PROTOBUF)
    assert (answer.status, r.sink.points) == (200, before + 2)
    assert r.admission.in_flight == 0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_set(time_unix_nano=YEAR_1970), "too_old"),
        (_set(time_unix_nano=0), "too_old"),
        (_set(time_unix_nano=YEAR_2100), "too_new"),
        (_set(as_double=math.nan), "nan"),
        (_many_attributes, "too_many_attributes"),
        (_huge_attribute, "label_too_long"),
    ],
)
async def test_bad_points_are_told_and_counted_and_their_neighbours_taken(session, change, reason):
    async with running(decoders=DECODERS) as r:
        before = counted("ingest_rejected_points", protocol="otlp_http", reason=reason)
        answer = await session.post(f"{r.url}/v1/metrics", data=request(change), headers=PROTOBUF)
        partial = ExportMetricsServiceResponse.FromString(await answer.read()).partial_success
        assert (answer.status, partial.rejected_data_points, r.sink.points) == (200, 1, 1)
        assert reason in partial.error_message
        assert counted("ingest_rejected_points", protocol="otlp_http", reason=reason) == before + 1
        await _neighbour_is_taken(session, r)


@pytest.mark.parametrize(
    "change", [_set(as_double=math.inf), _set(as_double=-math.inf), _repeated_key, _set(as_int=-5)]
)
async def test_unusual_points_are_accepted(session, change):
    async with running(decoders=DECODERS) as r:
        answer = await session.post(f"{r.url}/v1/metrics", data=request(change), headers=PROTOBUF)
        assert (answer.status, await answer.read(), r.sink.points) == (200, b"", 2)


async def test_text_that_is_not_utf8_costs_its_point_alone(session):
    async with running(decoders=DECODERS) as r:
        body = request(lambda point: setattr(point.attributes[0].value, "string_value", "??"))
        assert body.count(b"??") == 1
        answer = await session.post(f"{r.url}/v1/metrics", data=body.replace(b"??", b"\xff\xfe"), headers=PROTOBUF)
        partial = ExportMetricsServiceResponse.FromString(await answer.read()).partial_success
        assert (answer.status, partial.rejected_data_points, r.sink.points) == (200, 1, 1)
        assert "not_utf8" in partial.error_message


async def test_unknown_fields_are_ignored(session):
    async with running(decoders=DECODERS) as r:
        unknown = b"\xa2\x06\x03abc" + b"\xa8\x06\x05"  # fields 100 (text) and 101 (integer)
        answer = await session.post(f"{r.url}/v1/metrics", data=request() + unknown, headers=PROTOBUF)
        assert (answer.status, r.sink.points) == (200, 2)


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason"),
    [
        (request()[:-3], {}, 400, "decode"),
        (b"\xff" * 50, {}, 400, "decode"),
        (gzip.compress(bytes(70 * 2**20)), {"Content-Encoding": "gzip"}, 413, "too_large"),
        (zstandard.compress(bytes(70 * 2**20)), {"Content-Encoding": "zstd"}, 413, "too_large"),
        (gzip.compress(request())[:-5], {"Content-Encoding": "gzip"}, 400, "compression"),
        (request(), {"Content-Encoding": "gzip"}, 400, "compression"),
        (request(), {"Content-Encoding": "compress"}, 415, "encoding"),
        (request(), {"Content-Type": "application/xml"}, 415, "content_type"),
    ],
    ids=[
        "truncated",
        "garbage",
        "gzip bomb",
        "zstd bomb",
        "truncated gzip",
        "not gzip",
        "wrong encoding",
        "wrong type",
    ],
)
async def test_bad_requests_are_refused_whole_and_counted(session, body, headers, status, reason):
    async with running(decoders=DECODERS) as r:
        labels = {"protocol": "otlp_http", "signal": "metrics", "reason": reason}
        before = counted("ingest_errors", **labels)
        answer = await session.post(f"{r.url}/v1/metrics", data=body, headers=PROTOBUF | headers)
        assert answer.status == status
        if answer.content_type == "application/x-protobuf":
            assert status_pb2.Status.FromString(await answer.read()).message
        assert r.sink.accepted == []
        assert counted("ingest_errors", **labels) == before + 1
        await _neighbour_is_taken(session, r)


async def test_64_mib_and_one_byte_is_refused_before_it_is_read(session):
    async with running(decoders=DECODERS) as r:
        answer = await session.post(f"{r.url}/v1/metrics", data=bytes(64 * 2**20 + 1), headers=PROTOBUF)
        assert answer.status == 413
        assert str(64 * 2**20) in status_pb2.Status.FromString(await answer.read()).message
        await _neighbour_is_taken(session, r)


async def test_empty_requests_are_fine(session):
    async with running(decoders=DECODERS) as r:
        answer = await session.post(f"{r.url}/v1/metrics", data=b"", headers=PROTOBUF)
        assert (answer.status, await answer.read()) == (200, b"")
        body = bytes(cramjam.snappy.compress_raw(b""))
        assert (await session.post(f"{r.url}/api/v1/write", data=body, headers=REMOTE_WRITE)).status == 204


async def test_flipped_bits_never_end_in_a_crash_or_a_500(session):
    source = random.Random(7)
    good = request()
    remote = _remote_write([("__name__", "up"), ("job", "a")])
    async with running(decoders=DECODERS) as r:
        for _ in range(150):
            damaged = bytearray(good)
            damaged[source.randrange(len(damaged))] ^= 1 << source.randrange(8)
            answer = await session.post(f"{r.url}/v1/metrics", data=bytes(damaged), headers=PROTOBUF)
            assert answer.status in (200, 400)
            damaged = bytearray(remote)
            damaged[source.randrange(len(damaged))] ^= 1 << source.randrange(8)
            body = bytes(cramjam.snappy.compress_raw(bytes(damaged)))
            answer = await session.post(f"{r.url}/api/v1/write", data=body, headers=REMOTE_WRITE)
            assert answer.status in (204, 400)
        await _neighbour_is_taken(session, r)


def _field(number: int, value: bytes) -> bytes:
    assert len(value) < 16384
    low, high = len(value) & 0x7F, len(value) >> 7
    return bytes([number << 3 | 2, *((low | 0x80, high) if high else (low,))]) + value


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _remote_write(*series: list[tuple[str, str]], at_ms: int | None = None) -> bytes:
    """One sample for each label set. Source: prometheus/prompb/types.proto."""
    sample = b"\x09" + bytes(8) + b"\x10" + _varint(now_ns() // 1_000_000 if at_ms is None else at_ms)
    out = b""
    for labels in series:
        pairs = b"".join(_field(1, _field(1, n.encode()) + _field(2, v.encode())) for n, v in labels)
        out += _field(1, pairs + _field(2, sample))
    return out


GOOD = [("__name__", "up"), ("job", "a")]


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ([("job", "nameless")], "nameless"),
        ([("__name__", "up"), ("job", "a"), ("job", "b")], "up"),
        ([("__name__", "up"), ("", "empty")], "up"),
    ],
    ids=["no name", "repeated label", "empty label name"],
)
async def test_one_bad_series_does_not_take_the_batch_with_it(session, bad, words):
    async with running(decoders=DECODERS) as r:
        body = bytes(cramjam.snappy.compress_raw(_remote_write(GOOD, bad)))
        answer = await session.post(f"{r.url}/api/v1/write", data=body, headers=REMOTE_WRITE)
        assert answer.status == 400
        assert words in await answer.text()
        assert r.sink.points == 1


@pytest.mark.parametrize("at_ms", [1_000, 4_102_444_800_000])
async def test_remote_write_outside_the_time_window_is_400(session, at_ms):
    async with running(decoders=DECODERS) as r:
        body = bytes(cramjam.snappy.compress_raw(_remote_write(GOOD, at_ms=at_ms)))
        answer = await session.post(f"{r.url}/api/v1/write", data=body, headers=REMOTE_WRITE)
        assert (answer.status, r.sink.points) == (400, 0)


async def test_unsorted_labels_and_utf8_names_are_valid(session):
    async with running(decoders=DECODERS, settings=IngestSettings()) as r:
        body = _remote_write([("job", "a"), ("__name__", "up")], [("__name__", "température moyenne.réelle")])
        body = bytes(cramjam.snappy.compress_raw(body))
        answer = await session.post(f"{r.url}/api/v1/write", data=body, headers=REMOTE_WRITE)
        assert (answer.status, r.sink.points) == (204, 2)
