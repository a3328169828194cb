"""Topology: which service calls which, which runs where; learned from telemetry, asked by the correlation.

Rules of the subject:
  * A place is what an alert or a series is about: a service, a host, or both. Names are compared without namespace
    ("shop/cart" is "cart") and without port ("10.0.0.7:9100" is "10.0.0.7").
  * A call edge says that a service was seen calling another; it is forgotten when it was not seen for EDGE_LIFE.
  * What calls can suffer from what it calls: a cause is looked for in the direction of the calls.
  * To share something says the more, the fewer share it: a host that runs everything, or a database that everybody
    asks, says little.

Sizes are bounded: MAX_EDGES calls, MAX_PLACEMENTS services on hosts; the longest unseen give way.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from gateway.alerting.moments import SECOND
from gateway.telemetry.call_edge import CallEdge
from gateway.telemetry.service_labels import service_of, short_service

HOST_LABELS: Final = ("host_name", "host.name", "host", "hostname", "node", "instance")
"""Where the name of a host is looked for, in this order."""
EDGE_LIFE: Final = 7 * 86400 * SECOND
MAX_EDGES: Final = 20_000
MAX_PLACEMENTS: Final = 50_000
MAX_HOPS: Final = 4
_LOOK: Final = 3600 * SECOND
"""How often it is looked for edges to forget."""
_MAX_VISITED: Final = 2_000
_NOTHING: Final[Mapping[str, int]] = {}


class Place(msgspec.Struct, frozen=True, gc=False):
    """What an alert is about; "" where it does not say."""

    service: str = ""
    host: str = ""

    def __bool__(self) -> bool:
        return bool(self.service or self.host)


class Relation(msgspec.Struct, frozen=True, gc=False):
    """How two places hang together."""

    kind: str
    """`service`, `host`, `calls`, `called`, `chain`, `dependency`, `runs_on`, `apart` (both known, nothing found), or
    "" where one of them is not known."""
    words: str = ""
    share: float = 1.0
    """How much the relation says, 0 to 1; see the rules."""


APART: Final = Relation("apart")
UNKNOWN: Final = Relation("")


def place_of(labels: Mapping[str, str]) -> Place:
    """The place that a label set names."""
    for name in HOST_LABELS:
        host = labels.get(name)
        if host:
            return Place(service_of(labels), short_host(host))
    return Place(service_of(labels), "")


def short_host(name: str) -> str:
    """A host's name without port."""
    head, colon, port = name.rpartition(":")
    return head.strip("[]") if colon and port.isdigit() and (":" not in head or name.startswith("[")) else name


