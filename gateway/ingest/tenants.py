"""Tenants: who shares the gateway, what each may use, and that none takes another's share.

A tenant is who the access settings say a request comes from (`tenant` of a token, user or certificate; its name where
nothing is said). Two kinds of limits:

- Rates of bytes and of rows are token buckets that may run into debt: a request is refused while the bucket is below
  zero, and what it turns out to cost is taken afterwards, so that nothing is decoded only to be refused. The wait it
  is told is the time in which the debt is paid.
- A share of the bytes in flight: a tenant may hold up to `weight` times what is *free* (Choudhury and Hahne, "Dynamic
  queue length thresholds for shared-memory packet switches", IEEE/ACM ToN 6(2), 1998). One greedy tenant of weight 1
  thus stops at half, two at a third each, and something is always free for the others, without queues or shares set
  aside for the absent. A tenant that holds nothing is always let in, so that the largest request can pass.

Where there is one tenant, no share is enforced.
"""

from __future__ import annotations

import threading
from typing import Final

from gateway import selfmetrics
from gateway.clock import Clock
from gateway.errors import Overloaded
from gateway.ingest.series_quota import SeriesQuota
from gateway.ingest.settings import IngestSettings, TenantLimits
from gateway.telemetry.columns import PointColumns

_IN_FLIGHT = selfmetrics.gauge("tenant_in_flight_bytes", "Bytes in flight by tenant.", ["tenant"])
_ROWS = selfmetrics.counter("tenant_rows", "Decoded rows by tenant.", ["tenant"])
_BYTES = selfmetrics.counter("tenant_bytes", "Bytes of requests, received and decompressed, by tenant.", ["tenant"])
_REFUSED = selfmetrics.counter("tenant_refusals", "Requests told to come again, by tenant.", ["tenant", "reason"])
_SERIES = selfmetrics.gauge("tenant_series", "Series counted against the tenant's limit.", ["tenant"])

_LONGEST_WAIT: Final = 60.0
_SHORTEST_WAIT: Final = 1.0


class _Bucket:
    """Tokens at `rate` a second, up to `burst` seconds' worth; 0 = without end."""

    __slots__ = ("_at", "_most", "level", "rate")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self.rate, self._most = rate, rate * burst
        self.level, self._at = self._most, now

    def wait(self, now: float) -> float:
        """Seconds until a request may come in; 0.0 = at once."""
        if not self.rate:
            return 0.0
        self.level = min(self._most, self.level + (now - self._at) * self.rate)
        self._at = now
        return 0.0 if self.level >= 0.0 else -self.level / self.rate

    def spend(self, amount: float) -> None:
        """May go below zero."""
        if self.rate:
            self.level -= amount


class Tenant:
    """One tenant's account; used by all receivers of a process and their threads."""

    def __init__(self, name: str, limits: TenantLimits, clock: Clock, *, series_memory: float) -> None:
        self.name, self.weight = name, limits.weight
        self.in_flight = 0
        """Bytes; owned by Admission, under its lock."""
        self._clock = clock
        self._lock = threading.Lock()
        now = clock.monotonic()
        self._bytes = _Bucket(float(limits.bytes_per_second), float(limits.burst), now)
        self._rows = _Bucket(limits.rows_per_second, float(limits.burst), now)
        self._series = SeriesQuota(limits.max_series, series_memory, clock) if limits.max_series else None
        self._count_rows, self._count_bytes = _ROWS.labels(name), _BYTES.labels(name)
        _IN_FLIGHT.labels(name).set_function(lambda: self.in_flight)
        if self._series is not None:
            _SERIES.labels(name).set_function(self._series.count)

    @property
    def limits_series(self) -> bool:
        """Whether there is a limit of series."""
        return self._series is not None

    def enter(self) -> None:
        """Before a request is read. Raises Overloaded with the time after which it may come."""
        if not self._bytes.rate and not self._rows.rate:
            return
        with self._lock:
            now = self._clock.monotonic()
            waits = {"rows": self._rows.wait(now), "bytes": self._bytes.wait(now)}
        reason = max(waits, key=waits.__getitem__)
        if waits[reason] > 0.0:
            _REFUSED.labels(self.name, f"{reason}_rate").inc()
            raise Overloaded(
                f'tenant "{self.name}" sends more {reason} a second than its limit; send again later',
                retry_after=min(_LONGEST_WAIT, max(_SHORTEST_WAIT, waits[reason])),
            )

    def spend_bytes(self, amount: int) -> None:
        """Received, or grown by decompression."""
        self._count_bytes.inc(amount)
        if self._bytes.rate:
            with self._lock:
                self._bytes.spend(amount)

    def spend_rows(self, rows: int) -> None:
        """Decoded."""
        self._count_rows.inc(rows)
        with self._lock:
            self._rows.spend(rows)

    def within_series(self, columns: PointColumns) -> PointColumns:
        """Without the points that would bring the tenant over its limit of series; those are noted as rejected."""
        return columns if self._series is None else self._series.admit(columns)

    def over_share(self) -> Overloaded:
        """To be raised."""
        _REFUSED.labels(self.name, "share").inc()
        return Overloaded(
            f'tenant "{self.name}" holds its share of the memory for requests; send again later', retry_after=1.0
        )


class Tenants:
    """All tenants by name. Names come from the configuration alone, so there is a bounded number of them."""

    def __init__(self, settings: IngestSettings, clock: Clock, *, series_memory: float) -> None:
        """series_memory: seconds for which a series without points counts against a limit."""
        self._limits = {limits.name: limits for limits in settings.tenants}
        self._default = self._limits.get("*", TenantLimits(name="*"))
        self._clock, self._memory = clock, series_memory
        self._tenants: dict[str, Tenant] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> Tenant:
        """The account; made when it is first asked for."""
        found = self._tenants.get(name)
        if found is None:
            with self._lock:
                found = self._tenants.get(name)
                if found is None:
                    limits = self._limits.get(name, self._default)
                    found = Tenant(name, limits, self._clock, series_memory=self._memory)
                    self._tenants[name] = found
        return found

    @property
    def several(self) -> bool:
        """Whether there is somebody to be fair to."""
        return len(self._tenants) > 1
