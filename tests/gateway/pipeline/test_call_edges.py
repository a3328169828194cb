"""Call edges from spans: both orders, names of peers, bounds, sampling under load."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from gateway.clock import Clock
from gateway.decode.otlp_spans import CLIENT, CONSUMER, SERVER, CallSpan
from gateway.pipeline import call_edges as call_edges_module
from gateway.pipeline.call_edges import CallEdges


class Time(Clock):
    """Turned by hand."""

    now = 1_700_000_000_000_000_000

    def time_ns(self) -> int:
        return self.now

    def monotonic(self) -> float:
        return self.now / 1e9


def client(service: str, key: bytes, peer: str = "") -> CallSpan:
    return CallSpan(service, key, b"", CLIENT, peer)


def server(service: str, parent: bytes) -> CallSpan:
    return CallSpan(service, b"own" + parent, parent, SERVER, "")


def found(edges: CallEdges) -> dict[tuple[str, str], int]:
    return {(edge.caller, edge.callee): edge.calls for edge in edges.edges()}


@pytest.mark.parametrize("reverse", [False, True])
def test_the_two_sides_of_a_call_meet_in_any_order(reverse: bool) -> None:
    edges = CallEdges(Time())
    spans = [client("web", b"1"), server("cart", b"1"), client("cart", b"2"), server("cart", b"2")]
    for span in spans[::-1] if reverse else spans:
        edges.take_spans([span])
    assert found(edges) == {("web", "cart"): 1}


@pytest.mark.parametrize("reverse", [False, True])
def test_a_peer_is_known_by_its_service_once_both_sides_were_seen(reverse: bool) -> None:
    edges = CallEdges(Time())
    edges.take_spans([client("shop", b"0", "cart")])
    assert found(edges) == {("shop", "cart"): 1}
    both = [client("web", b"1", "cart"), server("cartservice", b"1")]
    edges.take_spans(both[::-1] if reverse else both)
    assert found(edges) == {("shop", "cartservice"): 1, ("web", "cartservice"): 1}


def test_peer_and_service_of_one_name_are_one_call() -> None:
    edges = CallEdges(Time())
    edges.take_spans([client("web", b"1", "cart"), server("cart", b"1")])
    assert found(edges) == {("web", "cart"): 1}


def test_queues_join_producers_and_consumers() -> None:
    edges = CallEdges(Time())
    edges.take_spans([CallSpan("bill", b"1", b"", CONSUMER, "kafka:orders")])
    assert found(edges) == {("bill", "kafka:orders"): 1}


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(call_edges_module, "MAX_EDGES", 10)
    monkeypatch.setattr(call_edges_module, "MAX_WAITING", 10)
    edges = CallEdges(Time())
    edges.take_spans([client(f"s{n}", str(n).encode(), f"t{n}") for n in range(100)])
    edges.take_spans([server("late", str(n).encode() + b"x") for n in range(100)])
    assert set(found(edges)) == {(f"s{n}", f"t{n}") for n in range(90, 100)}
    assert len(edges._callers) == len(edges._callees) == 10


def test_under_load_whole_traces_are_left_out_and_taken_again_later() -> None:
    time = Time()
    edges = CallEdges(time)
    for _ in range(4):
        edges.take_spans([client("web", b"%d" % n) for n in range(call_edges_module.SPANS_PER_SECOND + 1)])
        time.now += 1_000_000_000
        edges.take_spans([])
    assert edges._mask == 0b1111
    for _ in range(8):
        time.now += 1_000_000_000
        edges.take_spans([])
    assert edges._mask == 0


def test_of_a_huge_request_only_a_part_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    read = []

    def spans(body: bytes, mask: int) -> Iterator[CallSpan]:
        for number in range(1_000):
            read.append(number)
            yield client("web", b"%d" % number, "cart")

    monkeypatch.setattr(call_edges_module, "call_spans", spans)
    monkeypatch.setattr(call_edges_module, "MOST_OF_REQUEST", 100)
    edges = CallEdges(Time())
    edges.take(b"", False)
    assert found(edges) == {("web", "cart"): 100}
    assert len(read) == 100
