"""JSON that would become far more objects than it has bytes is not read; what real senders write is."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from gateway.access.tokens import ANONYMOUS
from gateway.decode import json_size
from gateway.decode.otlp_events import events_of
from gateway.decode.otlp_json import request_from_json
from gateway.decode.otlp_signals import count_by_service_json
from gateway.decode.otlp_spans import call_spans_json
from gateway.errors import BodyTooLarge, DecodeError

METRIC = '{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"a","%s":{"dataPoints":[%s]}}]}]}]}'


def repeated(unit: str, count: int) -> str:
    return ",".join([unit] * count)


BOMBS = {
    "resources": (request_from_json, '{"resourceMetrics":[%s]}', "{}"),
    "points": (request_from_json, METRIC.replace("%s", "gauge", 1), "{}"),
    "counts": (request_from_json, METRIC.replace("%s", "histogram", 1) % '{"bucketCounts":[%s]}', '"7"'),
    "lists nobody knows": (request_from_json, '{"x":[%s]}', "[]"),
    "spans to be counted": (count_by_service_json, '{"resourceSpans":[{"scopeSpans":[{"spans":[%s]}]}]}', "{}"),
    "spans to be read": (lambda b: list(call_spans_json(b)), '{"resourceSpans":[%s]}', "{}"),
    "deployments": (lambda b: events_of(b, True, 0, ANONYMOUS), '{"deployment":1,"resourceLogs":[%s]}', "{}"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_is_judged_is_what_is_taken_or_more(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read, around, unit = BOMBS[name]
    body = (around % repeated(unit, 2_000)).encode()
    read(body)  # what is made once
    tracemalloc.start()
    try:
        read(body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    judged = json_size.json_size(body)
    assert peak <= 1.2 * judged
    monkeypatch.setattr(json_size, "MOST", judged)
    read(body)
    monkeypatch.setattr(json_size, "MOST", judged - 1)
    with pytest.raises(BodyTooLarge, match="send less at a time"):
        read(body)


def test_a_real_request_of_27_mib_is_within_the_limit() -> None:
    attributes = [{"key": f"label_{n}", "value": {"stringValue": f"value-{n}"}} for n in range(6)]
    point = {"attributes": attributes, "timeUnixNano": "1700000000000000000", "asDouble": 12.5}
    body = json.dumps(
        {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "m", "gauge": {"dataPoints": [point] * 100}}]}]}]},
        separators=(",", ":"),
    ).encode()
    assert json_size.json_size(body) * (27 * 2**20 / len(body)) < json_size.MOST


def test_a_time_of_a_deployment_is_a_number_and_gives_way_to_that_of_arrival() -> None:
    body = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"eventName":"deployment","timeUnixNano":%b}]}]}]}'
    for time in (b"1e400", b'"x"'):
        with pytest.raises(DecodeError, match="OTLP/JSON"):
            events_of(body % time, True, 7, ANONYMOUS)
    for time, taken in ((b"1e308", 7), (b"-1", 7), (b"12", 12)):
        assert [change.time for change in events_of(body % time, True, 7, ANONYMOUS).changes] == [taken]
