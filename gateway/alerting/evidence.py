"""Evidence that two alerts have one cause, as log odds that add up, each part with its words.

The prior is against: most pairs of alerts that fire at one time have nothing to do with each other. Nearness in time,
a relation of their places, and co-occurrence speak for it; two places of the known topology that have no relation speak
against. Co-occurrence stands in where the topology shows no relation. What people taught of the pair is added to all.
"""

from __future__ import annotations

import math
from typing import Final

import msgspec

from gateway.alerting.cooccurrence import Cooccurrence
from gateway.alerting.incident_group import Member
from gateway.alerting.moments import SECOND, roughly
from gateway.alerting.topology import Topology


class Weights(msgspec.Struct, frozen=True, kw_only=True):
    """Points of log odds; times in seconds. Chosen on scenarios of `bench.correlation`, with other seeds than those of
    the reported figures."""

    prior: float = -5.0
    time: float = 4.2
    """For alerts that begin at one moment; falls with `time_constant`."""
    time_constant: float = 300.0
    overlap: float = 0.4
    """Where the other alert still fires."""
    service: float = 3.2
    host: float = 2.4
    call: float = 2.2
    chain: float = 1.3
    dependency: float = 1.4
    apart: float = -2.0
    same_rule: float = 0.8
    """The same alert of two places."""
    same_rule_nowhere: float = 3.0
    """The same alert, and at least one of the two names no service and no relation is known."""
    still: float = 2.0
    """For alerts of one key, that is rule and service, of which the other still fires, however long ago it began."""
    lift: float = 2.2
    """For places without a relation whose alerts fire together as often as `full_lift` says."""
    full_lift: float = 0.6
    taught: float = 1.0
    """Share of the weight that people taught."""


DEFAULT_WEIGHTS: Final = Weights()


class Evidence(msgspec.Struct, frozen=True):
    """The sum, and what it is made of."""

    score: float
    words: tuple[str, ...]


def weigh(
    new: Member,
    other: Member,
    topology: Topology,
    model: Cooccurrence,
    now: int,
    weights: Weights = DEFAULT_WEIGHTS,
    longest_gap: float = math.inf,
) -> Evidence:
    """The log odds that `new` and `other` have one cause; a longer gap between them counts as `longest_gap` seconds."""
    gap = min(abs(new.starts - other.starts) / SECOND, longest_gap)
    score = weights.prior + weights.time * math.exp(-gap / weights.time_constant)
    words = [f"began {roughly(gap)} {'after' if new.starts >= other.starts else 'before'} {other.name}"]
    if other.active:
        score += weights.overlap + (weights.still if new.key == other.key else 0.0)
    relation = topology.relation(new.place, other.place)
    points = {
        "service": weights.service,
        "host": weights.host,
        "runs_on": weights.host,
        "calls": weights.call,
        "called": weights.call,
        "chain": weights.chain,
        "dependency": weights.dependency,
        "apart": weights.apart,
    }.get(relation.kind, 0.0) * relation.share
    if relation.words:
        words.append(relation.words)
    lift = model.lift(new.key, other.key, now)
    if lift > 0.0 and points < weights.lift:
        # What fires together stands in for a relation that the topology does not show; it adds nothing to one it does.
        points += (weights.lift - points) * min(1.0, lift / weights.full_lift)
        if lift > 0.1:
            words.append(f"{new.name} and {other.name} often fire together")
    score += points
    if _rule(new.key) == _rule(other.key):
        nowhere = not relation.kind and not (new.place.service and other.place.service)
        score += weights.same_rule_nowhere if nowhere else weights.same_rule
        words.append(f"the same rule, {new.name}")
    taught = model.weight(new.key, other.key)
    if taught:
        score += weights.taught * taught
        words.append(f"people {'merged' if taught > 0 else 'separated'} such alerts before")
    return Evidence(score, tuple(words))


def _rule(key: str) -> str:
    return key.rsplit("@", 1)[0]
