"""Who sends: a bounded table of clients by protocol, user agent and address, for the people who ask.

Exporters name themselves and their version in the user agent (OpenTelemetry specification, "User Agent" of OTLP
exporters; Prometheus and vmagent do so too). Anybody may send any user agent, so the table has a fixed number of places
and what finds none is counted under one further line; text is cut and stripped of what does not print.

Costs one look-up and five additions a request. Receivers count from the event loop and from gRPC's threads at once:
the lock is held for these additions alone.
"""

from __future__ import annotations

import threading
from typing import Any, Final

MAX_CLIENTS: Final = 500
OTHER: Final = "(other)"
_MAX_AGENT: Final = 200
_MAX_RAW: Final = 2000
"""Spellings remembered for which cleaning the text is saved."""


class Client:
    """Totals of one line; times are Unix seconds."""

    __slots__ = ("bytes", "first", "last", "points", "refused", "requests")

    def __init__(self, now: float) -> None:
        self.requests = self.points = self.bytes = self.refused = 0
        self.first = self.last = now


class ClientTable:
    """Thread-safe."""

    def __init__(self, limit: int = MAX_CLIENTS) -> None:
        self._limit = limit
        self._clients: dict[tuple[str, str, str], Client] = {}
        self._raw: dict[str, str] = {}
        self._lock = threading.Lock()

    def count(
        self,
        protocol: str,
        agent: str,
        address: str,
        *,
        received_ns: int,
        points: int,
        size: int,
        refused: bool = False,
    ) -> None:
        """One request answered. size: bytes as received."""
        now = received_ns / 1e9
        known = self._raw.get(agent)
        if known is None:
            known = clean(agent)
            if len(self._raw) < _MAX_RAW:
                self._raw[agent] = known
        key = (protocol, known, address)
        with self._lock:
            client = self._clients.get(key)
            if client is None:
                client = self._place(key, now)
            client.requests += 1
            client.points += points
            client.bytes += size
            client.refused += refused
            client.last = max(client.last, now)

    def _place(self, key: tuple[str, str, str], now: float) -> Client:
        if len(self._clients) >= self._limit:
            key = (key[0], OTHER, OTHER)
            found = self._clients.get(key)
            if found is not None:
                return found
        client = self._clients[key] = Client(now)
        return client

    def rows(self) -> list[dict[str, Any]]:
        """Every line, the last heard of first."""
        with self._lock:
            lines = [
                {
                    "protocol": protocol,
                    "agent": agent,
                    "address": address,
                    "requests": client.requests,
                    "points": client.points,
                    "bytes": client.bytes,
                    "refused": client.refused,
                    "first": client.first,
                    "last": client.last,
                }
                for (protocol, agent, address), client in self._clients.items()
            ]
        return sorted(lines, key=lambda line: -float(str(line["last"])))


def clean(agent: str) -> str:
    """A user agent as it may be shown."""
    text = "".join(c if c.isprintable() else " " for c in agent[: 2 * _MAX_AGENT]).strip()
    return text[:_MAX_AGENT] or "(none)"


def address_of_peer(peer: str) -> str:
    """The address in gRPC's name of a peer: "ipv4:10.0.0.5:4711" or "ipv6:%5B::1%5D:4711"."""
    kind, _, rest = peer.partition(":")
    if kind not in ("ipv4", "ipv6"):
        return peer[:_MAX_AGENT]
    return rest.rpartition(":")[0].replace("%5B", "").replace("%5D", "")
