"""Admission by bytes in flight: the memory of requests that are being read, decoded or made durable is bounded.

A request takes what it is about to hold *before* it holds it: the received bytes while they arrive, then the growth
through decompression. What does not fit is refused with a wait, so that a client that is told to come back has cost
little. A declared length is only asked about, never believed: an announced gigabyte reserves nothing.
"""

from __future__ import annotations

import threading
from typing import Final

from gateway import selfmetrics
from gateway.errors import Overloaded

_IN_FLIGHT = selfmetrics.gauge("ingest_in_flight_bytes", "Bytes of requests received and not yet answered.")
_LIMIT = selfmetrics.gauge("ingest_in_flight_limit_bytes", "Limit of gateway_ingest_in_flight_bytes.")


COLUMN_BYTES: Final = 45
"""A decoded row: two hash halves, time, value, start, point number, kind."""


class Admission:
    """One account of bytes, shared by all receivers of a process and by their threads."""

    def __init__(self, max_bytes: int, *, retry_after: float = 1.0) -> None:
        self.max_bytes = max_bytes
        self.in_flight = 0
        self._retry_after = retry_after
        self._lock = threading.Lock()
        _IN_FLIGHT.set_function(lambda: self.in_flight)
        _LIMIT.set(max_bytes)

    def check(self, declared: int) -> None:
        """Raise Overloaded if a request of this declared size cannot fit now; reserves nothing."""
        if self.in_flight + declared > self.max_bytes:
            raise self._overloaded()

    def take(self, amount: int) -> None:
        """Reserve bytes; raises Overloaded."""
        with self._lock:
            if self.in_flight + amount > self.max_bytes:
                raise self._overloaded()
            self.in_flight += amount

    def add(self, amount: int) -> None:
        """Account for memory that is held already; refuses nothing, but those who come next."""
        with self._lock:
            self.in_flight += amount

    def give_back(self, amount: int) -> None:
        """Free reserved bytes."""
        with self._lock:
            self.in_flight -= amount

    def _overloaded(self) -> Overloaded:
        return Overloaded(
            f"{self.in_flight} bytes of requests are in flight and {self.max_bytes} is the limit; send again later",
            retry_after=self._retry_after,
        )


class Ticket:
    """What one request holds. Owned by the request's handler, which closes it exactly when the answer is made; its
    `take` may be called by the thread that decompresses for that handler."""

    __slots__ = ("_admission", "_held")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._held = 0

    def take(self, amount: int) -> None:
        """Reserve more; raises Overloaded and then holds what it held."""
        self._admission.take(amount)
        self._held += amount

    def hold_columns(self, rows: int) -> None:
        """Account for decoded rows, which stay until they are durable. They cannot be refused any more: the work is
        done, and a lone request that expands far would otherwise be refused for ever."""
        amount = rows * COLUMN_BYTES
        self._admission.add(amount)
        self._held += amount

    def close(self) -> None:
        """Free everything; harmless when repeated."""
        held, self._held = self._held, 0
        if held:
            self._admission.give_back(held)