class Topology:
    """Calls and placements. `version` grows with every change that can change an answer."""

    def __init__(self) -> None:
        self._callees: dict[str, dict[str, int]] = {}
        self._callers: dict[str, dict[str, int]] = {}
        self._edges: dict[tuple[str, str], CallEdge] = {}
        self._hosts: dict[str, dict[str, int]] = {}
        self._residents: dict[str, dict[str, int]] = {}
        self._placements: OrderedDict[tuple[str, str], int] = OrderedDict()
        """The longest unseen first. (In a plain dict, what was taken out at the front is passed over every time.)"""
        self._next_look = 0
        self.version = 0

    # What was seen

    def see_calls(self, edges: Iterable[CallEdge], now: int) -> bool:
        """Call edges as last counted; True if an edge is new or was forgotten."""
        changed = False
        for given in edges:
            key = (short_service(given.caller), short_service(given.callee))
            if key[0] == key[1] or not key[0] or not key[1] or given.last_seen < now - EDGE_LIFE:
                continue
            known = self._edges.pop(key, None)
            changed |= known is None
            calls = given.calls if known is None else max(known.calls, given.calls)
            self._edges[key] = CallEdge(*key, calls=calls, last_seen=given.last_seen)
            self._callees.setdefault(key[0], {})[key[1]] = given.last_seen
            self._callers.setdefault(key[1], {})[key[0]] = given.last_seen
        old: list[tuple[str, str]] = []
        if now >= self._next_look or len(self._edges) > MAX_EDGES:
            self._next_look = now + _LOOK
            old = [key for key, edge in self._edges.items() if edge.last_seen < now - EDGE_LIFE]
        if len(self._edges) - len(old) > MAX_EDGES:
            left = sorted(set(self._edges) - set(old), key=lambda key: self._edges[key].last_seen)
            old += left[: len(left) - MAX_EDGES]
        for key in old:
            del self._edges[key]
            _unlink(self._callees, *key)
            _unlink(self._callers, key[1], key[0])
        if changed or old:
            self.version += 1
        return changed or bool(old)

    def see_places(self, places: Iterable[Place], now: int) -> None:
        """Services on hosts, from the labels of series and alerts."""
        for place in places:
            if not place.service or not place.host:
                continue
            key = (place.service, place.host)
            if self._placements.pop(key, None) is None:
                self.version += 1
            self._placements[key] = now
            self._hosts.setdefault(place.service, {})[place.host] = now
            self._residents.setdefault(place.host, {})[place.service] = now
        while len(self._placements) > MAX_PLACEMENTS:
            service, host = next(iter(self._placements))
            del self._placements[service, host]
            _unlink(self._hosts, service, host)
            _unlink(self._residents, host, service)
            self.version += 1

    @property
    def edges(self) -> list[CallEdge]:
        """Every call edge that is remembered."""
        return list(self._edges.values())

    # What can be asked

    def callees(self, service: str) -> Mapping[str, int]:
        """The services that this one calls."""
        return self._callees.get(service, _NOTHING)

    def callers(self, service: str) -> Mapping[str, int]:
        """The services that call this one."""
        return self._callers.get(service, _NOTHING)

    def residents(self, host: str) -> Mapping[str, int]:
        """The services that run on a host."""
        return self._residents.get(host, _NOTHING)

    def hosts(self, service: str) -> dict[str, int]:
        """The hosts that a service was seen on."""
        return self._hosts.get(service, {})

    def knows(self, service: str) -> bool:
        """Whether a call from or to this service was seen."""
        return service in self._callees or service in self._callers

    def near(self, place: Place, limit: int = 200) -> list[str]:
        """Services at most two calls away, on the same host, nearest first."""
        found: dict[str, None] = {}
        if place.host:
            found.update(dict.fromkeys(self.residents(place.host)))
        if place.service:
            first = [*self.callees(place.service), *self.callers(place.service)]
            found.update(dict.fromkeys(first))
            for service in first:
                if len(found) >= limit:
                    break
                found.update(dict.fromkeys([*self.callees(service), *self.callers(service)][:limit]))
        found.pop(place.service, None)
        return list(found)[:limit]

    def relation(self, one: Place, other: Place) -> Relation:
        """The closest way in which two places hang together."""
        a, b = one.service, other.service
        if a and a == b:
            return Relation("service", f"both on service {a}")
        if one.host and one.host == other.host:
            share = self._rarity(len(self.residents(one.host)), len(self._hosts))
            if not (a and b):
                return Relation("host", f"both on host {one.host}", max(share, 0.5))
            if share > 0.0:
                return Relation("host", f"both on host {one.host}", share)
        if not a or not b:
            return self._runs_on(one, other)
        below_a, below_b = self.callees(a), self.callees(b)
        if b in below_a:
            return Relation("calls", f"{a} calls {b}")
        if a in below_b:
            return Relation("called", f"{b} calls {a}")
        middle = _common(below_a, self.callers(b)) or _common(below_b, self.callers(a))
        if middle:
            first, last = (a, b) if middle in below_a else (b, a)
            return Relation("chain", f"{first} calls {last} by way of {middle}")
        shared = min(below_a.keys() & below_b.keys(), key=lambda s: (len(self.callers(s)), s), default="")
        if shared:
            share = self._rarity(len(self.callers(shared)), len(self._callees))
            return Relation("dependency", f"{a} and {b} both call {shared}", share)
        return APART if self.knows(a) and self.knows(b) else UNKNOWN

    def _runs_on(self, one: Place, other: Place) -> Relation:
        """One of the two names no service: its host may run the other's."""
        if one.service:
            one, other = other, one
        if one.host and other.service and other.service in self.residents(one.host):
            share = self._rarity(len(self.residents(one.host)), len(self._hosts))
            return Relation("runs_on", f"{other.service} runs on host {one.host}", max(share, 0.5))
        return UNKNOWN

    def depends_on(self, service: str, most: int = MAX_HOPS) -> dict[str, int]:
        """What a service calls, directly or through others → number of calls on the shortest way, at most `most`."""
        found = {service: 0}
        waiting = deque([service])
        while waiting and len(found) < _MAX_VISITED:
            at = waiting.popleft()
            if found[at] == most:
                continue
            for callee in self.callees(at):
                if callee not in found:
                    found[callee] = found[at] + 1
                    waiting.append(callee)
        del found[service]
        return found

    @staticmethod
    def _rarity(sharing: int, of: int) -> float:
        """1 where at most two of many share something, falling to 0 where all do; a half where there is no telling."""
        if of <= 2:
            return 0.5
        return min(1.0, max(0.0, math.log(of / max(sharing, 2)) / math.log(of / 2)))


def _common(one: Mapping[str, int], other: Mapping[str, int]) -> str:
    small, large = sorted((one, other), key=len)
    return next((name for name in small if name in large), "")


def _unlink(links: dict[str, dict[str, int]], one: str, other: str) -> None:
    found = links.get(one)
    if found is not None:
        found.pop(other, None)
        if not found:
            del links[one]
