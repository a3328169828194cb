"""Deploys among OTLP log records.

A log record tells of a deploy if its event name (`event_name`, or the older attribute `event.name`) is `deployment` or
begins with `deployment.`, or if it has the attribute `deployment.status`. `deployment.name` and `deployment.id` alone
do not make one: applications repeat them on everything they log. What is read:

    title         the record's body, else deployment.name, else the event's name
    service       service.name of the record, else of the resource
    version       service.version, alike
    environment   deployment.environment.name (formerly deployment.environment), alike
    url           url.full, else vcs.change.id
    tags          deployment.id, deployment.name, deployment.status, vcs.ref.head.revision
    time          the record's time, else the time it was observed, else the time of arrival

Most requests hold no such record. A search for the word in the bytes finds that out before anything is decoded.
Sources: OpenTelemetry semantic conventions, registry "deployment", "service", "vcs"; logs data model, "EventName".
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from hashlib import blake2b
from typing import Final

import msgspec

from gateway.decode.json_size import check_json_size
from gateway.decode.otlp_json_shapes import FAULTS, KeyValueJson, Number, ResourceJson, json_fault
from gateway.decode.otlp_signals import fields_of
from gateway.errors import DecodeError
from gateway.telemetry.change import Change
from proto import otlp

MOST: Final = 100
"""Deploys read from one request; nobody deploys more at once."""
_LONGEST: Final = 1024
_WORD: Final = b"deployment"
_EVENT: Final = "deployment"
_TAGS: Final = ("deployment.id", "deployment.name", "deployment.status", "vcs.ref.head.revision")
_LATEST_NS: Final = 2**62


class _RecordJson(msgspec.Struct, rename="camel", gc=False):
    time_unix_nano: Number | None = None
    observed_time_unix_nano: Number | None = None
    event_name: str | None = None
    body: msgspec.Raw = msgspec.Raw(b"null")
    attributes: list[KeyValueJson] | None = None


class _TextJson(msgspec.Struct, rename="camel", gc=False):
    string_value: str | None = None


class _ScopeJson(msgspec.Struct, rename="camel", gc=False):
    log_records: list[_RecordJson] | None = None


class _ResourceJson(msgspec.Struct, rename="camel", gc=False):
    resource: ResourceJson | None = None
    scope_logs: list[_ScopeJson] | None = None


class _RequestJson(msgspec.Struct, rename="camel", gc=False):
    resource_logs: list[_ResourceJson] | None = None


_DECODER = msgspec.json.Decoder(_RequestJson)
_TEXT = msgspec.json.Decoder(_TextJson)


class _Record(msgspec.Struct):
    """One log record, as far as it matters here."""

    time: int
    event: str
    body: str
    own: dict[str, str]
    resource: dict[str, str]


def changes_of(body: bytes, is_json: bool, now_ns: int) -> list[Change]:
    """The deploys a logs request tells of, at most MOST. Raises DecodeError for a body that cannot be read,
    BodyTooLarge."""
    if _WORD not in body:
        return []
    records = _json_records(body) if is_json else _protobuf_records(body)
    found: list[Change] = []
    for record in records:
        change = _change(record, now_ns)
        if change is not None:
            found.append(change)
            if len(found) == MOST:
                break
    return found


def _change(record: _Record, now_ns: int) -> Change | None:
    event = record.event or record.own.get("event.name", "")
    if event != _EVENT and not event.startswith(f"{_EVENT}.") and "deployment.status" not in record.own:
        return None

    def text(*names: str) -> str:
        found = (part.get(name) for name in names for part in (record.own, record.resource))
        return next((value for value in found if value), "")[:_LONGEST]

    time = record.time if 0 < record.time < _LATEST_NS else now_ns
    title = (record.body.strip() or text("deployment.name") or event or _EVENT)[:_LONGEST]
    tags = {name: record.own[name][:_LONGEST] for name in _TAGS if record.own.get(name)}
    if event:
        tags["event.name"] = event[:_LONGEST]
    service, version = text("service.name"), text("service.version")
    identity = msgspec.json.encode((time if record.time > 0 else 0, title, service, version, tags))
    return Change(
        id=blake2b(identity, digest_size=16).hexdigest(),
        time=time,
        title=title,
        service=service,
        version=version,
        environment=text("deployment.environment.name", "deployment.environment"),
        url=text("url.full", "vcs.change.id"),
        tags=tags,
    )


def _json_records(body: bytes) -> Iterator[_Record]:
    check_json_size(body)
    try:
        request = _DECODER.decode(body)
        for item in request.resource_logs or ():
            resource = _json_texts(item.resource.attributes if item.resource else None)
            for scope in item.scope_logs or ():
                for record in scope.log_records or ():
                    text = bytes(record.body)
                    yield _Record(
                        time=_whole(record.time_unix_nano) or _whole(record.observed_time_unix_nano),
                        event=record.event_name or "",
                        body=(_TEXT.decode(text).string_value or "") if text.startswith(b"{") else "",
                        own=_json_texts(record.attributes),
                        resource=resource,
                    )
    except FAULTS as error:
        raise json_fault(error, body) from None


def _json_texts(attributes: list[KeyValueJson] | None) -> dict[str, str]:
    return {a.key: a.value.string_value for a in attributes or () if a.key and a.value and a.value.string_value}


def _whole(number: Number | None) -> int:
    return int(number) if number is not None else 0


def _protobuf_records(body: bytes) -> Iterator[_Record]:
    for tag, begin, end in fields_of(body, 0, len(body)):
        if tag != otlp.REQUEST_RESOURCES or body.find(_WORD, begin, end) < 0:
            continue
        resource: dict[str, str] = {}
        scopes: list[tuple[int, int]] = []
        for inner, at, behind in fields_of(body, begin, end):
            if inner == otlp.RESOURCE:
                resource = _texts(body, at, behind, otlp.RESOURCE_ATTRIBUTES)
            elif inner == otlp.SCOPES:
                scopes.append((at, behind))
        for scope, after in scopes:
            for inner, at, behind in fields_of(body, scope, after):
                if inner == otlp.SCOPE_ITEMS and body.find(_WORD, at, behind) >= 0:
                    yield _record(body, at, behind, resource)


def _record(body: bytes, at: int, end: int, resource: dict[str, str]) -> _Record:
    time = observed = 0
    event = text = ""
    for tag, begin, behind in fields_of(body, at, end):
        if tag == otlp.LOG_TIME:
            (time,) = struct.unpack_from("<Q", body, begin)
        elif tag == otlp.LOG_OBSERVED_TIME:
            (observed,) = struct.unpack_from("<Q", body, begin)
        elif tag == otlp.LOG_EVENT_NAME:
            event = _text(body, begin, behind)
        elif tag == otlp.LOG_BODY:
            text = _string_of(body, begin, behind)
    return _Record(time or observed, event, text, _texts(body, at, end, otlp.LOG_ATTRIBUTES), resource)


def _texts(body: bytes, at: int, end: int, wanted: int) -> dict[str, str]:
    """String attributes of a message whose attributes have the tag `wanted`."""
    found: dict[str, str] = {}
    for tag, begin, behind in fields_of(body, at, end):
        if tag != wanted:
            continue
        key = value = ""
        for inner, start, stop in fields_of(body, begin, behind):
            if inner == otlp.KEY:
                key = _text(body, start, stop)
            elif inner == otlp.KEY_VALUE:
                value = _string_of(body, start, stop)
        if key and value:
            found[key] = value
    return found


def _string_of(body: bytes, at: int, end: int) -> str:
    """An AnyValue's string; empty for any other kind."""
    return next((_text(body, a, b) for tag, a, b in fields_of(body, at, end) if tag == otlp.ANY_STRING), "")


def _text(body: bytes, at: int, end: int) -> str:
    try:
        return body[at:end].decode()
    except UnicodeDecodeError as error:
        raise DecodeError("malformed OTLP protobuf: a string is not UTF-8", offset=at) from error
