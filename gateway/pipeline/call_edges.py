"""Call edges, counted from the spans that pass: which service calls which.

Rules of the subject:
  * A client span that names its peer is a call from its service to the peer. A server span whose parent is a span of
    another service is a call from that service to its own; the two spans may come in any order, in different requests.
  * Where both are seen of one call, the peer's name ("cart.shop.svc") is known to mean the service ("cartservice") and
    its edge is counted under the service.
  * At most SPANS_PER_SECOND spans are read; above that, whole traces are left out, by halves, until it fits. Traces are
    not stored, so what is left out here is lost for nothing else.
  * Memory is bounded: MAX_WAITING spans of each side wait for the other, MAX_EDGES edges are kept; the oldest give way.
Called from the receivers' threads; a lock is held for a batch of spans.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable
from itertools import islice
from typing import Final, TypeVar

from gateway.clock import Clock
from gateway.decode.otlp_spans import CLIENT, CONSUMER, PRODUCER, CallSpan, call_spans, call_spans_json
from gateway.selfmetrics import counter, gauge
from gateway.telemetry.call_edge import CallEdge

SPANS_PER_SECOND: Final = 4_000
MOST_OF_REQUEST: Final = 4 * SPANS_PER_SECOND
"""Spans that are read of one request; a larger one would be read in vain, and held in memory meanwhile."""
MAX_WAITING: Final = 50_000
MAX_EDGES: Final = 10_000
MAX_ALIASES: Final = 10_000
_MOST_MASK: Final = 0xFF

_K = TypeVar("_K")
_V = TypeVar("_V")
_READ: Final = counter("call_spans_read", "Spans read to learn which service calls which.")
_EDGES: Final = gauge("call_edges", "Calls between services that are remembered.")


class CallEdges:
    """See the head of the file."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._edges: OrderedDict[tuple[str, str], list[int]] = OrderedDict()
        self._callers: OrderedDict[bytes, tuple[str, str]] = OrderedDict()
        """Key of a span that calls → its service and the peer it names."""
        self._callees: OrderedDict[bytes, str] = OrderedDict()
        """Key of a parent that was not seen yet → service of the server span below it."""
        self._aliases: OrderedDict[str, str] = OrderedDict()
        self._mask = 0
        self._second = 0
        self._read = 0

    def take(self, body: bytes, is_json: bool) -> None:
        """The spans of one ExportTraceServiceRequest. Raises DecodeError."""
        spans = call_spans_json(body, self._mask) if is_json else call_spans(body, self._mask)
        self.take_spans(list(islice(spans, MOST_OF_REQUEST)))

    def take_spans(self, spans: Iterable[CallSpan]) -> None:
        """Spans that were decoded."""
        now = self._clock.time_ns()
        read = 0
        with self._lock:
            for span in spans:
                read += 1
                if span.kind in (CLIENT, PRODUCER, CONSUMER) and span.peer:
                    self._count(span.service, span.peer, now)
                if span.kind in (CLIENT, PRODUCER):
                    callee = self._callees.pop(span.key, None)
                    if callee is not None:
                        self._join(span.service, span.peer, callee, now)
                    else:
                        _put(self._callers, span.key, (span.service, span.peer), MAX_WAITING)
                elif span.parent:
                    caller = self._callers.get(span.parent)
                    if caller is not None:
                        self._join(*caller, span.service, now)
                    elif span.kind != 0:
                        _put(self._callees, span.parent, span.service, MAX_WAITING)
            self._adapt(now // 1_000_000_000, read)
        _READ.inc(read)
        _EDGES.set(len(self._edges))

    def _adapt(self, second: int, read: int) -> None:
        if second != self._second:
            if self._read > SPANS_PER_SECOND:
                self._mask = min(self._mask * 2 + 1, _MOST_MASK)
            elif self._read < SPANS_PER_SECOND // 4:
                self._mask >>= 1
            self._second, self._read = second, 0
        self._read += read

    def _join(self, caller: str, peer: str, callee: str, now: int) -> None:
        if caller == callee:
            return
        if not peer:
            self._count(caller, callee, now)
        elif peer != callee:
            _put(self._aliases, peer, callee, MAX_ALIASES)  # the client span has counted this call

    def _count(self, caller: str, callee: str, now: int) -> None:
        if caller == callee:
            return
        known = self._edges.get((caller, callee))
        if known is None:
            _put(self._edges, (caller, callee), [1, now], MAX_EDGES)
        else:
            known[0] += 1
            known[1] = now
            self._edges.move_to_end((caller, callee))

    def edges(self) -> list[CallEdge]:
        """Every call edge, peers under the names of their services."""
        with self._lock:
            found: dict[tuple[str, str], tuple[int, int]] = {}
            for (caller, peer), (calls, seen) in self._edges.items():
                callee = self._aliases.get(peer, peer)
                if caller != callee:
                    before, last = found.get((caller, callee), (0, 0))
                    found[caller, callee] = before + calls, max(last, seen)
        return [CallEdge(*names, calls, seen) for names, (calls, seen) in found.items()]


def _put(into: OrderedDict[_K, _V], key: _K, value: _V, most: int) -> None:
    into[key] = value
    into.move_to_end(key)
    if len(into) > most:
        into.popitem(last=False)
