"""Bad input through the whole program: each has its declared answer and counted reason, none costs a neighbour's data,
and the program goes on."""

from __future__ import annotations

import gzip
import math
import random
import time
from collections.abc import Callable

import grpc
import pytest
import zstandard
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from opentelemetry.proto.metrics.v1.metrics_pb2 import NumberDataPoint
from prometheus_client.parser import text_string_to_metric_families

from tests.e2e.otlp import gauge_request, metric_of, string_attribute
from tests.e2e.pair import Pair
from tests.e2e.program import Gateway

pytestmark = pytest.mark.real

PROTOBUF = "application/x-protobuf"
LIMIT = 64 * 2**20
SECOND = 10**9


def _counted(gateway: Gateway, name: str, **labels: str) -> float:
    text = gateway.get("/metrics").decode().replace("# EOF\n", "")
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == f"gateway_{name}_total" and labels.items() <= sample.labels.items()
    )


def _good() -> bytes:
    return gauge_request("bad-input", "good", [(time.time_ns(), 1.0, {"a": "b"})])


def _bomb(compress: Callable[[bytes], bytes]) -> bytes:
    return compress(bytes(LIMIT + 2**20))


REFUSED: dict[str, tuple[Callable[[], bytes], dict[str, str], int, str]] = {
    # what: (body, headers, status, reason counted)
    "truncated": (lambda: _good()[:-7], {}, 400, "decode"),
    "random bytes": (lambda: random.Random(3).randbytes(4096), {}, 400, "decode"),
    "truncated gzip": (lambda: gzip.compress(_good())[:-9], {"Content_Encoding": "gzip"}, 400, "compression"),
    "flipped gzip": (
        lambda: gzip.compress(_good())[:30] + b"\xff\xff" + gzip.compress(_good())[32:],
        {"Content_Encoding": "gzip"},
        400,
        "compression",
    ),
    "gzip bomb": (lambda: _bomb(gzip.compress), {"Content_Encoding": "gzip"}, 413, "too_large"),
    "zstd bomb": (lambda: _bomb(zstandard.compress), {"Content_Encoding": "zstd"}, 413, "too_large"),
    "64 MiB + 1": (lambda: bytes(LIMIT + 1), {}, 413, "too_large"),
    "plain bytes said to be gzip": (_good, {"Content_Encoding": "gzip"}, 400, "compression"),
    "unknown encoding": (_good, {"Content_Encoding": "br"}, 415, "encoding"),
    "wrong content type": (_good, {"Content_Type": "text/plain"}, 415, "content_type"),
    "not JSON": (lambda: b"{]", {"Content_Type": "application/json"}, 400, "decode"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_request_that_cannot_be_read_is_refused_and_counted(pair: Pair, what: str) -> None:
    body, headers, status, reason = REFUSED[what]
    gateway = pair.gateway
    before = _counted(gateway, "ingest_errors", protocol="otlp_http", reason=reason)
    answer, message = gateway.post("/v1/metrics", body(), **({"Content_Type": PROTOBUF} | headers))
    assert answer == status, message
    assert message, "the sender is told why"
    assert _counted(gateway, "ingest_errors", protocol="otlp_http", reason=reason) == before + 1
    assert gateway.post("/v1/metrics", _good(), Content_Type=PROTOBUF) == (200, b"")


def test_an_empty_body_is_an_empty_request(pair: Pair) -> None:
    assert pair.gateway.post("/v1/metrics", b"", Content_Type=PROTOBUF) == (200, b"")
    status, message = pair.gateway.post("/api/v1/write", b"", Content_Type=PROTOBUF, Content_Encoding="snappy")
    assert status == 400, "snappy always has a length in front"
    assert message


def test_every_truncation_and_flip_gets_an_answer_below_500(pair: Pair) -> None:
    good, draw = _good(), random.Random(5)
    bodies = [good[:n] for n in range(0, len(good), 3)]
    for _ in range(60):
        flipped = bytearray(good)
        flipped[draw.randrange(len(good))] ^= 1 << draw.randrange(8)
        bodies.append(bytes(flipped))
    statuses = {pair.gateway.post("/v1/metrics", body, Content_Type=PROTOBUF)[0] for body in bodies}
    assert statuses <= {200, 400}
    assert pair.gateway.is_ready()


Spoil = Callable[[NumberDataPoint], object]


def _many(point: NumberDataPoint) -> None:
    point.attributes.extend(string_attribute(f"k{i}", "v") for i in range(10_000))


def _at(seconds: float) -> Spoil:
    return lambda point: setattr(point, "time_unix_nano", int(seconds * SECOND))


POINTS: dict[str, tuple[Spoil, str]] = {
    # what is wrong with one point of a request: (how to spoil it, reason counted; empty = accepted)
    "NaN": (lambda p: setattr(p, "as_double", math.nan), "nan"),
    "infinity": (lambda p: setattr(p, "as_double", math.inf), ""),
    "minus infinity": (lambda p: setattr(p, "as_double", -math.inf), ""),
    "1970": (_at(1.0), "too_old"),
    "2100": (_at(4102444800.0), "too_new"),
    "10,000 attributes": (_many, "too_many_attributes"),
    "1 MB attribute": (lambda p: p.attributes.append(string_attribute("big", "x" * 10**6)), "label_too_long"),
    "no value": (lambda p: p.ClearField("as_double"), "no_value"),
    "duplicate keys": (lambda p: p.attributes.extend([string_attribute("d", "1"), string_attribute("d", "2")]), ""),
}


@pytest.mark.parametrize("what", POINTS)
def test_a_bad_point_is_refused_by_reason_and_its_neighbours_arrive(pair: Pair, what: str) -> None:
    spoil, reason = POINTS[what]
    name = f"bad_point_{list(POINTS).index(what)}"
    request, metric = metric_of("bad-input", name)
    now = time.time_ns()
    for place in ("before", "spoiled", "after"):
        point = metric.gauge.data_points.add(time_unix_nano=now, as_double=7.0)
        point.attributes.append(string_attribute("place", place))
        if place == "spoiled":
            spoil(point)
    counted = _counted(pair.gateway, "ingest_rejected_points", protocol="otlp_http", reason=reason)
    status, body = pair.gateway.post("/v1/metrics", request.SerializeToString(), Content_Type=PROTOBUF)
    assert status == 200, body
    partial = ExportMetricsServiceResponse.FromString(body).partial_success
    assert partial.rejected_data_points == (1 if reason else 0), partial
    if reason:
        assert f"({reason})" in partial.error_message
        assert _counted(pair.gateway, "ingest_rejected_points", protocol="otlp_http", reason=reason) == counted + 1
    places = {"before", "after"} if reason else {"before", "spoiled", "after"}

    def held() -> set[str]:
        return {labels["place"] for labels, _ in pair.target.query(f"last_over_time({name}[1h])")}

    pair.gateway.until(lambda: held() == places)
    if what == "duplicate keys":
        (labels,) = [x for x, _ in pair.target.query(f'last_over_time({name}{{place="spoiled"}}[1h])')]
        assert labels["d"] == "2", "the last one wins"


def test_attributes_that_are_not_utf8_cost_their_own_point_alone(pair: Pair) -> None:
    now = time.time_ns()
    points = [(now, 1.0, {"place": "good"}), (now, 1.0, {"place": "spoil"})]
    body = gauge_request("bad-input", "not_utf8", points).replace(b"spoil", b"\xff\xfe\xfd\xfc\xfb")
    status, answer = pair.gateway.post("/v1/metrics", body, Content_Type=PROTOBUF)
    assert status == 200, answer
    partial = ExportMetricsServiceResponse.FromString(answer).partial_success
    assert partial.rejected_data_points == 1
    assert "not UTF-8 (not_utf8)" in partial.error_message
    pair.gateway.until(lambda: len(pair.target.query("last_over_time(not_utf8[1h])")) == 1)


def test_unknown_fields_are_stepped_over(pair: Pair) -> None:
    unknown = b"\xfa\x3f\x05extra"  # field 1023, length-delimited
    body = unknown + gauge_request("bad-input", "with_unknown", [(time.time_ns(), 3.0, {})]) + unknown
    assert pair.gateway.post("/v1/metrics", body, Content_Type=PROTOBUF) == (200, b"")
    pair.gateway.until(lambda: len(pair.target.query("last_over_time(with_unknown[1h])")) == 1)


def test_the_same_over_grpc(pair: Pair) -> None:
    with grpc.insecure_channel(pair.gateway.otlp_grpc, options=[("grpc.max_send_message_length", -1)]) as channel:
        export = channel.unary_unary("/opentelemetry.proto.collector.metrics.v1.MetricsService/Export")
        for body, code in (
            (_good()[:-7], grpc.StatusCode.INVALID_ARGUMENT),
            (bytes(LIMIT + 1), grpc.StatusCode.RESOURCE_EXHAUSTED),
        ):
            with pytest.raises(grpc.RpcError) as raised:
                export(body, timeout=30)
            assert raised.value.code() is code
            trailing = {key for key, _ in raised.value.trailing_metadata() or ()}
            if code is grpc.StatusCode.RESOURCE_EXHAUSTED:
                assert "grpc-status-details-bin" not in trailing, "it must not be sent again"
        answer = export(
            gauge_request("bad-input", "grpc_old", [(SECOND, 1.0, {}), (time.time_ns(), 1.0, {})]), timeout=30
        )
        assert ExportMetricsServiceResponse.FromString(answer).partial_success.rejected_data_points == 1
        assert export(ExportMetricsServiceRequest().SerializeToString(), timeout=30) == b""
    pair.gateway.until(lambda: len(pair.target.query("last_over_time(grpc_old[1h])")) == 1)
