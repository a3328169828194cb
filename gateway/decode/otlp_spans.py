"""OTLP spans, as far as they tell who calls whom: service, ids, kind, and the peer that a client span names.

A span that is damaged inside is left out; that the request is whole was seen while its spans were counted. Sampled by
trace, so that both sides of a call are looked at or neither: a span is read if the last byte of its trace id has none
of the bits of `mask`.

Sources: OpenTelemetry `trace.proto` (field numbers); OpenTelemetry semantic conventions for attributes of peers.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import msgspec

from gateway.decode.json_size import check_json_size
from gateway.decode.otlp_json_shapes import FAULTS, KeyValueJson, ResourceJson, json_fault
from gateway.decode.otlp_signals import fields_of, service_of_resource
from gateway.errors import DecodeError
from proto import otlp

SERVER: Final = 2
CLIENT: Final = 3
PRODUCER: Final = 4
CONSUMER: Final = 5
_KINDS: Final = {
    "SPAN_KIND_SERVER": SERVER,
    "SPAN_KIND_CLIENT": CLIENT,
    "SPAN_KIND_PRODUCER": PRODUCER,
    "SPAN_KIND_CONSUMER": CONSUMER,
}
_WANTED: Final = frozenset(
    {
        "peer.service",
        "server.address",
        "net.peer.name",
        "db.system.name",
        "db.system",
        "messaging.system",
        "messaging.destination.name",
    }
)
_WANTED_BYTES: Final = {name.encode(): name for name in _WANTED}
MAX_NAME: Final = 200
_ID_BYTES: Final = 8
_TRACE_ID_BYTES: Final = 16


class CallSpan(NamedTuple):
    """One span. `key` and `parent` stand for (trace id, span id); `parent` is empty for a root."""

    service: str
    key: bytes
    parent: bytes
    kind: int
    peer: str
    """What a client, producer or consumer span says of the other side; "" where it says nothing fit."""


class _SpanJson(msgspec.Struct, rename="camel", gc=False):
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str | None = None
    kind: int | str | None = None
    attributes: list[KeyValueJson] | None = None


class _ScopeSpansJson(msgspec.Struct, rename="camel", gc=False):
    spans: list[_SpanJson] | None = None


class _ResourceSpansJson(msgspec.Struct, rename="camel", gc=False):
    resource: ResourceJson | None = None
    scope_spans: list[_ScopeSpansJson] | None = None


class _TracesJson(msgspec.Struct, rename="camel", gc=False):
    resource_spans: list[_ResourceSpansJson] | None = None


_JSON = msgspec.json.Decoder(_TracesJson)


def call_spans(body: bytes, mask: int = 0) -> Iterator[CallSpan]:
    """Spans of a protobuf ExportTraceServiceRequest that name a service; raises DecodeError for a broken request."""
    for tag, begin, end in fields_of(body, 0, len(body)):
        if tag != otlp.REQUEST_RESOURCES:
            continue
        service = ""
        scopes = []
        for inner, at, behind in fields_of(body, begin, end):
            if inner == otlp.RESOURCE:
                service = service_of_resource(body, at, behind) or service
            elif inner == otlp.SCOPES:
                scopes.append((at, behind))
        if not service:
            continue
        for at, behind in scopes:
            for field, first, last in fields_of(body, at, behind):
                if field == otlp.SCOPE_ITEMS and not _trace_byte(body, first, last) & mask:
                    span = _span(body, first, last, service)
                    if span is not None:
                        yield span


def call_spans_json(body: bytes, mask: int = 0) -> Iterator[CallSpan]:
    """The same of OTLP/JSON; raises DecodeError, BodyTooLarge."""
    check_json_size(body)
    try:
        request = _JSON.decode(body)
    except FAULTS as error:
        raise json_fault(error, body) from None
    for item in request.resource_spans or ():
        attributes = dict(_texts((item.resource.attributes if item.resource else None) or ()))
        service = attributes.get("service.name", "")
        for scope in item.scope_spans or () if service else ():
            for given in scope.spans or ():
                try:
                    trace, own = bytes.fromhex(given.trace_id), bytes.fromhex(given.span_id)
                    parent = bytes.fromhex(given.parent_span_id or "")
                except ValueError:
                    continue
                kind = _KINDS.get(given.kind, 0) if isinstance(given.kind, str) else given.kind or 0
                if len(trace) == _TRACE_ID_BYTES and len(own) == _ID_BYTES and not trace[-1] & mask:
                    yield _made(service, trace, own, parent, kind, dict(_texts(given.attributes or ())))


def _texts(attributes: Iterable[KeyValueJson]) -> Iterator[tuple[str, str]]:
    for attribute in attributes:
        if attribute.key and attribute.value is not None and attribute.value.string_value:
            yield attribute.key, attribute.value.string_value


def _trace_byte(body: bytes, at: int, end: int) -> int:
    """The last byte of the trace id, which senders write first; 0 where it is written elsewhere."""
    is_first = end - at > 18 and body[at] == otlp.SPAN_TRACE_ID and body[at + 1] == _TRACE_ID_BYTES
    return body[at + 17] if is_first else 0


def _span(body: bytes, at: int, end: int, service: str) -> CallSpan | None:
    trace = own = parent = b""
    kind = 0
    attributes: dict[str, str] = {}
    try:
        for tag, begin, behind in fields_of(body, at, end):
            if tag == otlp.SPAN_TRACE_ID:
                trace = body[begin:behind]
            elif tag == otlp.SPAN_ID:
                own = body[begin:behind]
            elif tag == otlp.SPAN_PARENT_ID:
                parent = body[begin:behind]
            elif tag == otlp.SPAN_KIND:
                kind = body[begin]
            elif tag == otlp.SPAN_ATTRIBUTES and kind != SERVER:
                _attribute(body, begin, behind, attributes)
    except DecodeError:
        return None
    if len(trace) != _TRACE_ID_BYTES or len(own) != _ID_BYTES:
        return None
    return _made(service, trace, own, parent, kind, attributes)


def _attribute(body: bytes, at: int, end: int, into: dict[str, str]) -> None:
    name = ""
    for tag, begin, behind in fields_of(body, at, end):
        if tag == otlp.KEY:
            name = _WANTED_BYTES.get(body[begin:behind], "")
            if not name:
                return
        elif tag == otlp.KEY_VALUE and name:
            for kind, first, last in fields_of(body, begin, behind):
                if kind == otlp.ANY_STRING:
                    into[name] = body[first:last].decode("utf-8", "replace")


def _made(service: str, trace: bytes, own: bytes, parent: bytes, kind: int, attributes: dict[str, str]) -> CallSpan:
    peer = peer_of(attributes) if kind in (CLIENT, PRODUCER, CONSUMER) else ""
    above = trace[8:] + parent if len(parent) == _ID_BYTES else b""
    return CallSpan(service[:MAX_NAME], trace[8:] + own, above, kind, peer[:MAX_NAME])


def peer_of(attributes: dict[str, str]) -> str:
    """The other side of a call by the semantic conventions: a service, a database, a queue or a host name.

    An address of digits alone names nobody and gives "", unless the database's kind is known.
    """
    if "peer.service" in attributes:
        return attributes["peer.service"]
    address = attributes.get("server.address") or attributes.get("net.peer.name") or ""
    host = "" if _is_address(address) else address.split(".", 1)[0]
    queue = attributes.get("messaging.system", "")
    if queue:
        destination = attributes.get("messaging.destination.name", "")
        return f"{queue}:{destination}" if destination else queue
    database = attributes.get("db.system.name") or attributes.get("db.system") or ""
    if database:
        return host if host not in ("", "localhost") else database
    return "" if host == "localhost" else host


def _is_address(text: str) -> bool:
    return ":" in text or text.replace(".", "").isdigit()
