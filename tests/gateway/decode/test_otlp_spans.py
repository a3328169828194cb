"""Spans that tell who calls whom, read from what the SDK's own classes encode; damage leaves a span out."""

from __future__ import annotations

import json

import pytest
from google.protobuf.json_format import MessageToDict
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from gateway.decode.otlp_signals import count_by_service
from gateway.decode.otlp_spans import CLIENT, SERVER, call_spans, call_spans_json, peer_of
from gateway.errors import DecodeError


def request(service: str, *spans: Span) -> ExportTraceServiceRequest:
    made = ExportTraceServiceRequest()
    resource = made.resource_spans.add()
    attribute = resource.resource.attributes.add(key="service.name")
    attribute.value.string_value = service
    resource.scope_spans.add().spans.extend(spans)
    return made


def span(trace: int, own: int, parent: int = 0, kind: int = CLIENT, **attributes: str) -> Span:
    made = Span(trace_id=trace.to_bytes(16), span_id=own.to_bytes(8), name="GET /", kind=kind)  # type: ignore[arg-type]
    if parent:
        made.parent_span_id = parent.to_bytes(8)
    for name, value in attributes.items():
        made.attributes.add(key=name.replace("__", ".")).value.string_value = value
    return made


def as_json(made: ExportTraceServiceRequest) -> bytes:
    """OTLP/JSON: as protobuf's, but ids in hexadecimal."""
    body = MessageToDict(made, use_integers_for_enums=True)
    for resource, given_resource in zip(body["resourceSpans"], made.resource_spans, strict=True):
        for scope, given_scope in zip(resource["scopeSpans"], given_resource.scope_spans, strict=True):
            for one, given_span in zip(scope["spans"], given_scope.spans, strict=True):
                one["traceId"], one["spanId"] = given_span.trace_id.hex(), given_span.span_id.hex()
                if given_span.parent_span_id:
                    one["parentSpanId"] = given_span.parent_span_id.hex()
    return json.dumps(body).encode()


def test_a_client_and_a_server_span_in_both_encodings() -> None:
    made = request("web", span(1, 2, peer__service="cart", http__method="GET"), span(1, 3, parent=2, kind=SERVER))
    found = list(call_spans(made.SerializeToString()))
    assert found == list(call_spans_json(as_json(made)))
    client, server = found
    assert (client.service, client.kind, client.peer) == ("web", CLIENT, "cart")
    assert server.parent == client.key
    assert (client.parent, server.peer) == (b"", "")


def test_sampling_leaves_out_whole_traces() -> None:
    made = request("web", *(span(trace, trace + 1) for trace in range(256)))
    for body, reader in ((made.SerializeToString(), call_spans), (as_json(made), call_spans_json)):
        found = {one.key[7] for one in reader(body, 0b11)}
        assert found == set(range(0, 256, 4))


def test_spans_without_service_or_ids_are_left_out() -> None:
    assert not list(call_spans(request("", span(1, 2)).SerializeToString()))
    short = Span(trace_id=b"short", span_id=b"x", kind=CLIENT)  # type: ignore[arg-type]
    made = request("web", short, span(1, 2))
    assert len(list(call_spans(made.SerializeToString()))) == 1
    assert len(list(call_spans_json(as_json(made)))) == 1


@pytest.mark.parametrize(
    ("attributes", "peer"),
    [
        ({"peer.service": "cart", "server.address": "x"}, "cart"),
        ({"server.address": "cart.shop.svc.cluster.local"}, "cart"),
        ({"net.peer.name": "cart"}, "cart"),
        ({"server.address": "10.0.0.7"}, ""),
        ({"server.address": "fe80::1"}, ""),
        ({"server.address": "localhost"}, ""),
        ({"db.system.name": "postgresql", "server.address": "10.0.0.7"}, "postgresql"),
        ({"db.system": "redis", "server.address": "cache-1.internal"}, "cache-1"),
        ({"messaging.system": "kafka", "messaging.destination.name": "orders"}, "kafka:orders"),
        ({}, ""),
    ],
)
def test_peers_by_the_semantic_conventions(attributes: dict[str, str], peer: str) -> None:
    assert peer_of(attributes) == peer


@settings(max_examples=150, deadline=None)
@given(cut=st.integers(0, 400), flip=st.integers(0, 400), bits=st.integers(1, 255))
def test_damage_ends_in_a_declared_error_or_in_fewer_spans(cut: int, flip: int, bits: int) -> None:
    body = bytearray(
        request("web", *(span(1, n, parent=n + 1, peer__service="cart") for n in range(1, 5))).SerializeToString()
    )
    body[flip % len(body)] ^= bits
    damaged = bytes(body[: len(body) - cut % len(body)])
    try:
        count_by_service(damaged)
        found = list(call_spans(damaged))
    except DecodeError:
        return
    assert len(found) <= 4
