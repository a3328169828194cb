"""OTLP/JSON gives what the same request in protobuf gives."""

from __future__ import annotations

import json

import pytest

from gateway.decode.left_out import EXEMPLARS_REJECTED
from gateway.decode.otlp_json import request_from_json
from gateway.decode.otlp_metrics import OtlpMetricsDecoder
from gateway.decode.settings import DecodeSettings
from gateway.errors import DecodeError
from tests.kernels.test_otlp_points import sample

NOW = 1_700_000_000_000
AT = str(NOW * 10**6)
DECODER = OtlpMetricsDecoder((1, 2), DecodeSettings())


def as_json(point: dict[str, object], data: str = "gauge", **more: object) -> bytes:
    metric = {"name": "x", data: {"dataPoints": [point], **more}}
    return json.dumps({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]}).encode()


def test_every_kind_is_the_same_as_in_protobuf() -> None:
    attributes = [{"key": "a", "value": {"stringValue": "1"}}, {"key": "b", "value": {"stringValue": "2"}}]
    exemplar = {
        "timeUnixNano": AT, "asDouble": 2, "traceId": bytes(range(16)).hex().upper(), "spanId": bytes(range(8)).hex(),
    }  # fmt: skip
    point = {"attributes": attributes, "timeUnixNano": AT, "asDouble": 1.5, "exemplars": [exemplar], "unknown": [{}]}
    exponential = {
        "timeUnixNano": AT, "count": "5", "sum": 9, "scale": 9, "zeroCount": 1,
        "positive": {"offset": -3, "bucketCounts": ["1", 0, 2, "1"]}, "negative": {"bucketCounts": [4]},
    }  # fmt: skip
    histogram = {
        "timeUnixNano": int(AT), "count": 3, "sum": 1.0, "bucketCounts": ["1", "2", "0"], "explicitBounds": [0.5, 1],
        "exemplars": [exemplar],
    }  # fmt: skip
    summary = {"timeUnixNano": AT, "count": "2", "sum": "3", "quantileValues": [{"quantile": 0.5, "value": 1}]}
    resource = [
        {"key": "service.name", "value": {"stringValue": "shop"}},
        {"key": "host.name", "value": {"stringValue": "h"}},
    ]
    metrics = [
        {"name": "g", "unit": "s", "gauge": {"dataPoints": [point]}},
        {"name": "c", "sum": {"dataPoints": [point], "aggregationTemporality": 1, "isMonotonic": True}},
        {"name": "h", "histogram": {"dataPoints": [histogram], "aggregationTemporality": 2}},
        {"name": "e", "exponentialHistogram": {"dataPoints": [exponential], "aggregationTemporality": 2}},
        {"name": "s", "summary": {"dataPoints": [summary]}},
    ]
    scope = {"scope": {"name": "meter"}, "metrics": metrics, "schemaUrl": ""}
    body = {"resourceMetrics": [{"resource": {"attributes": resource}, "scopeMetrics": [scope]}], "other": None}
    found = DECODER.decode_json(json.dumps(body).encode(), NOW)
    expected = DECODER.decode_protobuf(sample().SerializeToString(), NOW)
    assert found.hash_hi.tolist() == expected.hash_hi.tolist()
    assert found.hash_lo.tolist() == expected.hash_lo.tolist()
    assert found.values.tolist() == expected.values.tolist()
    assert found.kinds.tolist() == expected.kinds.tolist()
    assert found.exemplars is not None
    assert expected.exemplars is not None
    assert found.exemplars.trace_ids.tolist() == expected.exemplars.trace_ids.tolist()


@pytest.mark.parametrize(
    ("value", "expected"), [({"asInt": "-5"}, -5.0), ({"asInt": 7}, 7.0), ({"asDouble": "-Infinity"}, float("-inf"))]
)
def test_numbers_may_be_strings(value: dict[str, object], expected: float) -> None:
    assert DECODER.decode_json(as_json({"timeUnixNano": AT, **value}), NOW).values.tolist() == [expected]


