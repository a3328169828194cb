"""OTLP log records that may be events which mean something here: found, and read as far as that takes.

Most requests hold none. A search for the words in the bytes finds that out before anything is decoded.
Source: OpenTelemetry logs data model, "EventName"; before that field there was the attribute `event.name`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import Final

import msgspec

from gateway.decode.json_size import check_json_size
from gateway.decode.otlp_json_shapes import FAULTS, KeyValueJson, Number, ResourceJson, json_fault
from gateway.decode.otlp_signals import fields_of
from gateway.errors import DecodeError
from proto import otlp

DEPLOYMENT: Final = "deployment"
MAINTENANCE: Final = "maintenance.window"
_WORDS: Final = (DEPLOYMENT.encode(), MAINTENANCE.encode())


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


class EventRecord(msgspec.Struct):
    """One log record, as far as it matters here. time: nanoseconds, 0 where it has none."""

    time: int
    event: str
    body: str
    own: dict[str, str]
    """Its attributes that are strings."""
    resource: dict[str, str]
    numbers: dict[str, float]
    """Its attributes that are numbers."""
    others: list[str] = []
    """Names of those that are neither, or empty."""

    @property
    def name(self) -> str:
        """The event's name, also in the older way."""
        return self.event or self.own.get("event.name", "")


def event_records(body: bytes, is_json: bool) -> Iterator[EventRecord]:
    """Records with one of the words in them, and perhaps others. Raises DecodeError for a body that cannot be read,
    BodyTooLarge."""
    if not _has_word(body, 0, len(body)):
        return iter(())
    return _json_records(body) if is_json else _protobuf_records(body)


def _has_word(body: bytes, at: int, end: int) -> bool:
    return any(body.find(word, at, end) >= 0 for word in _WORDS)


def _json_records(body: bytes) -> Iterator[EventRecord]:
    check_json_size(body)
    try:
        request = _DECODER.decode(body)
        for item in request.resource_logs or ():
            resource, _, _ = _json_attributes(item.resource.attributes if item.resource else None)
            for scope in item.scope_logs or ():
                for record in scope.log_records or ():
                    text = bytes(record.body)
                    own, numbers, others = _json_attributes(record.attributes)
                    yield EventRecord(
                        time=_whole(record.time_unix_nano) or _whole(record.observed_time_unix_nano),
                        event=record.event_name or "",
                        body=(_TEXT.decode(text).string_value or "") if text.startswith(b"{") else "",
                        own=own,
                        resource=resource,
                        numbers=numbers,
                        others=others,
                    )
    except FAULTS as error:
        raise json_fault(error, body) from None


def _json_attributes(attributes: list[KeyValueJson] | None) -> tuple[dict[str, str], dict[str, float], list[str]]:
    texts: dict[str, str] = {}
    numbers: dict[str, float] = {}
    others: list[str] = []
    for attribute in attributes or ():
        key, value = attribute.key, attribute.value
        if not key:
            continue
        if value is None:
            others.append(key)
        elif value.string_value:
            texts[key] = value.string_value
        elif (number := value.int_value if value.int_value is not None else value.double_value) is not None:
            numbers[key] = _number(number)
        else:
            others.append(key)
    return texts, numbers, others


def _number(number: Number) -> float:
    """As ProtoJSON writes it; NaN for what is none, as for any other value that nothing can be made of."""
    try:
        return float(number)
    except (ValueError, OverflowError):
        return math.nan


def _whole(number: Number | None) -> int:
    return int(number) if number is not None else 0


def _protobuf_records(body: bytes) -> Iterator[EventRecord]:
    for tag, begin, end in fields_of(body, 0, len(body)):
        if tag != otlp.REQUEST_RESOURCES or not _has_word(body, begin, end):
            continue
        resource: dict[str, str] = {}
        scopes: list[tuple[int, int]] = []
        for inner, at, behind in fields_of(body, begin, end):
            if inner == otlp.RESOURCE:
                resource, _, _ = _attributes(body, at, behind, otlp.RESOURCE_ATTRIBUTES)
            elif inner == otlp.SCOPES:
                scopes.append((at, behind))
        for scope, after in scopes:
            for inner, at, behind in fields_of(body, scope, after):
                if inner == otlp.SCOPE_ITEMS and _has_word(body, at, behind):
                    yield _record(body, at, behind, resource)


def _record(body: bytes, at: int, end: int, resource: dict[str, str]) -> EventRecord:
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
            value = _value(body, begin, behind)
            text = value if isinstance(value, str) else ""
    own, numbers, others = _attributes(body, at, end, otlp.LOG_ATTRIBUTES)
    return EventRecord(time or observed, event, text, own, resource, numbers, others)


def _attributes(body: bytes, at: int, end: int, wanted: int) -> tuple[dict[str, str], dict[str, float], list[str]]:
    """Strings and numbers of a message whose attributes have the tag `wanted`, and the names of the others."""
    texts: dict[str, str] = {}
    numbers: dict[str, float] = {}
    others: list[str] = []
    for tag, begin, behind in fields_of(body, at, end):
        if tag != wanted:
            continue
        key = ""
        value: str | float = ""
        for inner, start, stop in fields_of(body, begin, behind):
            if inner == otlp.KEY:
                key = _text(body, start, stop)
            elif inner == otlp.KEY_VALUE:
                value = _value(body, start, stop)
        if not key:
            continue
        if isinstance(value, float):
            numbers[key] = value
        elif value:
            texts[key] = value
        else:
            others.append(key)
    return texts, numbers, others


def _value(body: bytes, at: int, end: int) -> str | float:
    """An AnyValue that is a string or a number; "" for any other kind."""
    for tag, begin, behind in fields_of(body, at, end):
        if tag == otlp.ANY_STRING:
            return _text(body, begin, behind)
        if tag == otlp.ANY_DOUBLE:
            (double,) = struct.unpack_from("<d", body, begin)
            return float(double)
        if tag == otlp.ANY_INT:
            bits = sum((byte & 0x7F) << (7 * n) for n, byte in enumerate(body[begin:behind])) & (2**64 - 1)
            return float(bits - 2**64 if bits >> 63 else bits)
    return ""


def _text(body: bytes, at: int, end: int) -> str:
    try:
        return body[at:end].decode()
    except UnicodeDecodeError as error:
        raise DecodeError("malformed OTLP protobuf: a string is not UTF-8", offset=at) from error
