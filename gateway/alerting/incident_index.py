"""Which open incident groups a new alert could belong to: found by key, service, host and rule, without asking all.

At most MAX_CANDIDATES groups are given, of each key the PER_KEY that were joined last.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Final

from gateway.alerting.cooccurrence import Cooccurrence
from gateway.alerting.incident_group import IncidentGroup, Member
from gateway.alerting.topology import Topology

MAX_CANDIDATES: Final = 48
PER_KEY: Final = 8


class IncidentIndex:
    """Names of open groups by what their members are about."""

    def __init__(self, topology: Topology, model: Cooccurrence) -> None:
        self._topology, self._model = topology, model
        self._groups: dict[str, dict[str, None]] = {}
        """Key → names of groups, the one joined last at the end."""

    def __len__(self) -> int:
        return len(self._groups)

    def candidates(self, member: Member) -> list[str]:
        """Groups to compare a new alert with."""
        names: dict[str, None] = {}
        for key in self._search_keys(member):
            entries = self._groups.get(key)
            if entries:
                names.update(dict.fromkeys(itertools.islice(reversed(entries), PER_KEY)))
                if len(names) >= MAX_CANDIDATES:
                    break
        return list(names)

    def latest(self, key: str) -> str:
        """The group that an alert of this key joined last, or ""."""
        entries = self._groups.get(f"key:{key}")
        return next(reversed(entries)) if entries else ""

    def enter(self, name: str, member: Member) -> None:
        """A member is in a group."""
        for key in _keys(member):
            entries = self._groups.setdefault(key, {})
            entries.pop(name, None)
            entries[name] = None

    def take_out(self, group: IncidentGroup, member: Member) -> None:
        """A member has left a group whose other members stay."""
        left = {key for other in group.members.values() for key in _keys(other)}
        for key in _keys(member):
            if key not in left:
                self._leave(key, group.id)

    def leave(self, name: str, member: Member) -> None:
        """A member's group is closed."""
        for key in _keys(member):
            self._leave(key, name)

    def _leave(self, key: str, name: str) -> None:
        entries = self._groups.get(key)
        if entries is not None:
            entries.pop(name, None)
            if not entries:
                del self._groups[key]

    def _search_keys(self, member: Member) -> Iterator[str]:
        yield f"key:{member.key}"
        place = member.place
        if place.service:
            yield f"service:{place.service}"
        if place.host:
            yield f"host:{place.host}"
        if not place.service:
            yield f"rule:{member.name}"
        for partner in self._model.partners(member.key):
            yield f"key:{partner}"
        for service in self._topology.near(place):
            yield f"service:{service}"
        if place.service:
            for host in itertools.islice(reversed(self._topology.hosts(place.service)), PER_KEY):
                yield f"host:{host}"


def _keys(member: Member) -> list[str]:
    keys = [f"key:{member.key}"]
    if member.place.service:
        keys.append(f"service:{member.place.service}")
    else:
        keys.append(f"rule:{member.name}")
    if member.place.host:
        keys.append(f"host:{member.place.host}")
    return keys
