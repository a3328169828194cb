"""Maintenance events among OTLP log records: what is read of them, who may send them, and what is refused and why."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import pytest
from google.protobuf.json_format import MessageToJson
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from gateway.access.tokens import ANONYMOUS, Identity, anonymous_at
from gateway.alerting.maintenance import Maintenance
from gateway.alerting.maintenance_events import MaintenanceEvents
from gateway.decode.otlp_events import MOST, LogEvents, events_of
from gateway.errors import DecodeError
from gateway.telemetry.change import Change
from gateway.telemetry.maintenance_event import MaintenanceEvent, decode_told
from tests.gateway.alerting.test_properties import ONE
from tests.gateway.alerting.virtual import World

NOW = 1_700_000_000_000_000_000
SECOND = 10**9
HOUR = 3600 * SECOND
WINDOW = "maintenance.window."
SERVICE = {"service.name": "till"}


def value_of(value: Any) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    return AnyValue(double_value=value) if isinstance(value, float) else AnyValue(string_value=value)


def record_of(event: str, attributes: dict[str, Any], body: str = "", time: int = NOW) -> LogRecord:
    record = LogRecord(event_name=event, time_unix_nano=time)
    if body:
        record.body.string_value = body
    for key, value in attributes.items():
        record.attributes.add(key=key, value=value_of(value))
    return record


def request_of(*records: LogRecord, resource: dict[str, str] | None = None) -> bytes:
    request = ExportLogsServiceRequest()
    one = request.resource_logs.add()
    for key, value in (resource or {}).items():
        one.resource.attributes.add(key=key).value.string_value = value
    one.scope_logs.add().log_records.extend(records)
    return request.SerializeToString()


def read(body: bytes, sender: Identity = ANONYMOUS) -> LogEvents:
    """From both encodings, which must say the same."""
    found = events_of(body, False, NOW, sender)
    as_json = MessageToJson(ExportLogsServiceRequest.FromString(body)).encode()
    assert events_of(as_json, True, NOW, sender) == found
    return found


def start(attributes: dict[str, Any], resource: dict[str, str] | None = None, **more: Any) -> MaintenanceEvent:
    found = read(request_of(record_of(f"{WINDOW}start", attributes, **more), resource=resource))
    assert found.problem == ""
    (event,) = found.maintenance
    return event


def test_a_start_is_read_with_all_it_says() -> None:
    event = start(
        {
            WINDOW + "id": "77",
            WINDOW + "name": "move",
            WINDOW + "description": "to other racks",
            WINDOW + "start": "2023-11-14T23:00:00+01:00",
            WINDOW + "duration": "1h30m",
            "service.name": "till",
            "deployment.environment.name": "prod",
            "host.name": "h1",
            "user.name": "ana",
            WINDOW + "match.severity": "low",
            "thread.name": "main",
        },
        resource={"service.name": "ci", "host.name": "runner-3"},
        body="the move begins",
    )
    assert (event.action, event.id, event.time) == ("start", "77", NOW)
    assert (event.starts, event.ends, event.lasts) == (1_699_999_200 * SECOND, 0, 5400 * SECOND)
    assert (event.name, event.description, event.body) == ("move", "to other racks", "the move begins")
    assert (event.author, event.sender) == ("ana", "anonymous")
    assert event.scope == {"service.name": "till", "deployment.environment.name": "prod", "host.name": "h1"}
    assert event.resource_scope == {"service.name": "ci"}
    assert event.labels == {"severity": "low"}


def test_an_end_is_read_and_both_are_about_one_window_of_one_tenant() -> None:
    first = start({WINDOW + "id": "77", WINDOW + "duration": 60, **SERVICE})
    body = request_of(record_of(f"{WINDOW}end", {WINDOW + "id": "77"}, time=NOW + 5))
    (last,) = read(body).maintenance
    assert (last.action, last.time, last.key) == ("end", NOW + 5, first.key)
    other = Identity("other", frozenset({"ingest", "operate"}), "another tenant")
    assert read(body, other).maintenance[0].key != first.key
    assert start({WINDOW + "id": 77, WINDOW + "duration": 60, **SERVICE}).key == first.key, "as a number"


@pytest.mark.parametrize("duration", [90, 90.0, "90s", "1m30s"])
def test_a_duration_is_a_text_or_seconds(duration: Any) -> None:
    assert start({WINDOW + "duration": duration, **SERVICE}).lasts == 90 * SECOND


def test_without_an_id_or_a_time_what_it_says_identifies_it() -> None:
    attributes = {WINDOW + "duration": 60, **SERVICE}
    body = request_of(record_of(f"{WINDOW}start", attributes, time=0))
    (first,), (again,) = (events_of(body, False, at, ANONYMOUS).maintenance for at in (NOW, NOW + HOUR))
    assert (first.time, again.time) == (NOW, NOW + HOUR)
    assert first.key == again.key
    assert start(attributes).key != start({**attributes, WINDOW + "duration": 61}).key
    assert start(attributes).key != start(attributes, time=NOW + 1).key


@pytest.mark.parametrize(
    ("resource", "scope"),
    [
        (
            {"service.name": "till", "service.namespace": "shop", "host.name": "h"},
            {"service.namespace": "shop"} | SERVICE,
        ),
        ({"service.name": "unknown_service:python", "host.name": "h"}, {"host.name": "h"}),
        ({"host.name": "h", "deployment.environment": "prod"}, {"host.name": "h", "deployment.environment": "prod"}),
    ],
)
def test_what_a_resource_says_of_itself(resource: dict[str, str], scope: dict[str, str]) -> None:
    event = start({WINDOW + "duration": 60}, resource=resource)
    assert (event.scope, event.resource_scope) == ({}, scope)


def test_a_body_of_which_nothing_is_seen_is_no_name_and_an_end_needs_none() -> None:
    found = read(
        request_of(
            record_of(f"{WINDOW}start", {WINDOW + "duration": 60, **SERVICE}, body="\u200b"),
            record_of(f"{WINDOW}end", {WINDOW + "id": "a", WINDOW + "name": "x" * 2000}),
        )
    )
    assert found.refused == {}
    assert [event.body for event in found.maintenance] == ["", ""]


@pytest.mark.parametrize(
    ("event", "attributes", "reason"),
    [
        ("begin", {WINDOW + "duration": 60, **SERVICE}, "event"),
        ("", {WINDOW + "duration": 60, **SERVICE}, "event"),
        ("end", {}, "id"),
        ("end", {WINDOW + "id": "x" * 257}, "too_long"),
        ("start", SERVICE, "time"),
        ("start", {WINDOW + "duration": 60, WINDOW + "end": "2023-11-14T23:00:00Z", **SERVICE}, "time"),
        ("start", {WINDOW + "duration": 0, **SERVICE}, "time"),
        ("start", {WINDOW + "duration": -5, **SERVICE}, "time"),
        ("start", {WINDOW + "duration": math.nan, **SERVICE}, "time"),
        ("start", {WINDOW + "duration": math.inf, **SERVICE}, "time"),
        ("start", {WINDOW + "duration": 1e300, **SERVICE}, "time"),
        ("start", {WINDOW + "duration": "9" * 400_000 + "s", **SERVICE}, "time"),
        ("start", {WINDOW + "duration": "soon", **SERVICE}, "time"),
        ("start", {WINDOW + "duration": True, **SERVICE}, "time"),
        ("start", {WINDOW + "end": "9999-12-31T23:59:59Z", **SERVICE}, "time"),
        ("start", {WINDOW + "end": "0001-01-01T00:00:00+23:00", **SERVICE}, "time"),
        ("start", {WINDOW + "end": "2023-11-14T23:00:00", **SERVICE}, "time"),
        ("start", {WINDOW + "end": 1_700_000_500, **SERVICE}, "time"),
        ("start", {WINDOW + "start": "yesterday", WINDOW + "duration": 60, **SERVICE}, "time"),
        ("start", {WINDOW + "duration": 60}, "scope"),
        ("start", {WINDOW + "duration": 60, "deployment.environment.name": "prod"}, "scope"),
        ("start", {WINDOW + "duration": 60, WINDOW + "match.": "x"}, "scope"),
        ("start", {WINDOW + "duration": 60, WINDOW + "match.shard": 3, **SERVICE}, "scope"),
        ("start", {WINDOW + "duration": 60, WINDOW + "match.shard": True, **SERVICE}, "scope"),
        ("start", {WINDOW + "duration": 60, WINDOW + "match.shard": "", **SERVICE}, "scope"),
        ("start", {WINDOW + "duration": 60} | {f"{WINDOW}match.l{n}": "x" for n in range(33)}, "scope"),
        ("start", {WINDOW + "duration": 60, "service.name": "x" * 1025}, "too_long"),
        ("start", {WINDOW + "duration": 60} | {f"{WINDOW}match.l{n}": "x" * 1000 for n in range(9)}, "too_long"),
        ("start", {WINDOW + "duration": 60} | {f"{WINDOW}match.l{n}": "x" * 1000 for n in range(8)}
         | dict.fromkeys(("host.name", "service.namespace", "deployment.environment.name"), "x" * 1000), "too_long"),
        ("start", {WINDOW + "duration": 60, WINDOW + "name": "x" * 1025, **SERVICE}, "too_long"),
        ("start", {WINDOW + "duration": 60, WINDOW + "name": "\u200b", **SERVICE}, "name"),
        ("start", {WINDOW + "duration": 60, WINDOW + "match.job": "x" * 1025}, "too_long"),
    ],
)  # fmt: skip
def test_what_nobody_can_mean_is_refused_with_a_reason(event: str, attributes: dict[str, Any], reason: str) -> None:
    name = f"{WINDOW}{event}".removesuffix("." if not event else "")
    found = read(
        request_of(record_of(name, attributes), record_of(f"{WINDOW}start", {WINDOW + "duration": 1, **SERVICE}))
    )
    assert found.refused == {reason: 1}
    assert found.problem
    assert len(found.maintenance) == 1, "its neighbour is taken"
    assert found.kept == {"": 1}


def test_a_clock_that_is_days_ahead_is_refused_and_one_before_1970_is_none() -> None:
    attributes = {WINDOW + "duration": 60, **SERVICE}
    assert read(request_of(record_of(f"{WINDOW}start", attributes, time=2**63))).refused == {"time": 1}
    body = f'{{"resourceLogs": [{{"scopeLogs": [{{"logRecords": [{{"timeUnixNano": "-5", "eventName": "{WINDOW}end", '
    body += f'"attributes": [{{"key": "{WINDOW}id", "value": {{"stringValue": "1"}}}}]}}]}}]}}]}}'
    assert events_of(body.encode(), True, NOW, ANONYMOUS).maintenance[0].time == NOW


@pytest.mark.parametrize(
    "sender", [Identity("agent", frozenset({"ingest"}), "agent"), anonymous_at("0.0.0.0"), anonymous_at("10.1.2.3")]
)
def test_who_may_only_send_cannot_silence_anything(sender: Identity) -> None:
    deploy = record_of("deployment.finished", SERVICE)
    events = [
        record_of(f"{WINDOW}{what}", {WINDOW + "id": "1", WINDOW + "duration": 60, **SERVICE})
        for what in ("start", "end")
    ]
    found = read(request_of(deploy, *events), sender)
    assert (len(found.changes), found.maintenance, found.refused) == (1, [], {"permission_denied": 2})
    assert "operate" in found.problem


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_a_listener_that_only_this_machine_reaches_trusts_it(host: str) -> None:
    assert len(read(request_of(record_of(f"{WINDOW}end", {WINDOW + "id": "1"})), anonymous_at(host)).maintenance) == 1


def test_what_only_speaks_of_maintenance_is_none() -> None:
    records = [record_of("", {"note": WINDOW + "start"}, body=WINDOW + "start"), record_of("maintenance.windows", {})]
    found = read(request_of(*records, resource={"event.name": WINDOW + "start"}))
    assert found == LogEvents()


def test_the_older_way_of_naming_an_event() -> None:
    record = record_of("", {"event.name": f"{WINDOW}end", WINDOW + "id": "1"})
    assert [event.action for event in read(request_of(record)).maintenance] == ["end"]


def test_no_more_than_a_bounded_number_of_one_request() -> None:
    events = [record_of(f"{WINDOW}end", {WINDOW + "id": str(n)}) for n in range(MOST + 7)]
    found = read(request_of(*events, record_of("deployment", {})))
    assert (len(found.maintenance), found.refused, len(found.changes)) == (MOST, {"too_many": 7}, 1)


def test_the_log_between_the_planes_tells_both_kinds_apart() -> None:
    event = start({WINDOW + "id": "1", WINDOW + "duration": 60, **SERVICE})
    deploy = Change(id="1", time=NOW, title="till 2")
    assert [decode_told(msgspec.msgpack.encode(one)) for one in (event, deploy)] == [event, deploy]
    with pytest.raises(msgspec.DecodeError):
        msgspec.msgpack.decode(msgspec.msgpack.encode(event), type=Change)


VALUES = st.one_of(st.text(max_size=20), st.integers(-(2**63), 2**63 - 1), st.floats(), st.booleans())
KEYS = st.sampled_from(
    [WINDOW + part for part in ("id", "start", "end", "duration", "name", "match.x")] + ["host.name"]
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["start", "end"]), st.dictionaries(KEYS, VALUES), st.integers(0, 2**64 - 1))
def test_anything_in_the_attributes_is_taken_or_counted(event: str, attributes: dict[str, Any], time: int) -> None:
    found = events_of(request_of(record_of(f"{WINDOW}{event}", attributes, time=time)), False, NOW, ANONYMOUS)
    assert len(found.maintenance) + found.refused.total() == 1
    for one in found.maintenance:
        assert decode_told(msgspec.msgpack.encode(one)) == one


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 200), st.binary(max_size=8), st.booleans())
def test_damaged_bytes_raise_the_declared_error_or_are_read(at: int, damage: bytes, is_json: bool) -> None:
    body = request_of(record_of(f"{WINDOW}start", {WINDOW + "id": "1", WINDOW + "duration": 60, **SERVICE}))
    if is_json:
        body = MessageToJson(ExportLogsServiceRequest.FromString(body), indent=None).encode()
    broken = body[:at] + damage + body[at + len(damage) :]
    try:
        found = events_of(broken, is_json, NOW, ANONYMOUS)
    except DecodeError:
        return
    assert len(found.maintenance) + found.refused.total() <= 1


@pytest.mark.parametrize("naming", ["prometheus", "otlp"])
def test_the_longest_event_that_is_taken_makes_a_window(naming: str) -> None:
    names = ("deployment.environment.name", "service.namespace", "service.name")
    longest = {name: "." * length for name, length in zip(names, (1024, 1024, 512), strict=True)}
    told = {WINDOW + "duration": 60, WINDOW + "description": "x" * 2000, "user.name": "x" * 2000}
    found = read(request_of(record_of(f"{WINDOW}start", longest | told)))
    maintenance = Maintenance(World(ONE).engine)
    assert MaintenanceEvents(maintenance, naming).take(found.maintenance[0], NOW) == "made"
    more = longest | {"host.name": "x"}
    assert read(request_of(record_of(f"{WINDOW}start", more | told))).refused == {"too_long": 1}
    ended = read(request_of(record_of(f"{WINDOW}end", more | {WINDOW + "id": "1"})))
    assert [event.action for event in ended.maintenance] == ["end"], "an end matches nothing"
