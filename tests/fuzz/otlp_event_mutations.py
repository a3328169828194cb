"""Mutations of log records that tell of deploys and maintenance: any bytes give events or the declared error.

`python -m tests.fuzz.otlp_event_mutations --cases 1000000 [--seed N]` prints one JSON line. In turn, bytes of a valid
request are changed, as protobuf and as JSON, and a request is made whose values are odd, which both encodings must read
alike. Every event is one that the log keeps: encoded and decoded it is the same, and its moments fit into 63 bits.
"""

from __future__ import annotations

import random
from uuid import UUID

import msgspec
from google.protobuf.json_format import MessageToJson
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from gateway.access.tokens import ANONYMOUS, Identity
from gateway.decode.otlp_events import LogEvents, events_of
from gateway.errors import BodyTooLarge, DecodeError
from gateway.telemetry.maintenance_event import decode_told
from tests.fuzz.command_line import main
from tests.fuzz.otlp_mutations import mutate

NOW = 1_700_000_000_000_000_000
SENDERS = (ANONYMOUS, Identity("agent", frozenset({"ingest"}), "agent"))
"""Who may declare maintenance, and who may not."""
_WINDOW = "maintenance.window."
_DEPLOYS = {
    "deployment.id": "7",
    "deployment.name": "till 2.1",
    "deployment.status": "succeeded",
    "service.version": "2.1",
    "vcs.change.id": "91",
}
_STARTS = {
    _WINDOW + "id": "77",
    _WINDOW + "name": "move",
    _WINDOW + "description": "to other racks",
    _WINDOW + "start": "2023-11-14T23:00:00+01:00",
    _WINDOW + "duration": "1h30m",
    _WINDOW + "match.zone": "b",
    "service.name": "till",
    "user.name": "ann",
}
_LASTS_UNTIL = {_WINDOW + "end": "2023-11-15T00:00:00Z", "host.name": "till-3"}
_SEEDS: tuple[tuple[str, dict[str, str]], ...] = (
    ("deployment.finished", _DEPLOYS),
    ("maintenance.window.start", _STARTS),
    ("maintenance.window.start", _LASTS_UNTIL),
    ("maintenance.window.end", {_WINDOW + "id": "77"}),
    ("", {"event.name": "maintenance.window.end", _WINDOW + "id": "77"}),
)
_TEXTS = (
    "",
    " ",
    "\0",
    "\u200b",
    "\U0010ffff",
    "a" * 300,
    "ä" * 1025,
    "9999-12-31T23:59:59.999999Z",
    "0001-01-01T00:00:00+23:59",
    "2023-11-14T23:00:00",
    "2023-W46-2",
    "-1s",
    "1e308h",
    "9" * 30 + "d",
    "inf",
    "NaN",
    "maintenance.window",
    "maintenance.window.pause",
    "unknown_service:java",
)
_WHOLE = (0, -1, 1, 2**53 + 1, 2**63 - 1, -(2**63))
_FLOATS = (0.0, -0.0, 0.5, 1e18, 1.7e308, float("inf"), float("-inf"), float("nan"))
_TIMES = (0, 1, NOW, NOW + 86_400 * 10**9 + 1, 2**62, 2**63, 2**64 - 1)
_WORDS = (b'"', b"\\ud800", b"1e400", b"null", b"[", b"}", b"-", b"9" * 25, b"\xff", b"\\u0000")


def _request(event: str, attributes: dict[str, str]) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    whole = request.resource_logs.add()
    whole.resource.attributes.add(key="service.name").value.string_value = "till"
    record = whole.scope_logs.add().log_records.add(event_name=event, time_unix_nano=NOW)
    record.body.string_value = "said by hand"
    for key, value in attributes.items():
        record.attributes.add(key=key).value.string_value = value
    return request


def odd_request(choose: random.Random) -> ExportLogsServiceRequest:
    """A well-formed request of one to three records, one to three things of each replaced by something odd."""
    request = _request(*choose.choice(_SEEDS))
    records = request.resource_logs[0].scope_logs[0].log_records
    for _ in range(choose.randrange(3)):
        records.append(_request(*choose.choice(_SEEDS)).resource_logs[0].scope_logs[0].log_records[0])
    for record in records:
        for _ in range(choose.randint(1, 3)):
            _make_odd(record, choose)
    return request


