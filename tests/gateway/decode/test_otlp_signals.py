"""Spans and log records are counted by service, and nothing malformed is counted at all."""

from __future__ import annotations

import random

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from gateway.decode.otlp_signals import count_by_service, count_by_service_json
from gateway.errors import DecodeError


def traces() -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    for service, spans in (("shop", 3), ("", 2), ("cart", 0)):
        one = request.resource_spans.add()
        one.resource.attributes.add(key="host").value.string_value = "h"
        if service:
            one.resource.attributes.add(key="service.name").value.string_value = service
        scope = one.scope_spans.add()
        for _ in range(spans):
            scope.spans.add(name="s", trace_id=bytes(16))
    return request


def test_spans_and_records_by_service() -> None:
    assert count_by_service(traces().SerializeToString()) == {"shop": 3, "": 2}
    logs = ExportLogsServiceRequest()
    one = logs.resource_logs.add()
    one.resource.attributes.add(key="service.name").value.string_value = "shop"
    one.scope_logs.add().log_records.add().body.string_value = "hello"
    assert count_by_service(logs.SerializeToString()) == {"shop": 1}
    assert count_by_service(b"") == {}


def test_json() -> None:
    resource = b'{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]}'
    body = b'{"resourceLogs":[{"resource":%b,"scopeLogs":[{"logRecords":[{},{"body":{}}]}]}]}' % resource
    assert count_by_service_json(body) == {"shop": 2}
    assert count_by_service_json(b'{"resourceSpans":[{"scopeSpans":[{"spans":[{}]}]}]}') == {"": 1}
    with pytest.raises(DecodeError):
        count_by_service_json(b'{"resourceSpans":[{')


def test_malformed_bytes_are_the_declared_error() -> None:
    choose, body = random.Random(3), traces().SerializeToString()
    refused = 0
    for _ in range(5000):
        data = bytearray(body)
        for _ in range(choose.randint(1, 4)):
            data[choose.randrange(len(data))] = choose.randrange(256)
        try:
            count_by_service(bytes(data[: choose.randint(1, len(data))]))
        except DecodeError:
            refused += 1
    assert refused > 1000
