"""Deploys among OTLP log records: which are ones, what is read of them, and that nothing else is."""

from __future__ import annotations

import pytest
from google.protobuf.json_format import MessageToJson
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from gateway.access.tokens import ANONYMOUS
from gateway.decode.otlp_events import MOST, events_of
from gateway.errors import DecodeError
from gateway.telemetry.change import Change

NOW = 1_700_000_000_000_000_000


def changes_of(body: bytes, is_json: bool, now_ns: int) -> list[Change]:
    return events_of(body, is_json, now_ns, ANONYMOUS).changes


def request_of(record: LogRecord, **resource: str) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    one = request.resource_logs.add()
    for key, value in resource.items():
        one.resource.attributes.add(key=key.replace("_", ".")).value.string_value = value
    one.scope_logs.add().log_records.append(record)
    return request


def record_of(event: str = "", body: str = "", time: int = 0, **attributes: str) -> LogRecord:
    record = LogRecord(event_name=event, time_unix_nano=time)
    if body:
        record.body.string_value = body
    for key, value in attributes.items():
        record.attributes.add(key=key.replace("_", ".")).value.string_value = value
    return record


def test_a_deploy_is_read_alike_in_both_encodings() -> None:
    record = record_of("deployment.finished", "cart 1.4", NOW - 5, deployment_id="77", deployment_status="succeeded")
    request = request_of(record, service_name="cart", service_version="1.4", deployment_environment_name="prod")
    (change,) = changes_of(request.SerializeToString(), False, NOW)
    assert (change.time, change.title, change.service, change.version) == (NOW - 5, "cart 1.4", "cart", "1.4")
    assert change.environment == "prod"
    assert change.tags == {
        "deployment.id": "77",
        "deployment.status": "succeeded",
        "event.name": "deployment.finished",
    }
    assert changes_of(MessageToJson(request).encode(), True, NOW + 9) == [change], "and again: the same id"


def test_older_ways_of_naming_and_what_is_missing() -> None:
    (change,) = changes_of(request_of(record_of(event_name="deployment")).SerializeToString(), False, NOW)
    assert (change.time, change.title, change.service) == (NOW, "deployment", "")
    request = request_of(record_of(deployment_status="failed", deployment_name="roll out", service_name="till"))
    (change,) = changes_of(request.SerializeToString(), False, NOW)
    assert (change.title, change.service) == ("roll out", "till")


@pytest.mark.parametrize(
    "record",
    [
        record_of(body="the deployment went well"),
        record_of(deployment_name="web", deployment_id="3", body="GET /"),
        record_of("deployments.listed"),
        record_of("k8s.deployment"),
    ],
)
def test_what_only_speaks_of_deployments_is_none(record: LogRecord) -> None:
    request = request_of(record, k8s_deployment_name="deployment.finished")
    assert changes_of(request.SerializeToString(), False, NOW) == []
    assert changes_of(MessageToJson(request).encode(), True, NOW) == []


def test_no_more_than_a_bounded_number() -> None:
    request = request_of(record_of("deployment"))
    request.resource_logs[0].scope_logs[0].log_records.extend(record_of("deployment") for _ in range(2 * MOST))
    assert len(changes_of(request.SerializeToString(), False, NOW)) == MOST


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 200), st.binary(max_size=8))
def test_damaged_bytes_raise_the_declared_error_or_are_read(at: int, damage: bytes) -> None:
    body = request_of(record_of("deployment", "x", NOW, deployment_id="1"), service_name="a").SerializeToString()
    broken = body[:at] + damage + body[at + len(damage) :]
    try:
        assert len(changes_of(broken, False, NOW)) <= 1
    except DecodeError:
        return
