"""Incident groups: the alerts that probably have one cause.

The field says incident (PagerDuty, Grafana OnCall), case (Datadog), problem (Dynatrace) or situation (Moogsoft) for it;
an Alertmanager group is something else, namely what one route tells about together. An incident group is made by the
correlation and corrected by people; it has no life of its own beyond its alerts:

    open ── all members ended, `incident_linger` passed ──▶ closed
    open ── merged into another, by a person or because a new alert belongs to both ──▶ merged
"""

from __future__ import annotations

from typing import Final

import msgspec

from gateway.alerting.topology import Place

INCIDENT_LABEL: Final = "incident_group"
"""In a route's `group_by`, this name stands for the incident group's id, as if every alert had it as a label."""

RANKS: Final = {
    "none": 0, "info": 1, "information": 1, "low": 1, "p5": 1, "p4": 1, "notice": 1,
    "medium": 2, "warning": 2, "warn": 2, "p3": 2, "moderate": 2,
    "high": 3, "error": 3, "major": 3, "p2": 3,
    "critical": 4, "page": 4, "p1": 4, "fatal": 4, "emergency": 4, "disaster": 4,
}  # fmt: skip
"""Severities of several tools on one scale; what is not known stands in the middle."""
UNKNOWN_RANK: Final = 2


def rank_of(severity: str) -> int:
    """0 (none) to 4 (critical)."""
    return RANKS.get(severity.lower(), UNKNOWN_RANK)


class Member(msgspec.Struct, kw_only=True, omit_defaults=True, gc=False):
    """One alert's part in an incident group. Moments in nanoseconds. It holds texts only: no cycle runs through it."""

    fingerprint: str
    group: str
    thread: str
    """The group it was in when it was first told: its notifications stay together over merges and splits."""
    key: str
    name: str
    place: Place
    severity: str = ""
    summary: str = ""
    starts: int
    joined: int
    """When the correlation put it here."""
    ended: int = 0
    times: int = 1
    """How often it began while the group was open."""
    score: float = 0.0
    """Evidence for its belonging, as log odds; 0 for the first of a group."""
    why: tuple[str, ...] = ()
    """The evidence in words."""

    @property
    def active(self) -> bool:
        """Whether it still fires, as far as the engine has said."""
        return not self.ended


class GroupState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What is kept on disk of an incident group beside its members."""

    id: str
    opened: int
    changed: int
    closed: int = 0
    merged_into: str = ""
    apart: list[str] = []
    """Groups that a person has separated this one from."""


class Act(msgspec.Struct, kw_only=True, omit_defaults=True):
    """What a person did: a merge of `sources` into `target`, or a split of one source's members into `target`."""

    id: str
    kind: str
    """`merge` or `split`."""
    target: str
    sources: dict[str, list[str]]
    """Group → fingerprints that were taken out of it."""
    taught: list[tuple[str, str, float]]
    """Pairs of keys and by how much the act moved their weight."""
    at: int
    by: str
    note: str = ""
    undone_at: int = 0
    undone_by: str = ""


class IncidentGroup:
    """State and members; owned by the correlation."""

    __slots__ = ("_heads", "active", "members", "state", "version")

    def __init__(self, state: GroupState) -> None:
        self.state = state
        self.members: dict[str, Member] = {}
        self.active = 0
        """Number of members that fire."""
        self.version = 0
        self._heads: dict[str, str] = {}

    @property
    def id(self) -> str:
        """Stable over restarts."""
        return self.state.id

    @property
    def open(self) -> bool:
        """Whether alerts can still join."""
        return not self.state.closed

    def put(self, member: Member) -> None:
        """Adds a member or takes notice of its change."""
        old = self.members.get(member.fingerprint)
        if old is None:
            self.active += member.active
        self.members[member.fingerprint] = member
        self._heads.pop(member.key, None)
        self._heads[member.key] = member.fingerprint
        self.version += 1

    def take_out(self, fingerprint: str) -> Member:
        """Removes a member."""
        member = self.members.pop(fingerprint)
        self.active -= member.active
        if self._heads.get(member.key) == fingerprint:
            del self._heads[member.key]
            for other in reversed(self.members.values()):
                if other.key == member.key:
                    self._heads[member.key] = other.fingerprint
                    break
        self.version += 1
        return member

    def set_ended(self, member: Member, moment: int) -> None:
        """A member ended (`moment`) or fires again (0)."""
        self.active += bool(member.ended) - bool(moment)
        member.ended = moment
        self.version += 1

    def heads(self, limit: int) -> list[Member]:
        """The latest member of each key, latest key first: what a new alert is compared with."""
        found: list[Member] = []
        for fingerprint in reversed(self._heads.values()):
            found.append(self.members[fingerprint])
            if len(found) == limit:
                break
        return found

    def head(self, key: str) -> Member | None:
        """The latest member with a key."""
        fingerprint = self._heads.get(key)
        return None if fingerprint is None else self.members[fingerprint]

    @property
    def keys(self) -> list[str]:
        """The keys of its members."""
        return list(self._heads)
