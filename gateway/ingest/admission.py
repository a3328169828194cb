"""Admission by bytes in flight: the memory of requests that are being read, decoded or made durable is bounded.

A request takes what it is about to hold *before* it holds it: the received bytes while they arrive, then the growth
through decompression, and beside both what it will be as rows, judged by what requests of late became. What does not
fit is refused with a wait, so that a client that is told to come back has cost little. A declared length is only asked
about, never believed: an announced gigabyte reserves nothing.

A small body that is here whole may use an eighth more than the limit: those who announce bodies and do not send them
would else keep everybody out for as long as a body may take.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Final

from gateway import selfmetrics
from gateway.errors import Overloaded
from gateway.ingest.tenants import Tenant, Tenants
from gateway.telemetry.columns import PointColumns

_IN_FLIGHT = selfmetrics.gauge("ingest_in_flight_bytes", "Bytes of requests received and not yet answered.")
_LIMIT = selfmetrics.gauge("ingest_in_flight_limit_bytes", "Limit of gateway_ingest_in_flight_bytes.")


_TELLING: Final = 16 * 1024
"""Bytes from which a request tells what requests become; small ones do not fill the memory."""
_FORGETTING: Final = 0.99
"""Share of the expansion that is kept from one such request to the next."""
COLUMN_BYTES: Final = 45
"""A decoded row: two hash halves, time, value, start, point number, kind."""


class _WaitingThread:
    """A thread that waits for room for `amount` bytes. promised: what is kept for it once it is woken."""

    __slots__ = ("amount", "promised", "woken")

    def __init__(self, amount: int) -> None:
        self.amount, self.promised, self.woken = amount, 0, threading.Event()


class Admission:
    """One account of bytes, shared by all receivers of a process and by their threads."""

    def __init__(self, max_bytes: int, *, retry_after: float = 1.0, tenants: Tenants | None = None) -> None:
        """tenants: who competes for the bytes; None where nobody is told apart."""
        self.max_bytes = max_bytes
        self.kept = max_bytes // 8
        """Beside `max_bytes`, for small bodies that are here whole."""
        self.in_flight = 0
        self.expansion = 0.0
        """Bytes of decoded rows to each byte they were decoded from: the most of late, at most 1."""
        self._tenants = tenants
        self.retry_after = retry_after
        self._lock = threading.Lock()
        self._waiting: deque[_WaitingThread] = deque()
        self._promised = 0
        """Bytes for threads that were woken and have not taken them yet."""
        _IN_FLIGHT.set_function(lambda: self.in_flight)
        _LIMIT.set(max_bytes)

    def fits(self, declared: int, *, here: bool = False) -> bool:
        """Whether a request of this size, with the rows it is likely to become, fits now; reserves nothing. What would
        only fit alone is let in when nothing else is there. here: it is small and has come whole."""
        growing = int(declared * self.expansion)
        limit = self.max_bytes + (self.kept if here else 0)
        return self.in_flight + declared + growing <= limit or not self.in_flight

    def check(self, declared: int) -> None:
        """Raise Overloaded if a request of this declared size cannot fit now; reserves nothing."""
        if not self.fits(declared):
            raise self.overloaded()

    def ticket(self, tenant: str) -> Ticket:
        """For one request of that tenant."""
        return Ticket(self, None if self._tenants is None else self._tenants.get(tenant))

    def take(
        self, amount: int, tenant: Tenant | None = None, held: int = 0, grown: int = 0, *, here: bool = False
    ) -> int:
        """Reserve bytes for a request of `tenant` that holds `held` already, and what they are likely to become as
        rows; returns the latter, of which the request has `grown` already. Raises Overloaded. here: see `fits`."""
        growth = int(amount * self.expansion)
        with self._lock:
            # What only fits alone must get through: nothing is kept free for its rows.
            needed = -grown if self.in_flight <= held + grown else growth
            if self.max_bytes + (self.kept if here else 0) - self.in_flight - amount < needed:
                raise self.overloaded()
            if tenant is not None:
                others = tenant.in_flight - held
                share = tenant.weight * (self.max_bytes - self.in_flight)
                if others > 0 and tenant.in_flight + amount > share and self._tenants and self._tenants.several:
                    raise tenant.over_share()
                tenant.in_flight += amount
            self.in_flight += amount + growth
        return growth

    def wait_for_room(self, amount: int, seconds: float) -> None:
        """For a thread that holds a request of so many bytes already: return once it fits, or after so long. Threads
        are let in as they came, and only who fits is woken: to wake all of them costs more than the request that left.
        """
        with self._lock:
            if not self._waiting and self._fits_beside(self._promised, amount):
                return
            thread = _WaitingThread(amount)
            self._waiting.append(thread)
        thread.woken.wait(seconds)
        with self._lock:
            if thread.woken.is_set():
                self._promised -= thread.promised
            else:
                self._waiting.remove(thread)

    def _fits_beside(self, promised: int, amount: int) -> bool:
        taken = self.in_flight + promised
        return taken + amount + int(amount * self.expansion) <= self.max_bytes or not taken

    def _wake(self) -> None:
        """Those that fit now; with the lock."""
        while self._waiting and self._fits_beside(self._promised, self._waiting[0].amount):
            thread = self._waiting.popleft()
            thread.promised = thread.amount + int(thread.amount * self.expansion)
            self._promised += thread.promised
            thread.woken.set()

    def learn_expansion(self, received: int, decoded: int) -> None:
        """How many bytes of rows a request of so many bytes became."""
        if received >= _TELLING:
            self.expansion = min(1.0, max(decoded / received, _FORGETTING * self.expansion))

    def add(self, amount: int, tenant: Tenant | None = None) -> None:
        """Account for memory that is held already; refuses nothing, but those who come next."""
        with self._lock:
            self.in_flight += amount
            if tenant is not None:
                tenant.in_flight += amount

    def give_back(self, amount: int, tenant: Tenant | None = None) -> None:
        """Free reserved bytes."""
        with self._lock:
            self.in_flight -= amount
            if tenant is not None:
                tenant.in_flight -= amount
            self._wake()

    def overloaded(self) -> Overloaded:
        """To be raised."""
        return Overloaded(
            f"{self.in_flight} bytes of requests are in flight and {self.max_bytes} is the limit; send again later",
            retry_after=self.retry_after,
        )


class Ticket:
    """What one request holds. Owned by the request's handler, which closes it exactly when the answer is made; its
    `take` may be called by the thread that decompresses for that handler."""

    __slots__ = ("_admission", "_entered", "_growth", "_held", "_tenant", "here")

    def __init__(self, admission: Admission, tenant: Tenant | None = None) -> None:
        self._admission, self._tenant = admission, tenant
        self._held = self._growth = 0
        self._entered = tenant is None
        self.here = False
        """Whether the request is small and has come whole."""

    def take(self, amount: int) -> None:
        """Reserve more; raises Overloaded and then holds what it held."""
        tenant = self._tenant
        if tenant is None:
            growth = self._admission.take(amount, None, self._held, self._growth, here=self.here)
        else:
            if not self._entered:
                tenant.enter()
                self._entered = True
            growth = self._admission.take(amount, tenant, self._held, self._growth, here=self.here)
            tenant.spend_bytes(amount)
        self._held += amount
        self._growth += growth

    @property
    def limits_series(self) -> bool:
        """Whether points of a request may be refused for its tenant's limit of series."""
        return self._tenant is not None and self._tenant.limits_series

    def hold_columns(self, rows: int, beside: Sequence[Ticket] = ()) -> None:
        """Account for decoded rows, which stay until they are durable. They cannot be refused any more: the work is
        done, and a lone request that expands far would otherwise be refused for ever.

        beside: tickets of other requests of the tenant whose rows they are as well. What was kept free for the rows of
        any of them is free again.
        """
        amount = rows * COLUMN_BYTES
        received, growth = self._held, self._growth
        self._growth = 0
        for ticket in beside:
            received += ticket._held
            growth += ticket._growth
            ticket._growth = 0
        self._admission.add(amount, self._tenant)
        self._admission.give_back(growth)
        self._admission.learn_expansion(received, amount)
        self._held += amount
        if self._tenant is not None:
            self._tenant.spend_rows(rows)

    def hold(self, columns: PointColumns) -> PointColumns:
        """The same for a decoded request, without the points of series beyond the tenant's limit."""
        self.hold_columns(len(columns))
        return columns if self._tenant is None else self._tenant.within_series(columns)

    def close(self) -> None:
        """Free everything; harmless when repeated."""
        held, growth, self._held, self._growth = self._held, self._growth, 0, 0
        if growth:
            self._admission.give_back(growth)
        if held:
            self._admission.give_back(held, self._tenant)
