"""A scenario through the alerting engine, and the comparison of its incident groups with the truth.

Pairs: two alerts that began within PAIR_SECONDS of each other. Precision: of the pairs in one group, the share that is
of one incident. Recall: of the pairs of one incident, the share in one group; unseen recall: of those incidents whose
services share something that no telemetry shows. A cause is hit if the group that holds most of an incident's alerts
names the incident's root (service or host) first; `hit3` if it is among the first three.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from bench.correlation.scenarios import DAY, MadeAlert, Scenario
from gateway.alerting.alert import Alert, fingerprint
from gateway.alerting.configuration import built_in_configuration
from gateway.alerting.engine import Engine
from gateway.alerting.evidence import DEFAULT_WEIGHTS, Weights
from gateway.alerting.inbound import Marker
from gateway.alerting.incident_group import IncidentGroup
from gateway.alerting.incidents import Incidents
from gateway.alerting.markers import Markers
from gateway.alerting.moments import NEVER, SECOND
from gateway.alerting.settings import AlertingSettings
from gateway.alerting.topology import Place
from gateway.errors import GatewayError
from gateway.telemetry.call_edge import CallEdge

EPOCH: Final = 1_700_000_000
PAIR_SECONDS: Final = 1800.0
REVIEWED: Final = 0.5
"""Share of the incidents that the simulated person looks at."""
WITHOUT_LEARNING: Final = msgspec.structs.replace(DEFAULT_WEIGHTS, lift=-9.0, taught=0.0)


@dataclass
class Verdict:
    """Counts of one or several runs; see the head of the file."""

    together: int = 0
    together_right: int = 0
    same: int = 0
    unseen: int = 0
    unseen_right: int = 0
    incidents: int = 0
    hits: int = 0
    hits3: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)
    hits_by_kind: Counter[str] = field(default_factory=Counter)
    acts: int = 0

    def add(self, other: Verdict) -> None:
        """Count another run as well."""
        for name in (
            "together", "together_right", "same", "unseen", "unseen_right", "incidents", "hits", "hits3", "acts"
        ):  # fmt: skip
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.by_kind += other.by_kind
        self.hits_by_kind += other.hits_by_kind

    @property
    def precision(self) -> float:
        """Of the pairs in one group, the share that is of one incident, 0 … 1."""
        return self.together_right / self.together if self.together else 1.0

    @property
    def unseen_recall(self) -> float:
        """The recall of incidents whose services share something that no telemetry shows, 0 … 1."""
        return self.unseen_right / self.unseen if self.unseen else 1.0

    @property
    def recall(self) -> float:
        """Of the pairs of one incident, the share in one group, 0 … 1."""
        return self.together_right / self.same if self.same else 1.0


class Run:
    """One scenario, one set of weights; `people` lets a simulated person correct groups until `learn_days`."""

    def __init__(
        self,
        scenario: Scenario,
        *,
        weights: Weights = DEFAULT_WEIGHTS,
        people: bool = False,
        learn_days: float = 0.0,
        seed: int = 0,
    ) -> None:
        self.scenario, self.people, self.learn_days = scenario, people, learn_days
        self.chance = random.Random(seed)
        self.engine = Engine(built_in_configuration(""), seed=seed)
        self.markers = Markers(self.engine.journal, 90 * 86400 * SECOND)
        self.incidents = Incidents(self.engine, AlertingSettings(), self.markers)
        self.incidents.correlator.weights = weights
        self.group_of: dict[int, str] = {}
        """Index of an alert → the group it was put into, with merges followed at the end."""
        self.name_of: dict[int, str] = {}
        self.acts = 0
        self.causes: dict[str, list[str]] = {}
        now = EPOCH * SECOND
        self.places = [Place(service, host) for service, hosts in scenario.hosts.items() for host in hosts]
        self._see(now)

    def _see(self, now: int) -> None:
        self.incidents.see_topology([CallEdge(*call, 10, now) for call in self.scenario.known_calls], self.places, now)

    def run(self) -> None:
        """All of it."""
        events: list[tuple[float, int, int]] = []
        for number, alert in enumerate(self.scenario.alerts):
            events += [(alert.starts, 1, number), (alert.ends, 0, number)]
        events += [(i.deployed, 2, n) for n, i in enumerate(self.scenario.incidents) if i.deployed is not None]
        waiting: list[tuple[float, int]] = []
        review = 0.0
        for at, kind, number in sorted(events):
            now = round((EPOCH + at) * SECOND)
            self.engine.tick(now)
            if kind == 2:
                self._deploy(number, now)
            else:
                self._report(self.scenario.alerts[number], number, now, ended=kind == 0)
                if kind == 1:
                    waiting.append((at, number))
            if at > review:
                review = at + 600.0
                settled = [n for moment, n in waiting if moment < at - 1200.0]
                waiting = [entry for entry in waiting if entry[0] >= at - 1200.0]
                self._note(settled)
                if self.people and at < self.learn_days * DAY:
                    self._review(settled, now)
                self._see(now)
            self.engine.journal.take()
        self._note([n for _, n in waiting])

    def _deploy(self, number: int, now: int) -> None:
        incident = self.scenario.incidents[number]
        self.markers.mark(Marker(id=str(number), time=now, title="deploy", service=incident.root), now)

    def _report(self, made: MadeAlert, number: int, now: int, *, ended: bool) -> None:
        labels = dict(sorted(made.labels.items()))
        starts = round((EPOCH + made.starts) * SECOND)
        alert = Alert(
            fingerprint=fingerprint(labels), labels=labels, starts=starts, ends=now if ended else NEVER, updated=now
        )
        self.name_of[number] = alert.fingerprint
        self.engine.receive([alert], now)
        if not ended:
            group = self.incidents.correlator.group_of(alert.fingerprint)
            assert group is not None
            self.group_of[number] = group.id

    def _note(self, numbers: list[int]) -> None:
        """Before anything is corrected or forgotten: where the alerts are now, and which causes are named."""
        for number in numbers:
            group = self.incidents.correlator.find(self.group_of[number])
            if group is None:
                continue
            self.group_of[number] = group.id
            self.causes[group.id] = [
                cause.place.service or f"host:{cause.place.host}" for cause in self.incidents.notices.causes(group)
            ]

    def _review(self, numbers: list[int], now: int) -> None:
        """A person looks at some of the incidents and puts right what is wrong."""
        correlator, regrouping = self.incidents.correlator, self.incidents.regrouping
        names = [self.name_of[number] for number in numbers]
        by_incident: dict[int, list[tuple[str, IncidentGroup]]] = defaultdict(list)
        for number, name in zip(numbers, names, strict=True):
            group = correlator.find(self.group_of[number])
            if group is not None and name in group.members:
                by_incident[self.scenario.alerts[number].incident].append((name, group))
        for members in by_incident.values():
            if self.chance.random() > REVIEWED:
                continue
            try:
                own = {name for name, _ in members}
                for group in {group.id: group for _, group in members}.values():
                    mine = [name for name in group.members if name in own]
                    others = [name for name in group.members if name not in own]
                    if others and mine:
                        smaller = min(mine, others, key=len)
                        regrouping.split(group.id, smaller, "reviewer", now)
                        self.acts += 1
                homes = {self._home(name) for name in own}
                if 1 < len(homes) < 6:
                    first, *rest = sorted(homes)
                    regrouping.merge(first, rest, "reviewer", now)
                    self.acts += 1
            except GatewayError:
                continue  # the person comes too late: the group has changed

    def _home(self, name: str) -> str:
        """The group that holds the latest firing of an alert."""
        holding = [g for g in self.incidents.correlator.groups.values() if name in g.members]
        return max(holding, key=lambda group: group.members[name].joined).id

    def verdict(self, since_days: float) -> Verdict:
        """The comparison over the alerts that began after `since_days`."""
        return judge(self.scenario, lambda number: self.group_of[number], self.causes, since_days, self.acts)


def judge(
    scenario: Scenario,
    group_of: Callable[[int], str],
    causes: dict[str, list[str]],
    since_days: float,
    acts: int = 0,
) -> Verdict:
    """Any grouping against the truth."""
    verdict = Verdict(acts=acts)
    unseen = {incident.number for incident in scenario.incidents if incident.kind == "hidden"}
    wanted = [n for n, alert in enumerate(scenario.alerts) if alert.starts >= since_days * DAY]
    for at, one in enumerate(wanted):
        alert = scenario.alerts[one]
        for other in wanted[at + 1 :]:
            found = scenario.alerts[other]
            if found.starts - alert.starts > PAIR_SECONDS:
                break
            same, together = found.incident == alert.incident, group_of(one) == group_of(other)
            verdict.same += same
            verdict.together += together
            verdict.together_right += same and together
            if same and alert.incident in unseen:
                verdict.unseen += 1
                verdict.unseen_right += together
    members: dict[int, list[int]] = defaultdict(list)
    for number in wanted:
        members[scenario.alerts[number].incident].append(number)
    for incident in scenario.incidents:
        numbers = members.get(incident.number, [])
        if len(numbers) < 2 or not incident.root or not causes:
            continue
        home = Counter(group_of(number) for number in numbers).most_common(1)[0][0]
        named = causes.get(home, [])
        verdict.incidents += 1
        verdict.by_kind[incident.kind] += 1
        verdict.hits += named[:1] == [incident.root]
        verdict.hits_by_kind[incident.kind] += named[:1] == [incident.root]
        verdict.hits3 += incident.root in named[:3]
    return verdict
