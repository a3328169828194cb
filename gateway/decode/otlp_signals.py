"""OTLP traces and logs: how many spans or log records a request holds, by service; nothing else is read of them yet.

Both signals share one shape, Request → Resource… → Scope… → span or record, so one bounded walk serves both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import msgspec

from gateway.decode.json_size import check_json_size
from gateway.decode.otlp_json_shapes import FAULTS, KeyValueJson, ResourceJson, json_fault
from gateway.errors import DecodeError
from proto import otlp

_MOST_VARINT_BYTES = 10


class _ScopeJson(msgspec.Struct, rename="camel", gc=False):
    spans: list[msgspec.Raw] | None = None
    log_records: list[msgspec.Raw] | None = None


class _ResourceItemsJson(msgspec.Struct, rename="camel", gc=False):
    resource: ResourceJson | None = None
    scope_spans: list[_ScopeJson] | None = None
    scope_logs: list[_ScopeJson] | None = None


class _RequestJson(msgspec.Struct, rename="camel", gc=False):
    resource_spans: list[_ResourceItemsJson] | None = None
    resource_logs: list[_ResourceItemsJson] | None = None


_DECODER = msgspec.json.Decoder(_RequestJson)
UNKNOWN_SERVICE = ""
"""Key of what came without a `service.name`."""


def count_by_service(body: bytes) -> dict[str, int]:
    """Spans or log records of a protobuf ExportTraceServiceRequest or ExportLogsServiceRequest, by `service.name`.

    Raises DecodeError where a length or a tag does not fit. Spans and records themselves are stepped over.
    """
    counts: Counter[str] = Counter()
    for tag, begin, end in fields_of(body, 0, len(body)):
        if tag == otlp.REQUEST_RESOURCES:
            service, items = UNKNOWN_SERVICE, 0
            for inner, at, behind in fields_of(body, begin, end):
                if inner == otlp.RESOURCE:
                    service = service_of_resource(body, at, behind) or service
                elif inner == otlp.SCOPES:
                    items += sum(1 for field in fields_of(body, at, behind) if field[0] == otlp.SCOPE_ITEMS)
            if items:
                counts[service] += items
    return dict(counts)


def count_by_service_json(body: bytes) -> dict[str, int]:
    """The same of OTLP/JSON; raises DecodeError, BodyTooLarge."""
    check_json_size(body)
    try:
        request = _DECODER.decode(body)
    except FAULTS as error:
        raise json_fault(error, body) from None
    counts: Counter[str] = Counter()
    for item in [*(request.resource_spans or ()), *(request.resource_logs or ())]:
        attributes: list[KeyValueJson] = (item.resource.attributes if item.resource else None) or []
        service = UNKNOWN_SERVICE
        for attribute in attributes:
            if attribute.key == "service.name" and attribute.value is not None:
                service = attribute.value.string_value or UNKNOWN_SERVICE
        scopes = [*(item.scope_spans or ()), *(item.scope_logs or ())]
        items = sum(len(scope.spans or ()) + len(scope.log_records or ()) for scope in scopes)
        if items:
            counts[service] += items
    return dict(counts)


def service_of_resource(body: bytes, at: int, end: int) -> str:
    """`service.name` of a Resource; empty if there is none."""
    service = ""
    for tag, begin, behind in fields_of(body, at, end):
        if tag != otlp.RESOURCE_ATTRIBUTES:
            continue
        key, value = b"", b""
        for inner, start, stop in fields_of(body, begin, behind):
            if inner == otlp.KEY:
                key = body[start:stop]
            elif inner == otlp.KEY_VALUE:
                for kind, first, last in fields_of(body, start, stop):
                    if kind == otlp.ANY_STRING:
                        value = body[first:last]
        if key == b"service.name":
            service = value.decode("utf-8", "replace")
    return service


def _varint(body: bytes, at: int, end: int) -> tuple[int, int]:
    value = 0
    for index in range(_MOST_VARINT_BYTES):
        if at + index >= end:
            break
        byte = body[at + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise DecodeError("malformed OTLP protobuf: a varint does not end", offset=at)


def fields_of(body: bytes, at: int, end: int) -> Iterator[tuple[int, int, int]]:
    """(tag, first byte, byte behind) of each field of a message; raises DecodeError."""
    while at < end:
        began = at
        tag, at = _varint(body, at, end)
        if not 8 <= tag < 1 << 32:
            raise DecodeError("malformed OTLP protobuf: a field number out of range", offset=began)
        wire, start = tag & 7, at
        if wire == otlp.BYTES:
            length, start = _varint(body, at, end)
            at = start + length
        elif wire == otlp.VARINT:
            _, at = _varint(body, at, end)
        elif wire in (otlp.FIXED64, otlp.FIXED32):
            at += 8 if wire == otlp.FIXED64 else 4
        else:
            raise DecodeError("malformed OTLP protobuf: a wire type that protobuf 3 does not use", offset=began)
        if at > end:
            raise DecodeError("malformed OTLP protobuf: a length reaches behind the end of its message", offset=began)
        yield tag, start, at