def _make_odd(record: LogRecord, choose: random.Random) -> None:
    what = choose.randrange(6)
    if what == 0:
        record.time_unix_nano = choose.choice(_TIMES)
    elif what == 1:
        record.event_name = choose.choice((*_TEXTS, "deployment", "deployment.", "maintenance.window.start"))
    elif what == 2:
        record.body.string_value = choose.choice(_TEXTS)
    elif what == 3 and record.attributes:
        del record.attributes[choose.randrange(len(record.attributes))]
    elif what == 4:
        record.attributes.add(key=_WINDOW + choose.choice(("match.", "match.b", "duration", "end", "id")))
        _set_oddly(record.attributes[-1], choose)
    elif record.attributes:
        _set_oddly(choose.choice(record.attributes), choose)


def _set_oddly(attribute: KeyValue, choose: random.Random) -> None:
    what = choose.randrange(4)
    if what == 0:
        attribute.value.int_value = choose.choice(_WHOLE)
    elif what == 1:
        attribute.value.double_value = choose.choice(_FLOATS)
    elif what == 2:
        attribute.value.bool_value = True
    else:
        attribute.value.string_value = choose.choice(_TEXTS)


def _mutated_json(text: bytes, choose: random.Random) -> bytes:
    if choose.randrange(2):
        return mutate(text, choose)
    at = choose.randrange(len(text))
    return text[:at] + choose.choice(_WORDS) + text[at + choose.randrange(4) :]


def check(found: LogEvents, body: bytes) -> None:
    """Raises AssertionError for an event that the log or the control plane could not take."""
    for event in (*found.changes, *found.maintenance):
        if decode_told(msgspec.msgpack.encode(event)) != event or not 0 < event.time < 2**63:
            raise AssertionError(f"{event} of {body.hex()}")
    for window in found.maintenance:
        UUID(window.key)
        whole = 0 <= window.starts < 2**62 and 0 <= window.ends < 2**62 and 0 <= window.lasts < 2**62
        if not whole or (window.action == "start") != (bool(window.ends) != bool(window.lasts)):
            raise AssertionError(f"{window} of {body.hex()}")
    if bool(found.refused) != bool(found.problem):
        raise AssertionError(f"refused without a reason, or for one without being refused: {body.hex()}")


def run(cases: int, seed: int) -> dict[str, int]:
    """Reads `cases` requests; returns how many were unreadable, and the events found and refused in the others.

    Raises AssertionError, and whatever is not declared.
    """
    choose = random.Random(seed)
    bodies = [_request(*one).SerializeToString() for one in _SEEDS]
    texts = [MessageToJson(ExportLogsServiceRequest.FromString(body)).encode() for body in bodies]
    results = {"unreadable": 0, "changes": 0, "maintenance": 0, "refused": 0}
    for case in range(cases):
        sender = SENDERS[choose.randrange(16) == 0]
        is_json, whole = bool(case & 1), None
        if case & 2:
            whole = odd_request(choose)
            body = MessageToJson(whole).encode() if is_json else whole.SerializeToString()
        else:
            body = _mutated_json(choose.choice(texts), choose) if is_json else mutate(choose.choice(bodies), choose)
        try:
            found = events_of(body, is_json, NOW, sender)
        except (DecodeError, BodyTooLarge):
            if whole is not None:
                raise AssertionError(f"a valid request is unreadable: {body.hex()}") from None
            results["unreadable"] += 1
            continue
        check(found, body)
        if whole is not None and is_json and events_of(whole.SerializeToString(), False, NOW, sender) != found:
            raise AssertionError(f"read otherwise as protobuf: {body.decode()}")
        results["changes"] += len(found.changes)
        results["maintenance"] += len(found.maintenance)
        results["refused"] += found.refused.total()
    return results


if __name__ == "__main__":
    main("otlp_events", __doc__, run)
