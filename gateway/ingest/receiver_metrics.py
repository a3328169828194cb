"""The receivers' own counters, with children bound once so that a request costs increments and no look-ups."""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter

from gateway import selfmetrics
from gateway.errors import GatewayError
from gateway.telemetry.columns import PointColumns, Receipt

_REQUESTS = selfmetrics.counter("ingest_requests", "Requests answered.", ["protocol", "signal", "code"])
_BYTES = selfmetrics.counter("ingest_received_bytes", "Request bodies as received.", ["protocol", "signal"])
_POINTS = selfmetrics.counter("ingest_accepted_points", "Data points accepted and durable.", ["protocol"])
_REJECTED = selfmetrics.counter(
    "ingest_rejected_points", "Data points of accepted requests that were not accepted.", ["protocol", "reason"]
)
_ERRORS = selfmetrics.counter("ingest_errors", "Requests refused as a whole.", ["protocol", "signal", "reason"])
_UNSTORED = selfmetrics.counter(
    "ingest_unstored_records",
    "Spans and log records received, which are counted and not stored.",
    ["signal", "service"],
)

_MAX_SERVICES: Final = 1000
_OTHER: Final = "(other)"


class ReceiverMetrics:
    """Counters of one protocol ("otlp_http", "otlp_grpc", "remote_write_v1", …) and signal. Thread-safe."""

    def __init__(self, protocol: str, signal: str) -> None:
        self.protocol, self.signal = protocol, signal
        self._bytes = _BYTES.labels(protocol, signal)
        self._points = _POINTS.labels(protocol)
        self._codes: dict[str, Counter] = {}

    def answered(self, code: str, body_bytes: int, requests: int = 1) -> None:
        """Requests answered with an HTTP or gRPC code, of so many bytes together."""
        child = self._codes.get(code)
        if child is None:
            child = self._codes[code] = _REQUESTS.labels(self.protocol, self.signal, code)
        child.inc(requests)
        self._bytes.inc(body_bytes)

    def refused(self, error: GatewayError) -> None:
        """One request refused as a whole."""
        _ERRORS.labels(self.protocol, self.signal, error.reason).inc()

    def accepted(self, columns: PointColumns, receipt: Receipt | None) -> int:
        """One request durable (None: it had no rows to make durable); gives the number of points not accepted."""
        refused = receipt.refused if receipt is not None else {}
        lost_late = sum(refused.values())
        if columns.points > lost_late:
            self._points.inc(columns.points - lost_late)
        if not columns.rejected and not refused:
            return 0
        for reasons in (columns.rejected, refused):
            for reason, count in reasons.items():
                _REJECTED.labels(self.protocol, reason).inc(count)
        return sum(columns.rejected.values()) + lost_late


_services: set[tuple[str, str]] = set()


def count_unstored(signal: str, by_service: dict[str, int]) -> int:
    """Count spans or log records by service, a bounded number of services; gives their sum."""
    total = others = 0
    for service, count in by_service.items():
        total += count
        key = (signal, service)
        if key not in _services:
            if len(_services) >= _MAX_SERVICES:
                others += count  # one request may name a hundred thousand
                continue
            _services.add(key)
        _UNSTORED.labels(signal, service).inc(count)
    if others:
        _UNSTORED.labels(signal, _OTHER).inc(others)
    return total


def rejected_message(columns: PointColumns, receipt: Receipt | None) -> str:
    """What a sender is told about points not accepted; empty if there are none."""
    parts = [columns.rejected_message]
    if not columns.rejected_message and columns.rejected:
        parts = ["rejected: " + ", ".join(f"{n} {reason}" for reason, n in columns.rejected.items())]
    if receipt is not None and receipt.refused:
        late = ", ".join(f"{n} {reason}" for reason, n in receipt.refused.items())
        parts.append(receipt.message or f"refused: {late}")
    return "; ".join(p for p in parts if p)