def test_not_a_number_is_refused_as_such() -> None:
    assert DECODER.decode_json(as_json({"timeUnixNano": AT, "asDouble": "NaN"}), NOW).rejected == {"nan": 1}


def test_a_lone_surrogate_is_not_utf8_or_refused() -> None:
    body = as_json({"timeUnixNano": AT, "asInt": 1, "attributes": [{"key": "k", "value": {"stringValue": "QQ"}}]})
    body = body.replace(b"QQ", b"\\ud800")
    try:
        assert DECODER.decode_json(body, NOW).rejected == {"not_utf8": 1}
    except DecodeError as error:
        assert "JSON" in str(error)  # noqa: PT017  # either answer is declared; msgspec decides


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"resourceMetrics": 3}',
        b'{"resourceMetrics": [{"scopeMetrics"',
        b"\xff{}",
        b"[" * 100_000,
        as_json({"timeUnixNano": "soon"}),
        as_json({"timeUnixNano": -1}),
        as_json({"timeUnixNano": 1.5}),
        as_json({"timeUnixNano": AT, "asInt": str(2**63)}),
        as_json({"timeUnixNano": AT, "asDouble": "1_0"}),
        as_json({"timeUnixNano": AT}, "sum", aggregationTemporality="NO"),
    ],
)
def test_what_cannot_be_read_is_the_declared_error(body: bytes) -> None:
    with pytest.raises(DecodeError):
        DECODER.decode_json(body, NOW)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "JSON: Input data was truncated at byte 0"),
        (b'{"resourceMetrics": [{"scopeMetrics"', "truncated at byte 36"),
        (b'{"resourceMetrics": x}', "invalid character at byte 20"),
        (b'{"resourceMetrics": [{}, 7]}', "- at `$.resourceMetrics[1]`"),
        (as_json({"timeUnixNano": "soon"}), "resourceMetrics[0].scopeMetrics[0].metrics[0].gauge.dataPoints[0]`"),
        (as_json({"timeUnixNano": AT}, "sum", aggregationTemporality="NO"), "scopeMetrics[0].metrics[0]`"),
    ],
)  # fmt: skip
def test_faults_say_where(body: bytes, message: str) -> None:
    with pytest.raises(DecodeError) as error:
        DECODER.decode_json(body, NOW)
    assert str(error.value).endswith(message)


def test_faults_name_the_point_among_good_ones() -> None:
    good = {"name": "g", "gauge": {"dataPoints": [{"timeUnixNano": AT, "asInt": 1}]}}
    bad = {"name": "h", "histogram": {"dataPoints": [{"count": "1"}, {"count": "x"}]}}
    scopes = [{"metrics": [good]}, {"metrics": [good, bad]}]
    body = json.dumps({"resourceMetrics": [{}, {"scopeMetrics": scopes}]}).encode()
    place = r"resourceMetrics\[1\]\.scopeMetrics\[1\]\.metrics\[1\]\.histogram\.dataPoints\[1\]"
    with pytest.raises(DecodeError, match=place):
        DECODER.decode_json(body, NOW)


@pytest.mark.parametrize("bad", [{"traceId": "xyz"}, {"spanId": "0"}, {"asDouble": "much"}, {"timeUnixNano": -1}])
def test_an_exemplar_that_cannot_be_read_is_left_out_alone(bad: dict[str, object]) -> None:
    before = EXEMPLARS_REJECTED.labels("malformed")._value.get()
    good = {"timeUnixNano": AT, "asDouble": 2, "traceId": "0af7651916cd43dd8448eb211c80319c"}
    point = {"timeUnixNano": AT, "asInt": 1, "exemplars": [bad, good]}
    columns = DECODER.decode_json(as_json(point), NOW)
    assert columns.values.tolist() == [1.0]
    assert columns.exemplars is not None
    assert columns.exemplars.values.tolist() == [2.0]
    assert EXEMPLARS_REJECTED.labels("malformed")._value.get() == before + 1


def test_an_empty_object_is_an_empty_request() -> None:
    assert request_from_json(b"{}") == b""
