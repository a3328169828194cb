"""The likely cause of an incident group: which of its alerts to look at first, and why.

Four things speak for an alert, each between 0 and its weight: it began first; others' services call its service,
directly or through others, so that its fault can be theirs; its service was deployed just before; it is the most
severe. Nothing here proves a cause: it is an order to look in, with its reasons in words.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterable
from typing import Final

import msgspec

from gateway.alerting.inbound import Marker
from gateway.alerting.incident_group import Member, rank_of
from gateway.alerting.markers import Markers, marker_words
from gateway.alerting.moments import SECOND, roughly
from gateway.alerting.topology import Place, Topology

DEPLOY_WITHIN: Final = 1800 * SECOND
MAX_JOINED: Final = 1000
"""Members looked at, in the order in which they joined; of them, the MAX_MEMBERS that began first."""
MAX_MEMBERS: Final = 200
"""Earliest members that are looked at."""
MAX_ALIKE: Final = 8
"""Members of one service (or host, without one) and severity that are weighed."""


class CauseWeights(msgspec.Struct, frozen=True, kw_only=True):
    """What each reason counts; `onset_constant` is seconds."""

    onset: float = 1.0
    onset_constant: float = 120.0
    upstream: float = 1.5
    leaf: float = 0.5
    """Where nothing that it calls is part of the group, and something calls it."""
    deploy: float = 1.5
    severity: float = 0.3
    count: float = 0.3
    """For the place with most of the group's alerts."""


DEFAULT_CAUSE_WEIGHTS: Final = CauseWeights()


class Cause(msgspec.Struct, frozen=True, kw_only=True):
    """The alert named first. `score` orders causes of one group and means nothing beyond it."""

    fingerprint: str
    name: str
    place: Place
    score: float
    reasons: list[str]
    deploy: Marker | None = None

    @property
    def words(self) -> str:
        """For people: the alert and its place."""
        where = self.place.service or (f"host {self.place.host}" if self.place.host else "")
        return f"{self.name} on {where}" if where else self.name


def likely_causes(
    members: Iterable[Member],
    topology: Topology,
    markers: Markers,
    limit: int = 3,
    weights: CauseWeights = DEFAULT_CAUSE_WEIGHTS,
) -> list[Cause]:
    """The likeliest first, at most one for each place; empty only without members."""
    some = itertools.islice(members, MAX_JOINED)
    found = sorted(some, key=lambda member: (member.starts, member.joined, member.fingerprint))[:MAX_MEMBERS]
    if not found:
        return []
    services = {member.place.service for member in found if member.place.service}
    below = {service: topology.depends_on(service) for service in services}
    first = found[0].starts
    highest = max(rank_of(member.severity) for member in found)
    crowd = Counter(member.place for member in found)
    causes: dict[Place, Cause] = {}
    alike: Counter[tuple[str, str]] = Counter()
    for member in found:
        kind = member.place.service or member.place.host, member.severity
        alike[kind] += 1
        if alike[kind] > MAX_ALIKE:
            continue  # what is said of the first of them holds for the others, later
        cause = _weigh(member, found, first, highest, services, below, crowd, markers, weights)
        known = causes.get(member.place)
        if known is None or cause.score > known.score:
            causes[member.place] = cause
    return sorted(causes.values(), key=lambda cause: -cause.score)[:limit]


def _weigh(
    member: Member,
    members: list[Member],
    first: int,
    highest: int,
    services: set[str],
    below: dict[str, dict[str, int]],
    crowd: Counter[Place],
    markers: Markers,
    weights: CauseWeights,
) -> Cause:
    gap = (member.starts - first) / SECOND
    score = weights.onset * math.exp(-gap / weights.onset_constant)
    reasons = []
    if len(members) > 1:
        reasons.append("began first" if gap <= 0 else f"began {roughly(gap)} after the first")
    service = member.place.service
    sufferers = [other for other in services if service and service in below[other]]
    if sufferers:
        reach = sum(1.0 / below[other][service] for other in sufferers) / max(len(services) - 1, 1)
        score += weights.upstream * min(1.0, reach)
        near = sorted(sufferers, key=lambda other: (below[other][service], other))
        shown = ", ".join(near[:3]) + (f" and {len(near) - 3} more" if len(near) > 3 else "")
        reasons.append(f"{shown} {'depends' if len(near) == 1 else 'depend'} on {service}")
        if not services & below[service].keys():
            score += weights.leaf
            reasons.append(f"nothing that {service} calls is affected")
    deploy = next(iter(markers.before(member.starts, DEPLOY_WITHIN, [service])), None) if service else None
    if deploy is not None and deploy.service:
        score += weights.deploy * math.exp(-(member.starts - deploy.time) / DEPLOY_WITHIN)
        reasons.append(f"{marker_words(deploy)} was deployed {roughly((member.starts - deploy.time) / SECOND)} before")
    else:
        deploy = None
    score += weights.severity * rank_of(member.severity) / 4.0
    if len(members) > 1 and highest and rank_of(member.severity) == highest and member.severity:
        reasons.append(f"severity {member.severity}")
    score += weights.count * crowd[member.place] / len(members)
    return Cause(
        fingerprint=member.fingerprint,
        name=member.name,
        place=member.place,
        score=round(score, 3),
        reasons=reasons or ["the only alert"],
        deploy=deploy,
    )
