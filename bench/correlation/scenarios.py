"""Made scenarios: a fleet in layers, faults that spread through it, and alerts that have nothing to do with them.

What makes it hard, on purpose:
  * only a share of the calls is known to the topology (traces are sampled);
  * alerts come late by a random delay, so the first alert is often not that of the cause;
  * faults are concurrent: a second one, elsewhere, often begins within minutes of the first;
  * some services share something that no telemetry shows (a rack switch, a storage array): they fail together although
    no call joins them;
  * a service that everybody calls (login) makes neighbours of services that have nothing to do with each other;
  * noise: single alerts at random moments and places.
A scenario is a function of its seed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

DAY: Final = 86400.0
RULES: Final = ("HighErrorRate", "HighLatency", "TooManyRestarts", "QueueGrows", "Saturated")
HOST_RULES: Final = ("HostCpuHigh", "HostDiskSlow")


@dataclass(frozen=True)
class MadeAlert:
    """One firing. Times in seconds since the scenario began."""

    incident: int
    """Truth: alerts of one incident have one number; each noise alert has its own."""
    labels: dict[str, str]
    starts: float
    ends: float


@dataclass(frozen=True)
class MadeIncident:
    """Truth about one incident. `root` is a service, or "host:NAME"."""

    number: int
    kind: str
    root: str
    deployed: float | None


@dataclass
class Scenario:
    """A fleet and what happened in it."""

    calls: list[tuple[str, str]]
    known_calls: list[tuple[str, str]]
    hosts: dict[str, list[str]]
    alerts: list[MadeAlert] = field(default_factory=list)
    incidents: list[MadeIncident] = field(default_factory=list)


class _Maker:
    def __init__(self, seed: int, days: float) -> None:
        self.chance = random.Random(seed)
        self.days = days
        self._fleet()
        self.hidden = [self.chance.sample(self.middle + self.stores, self.chance.randint(3, 5)) for _ in range(5)]
        """Sets of services that share something unseen."""
        self.firing_until: dict[tuple[str, ...], float] = {}

    def _fleet(self) -> None:
        chance = self.chance
        self.front = [f"front-{n}" for n in range(6)]
        self.middle = [f"app-{n}" for n in range(24)]
        self.stores = [f"store-{n}" for n in range(10)]
        calls: set[tuple[str, str]] = set()
        for one in self.front:
            calls |= {(one, other) for other in chance.sample(self.middle, chance.randint(2, 4))}
        for number, one in enumerate(self.middle):
            calls |= {(one, other) for other in chance.sample(self.stores, chance.randint(1, 2))}
            if chance.random() < 0.4 and number + 1 < len(self.middle):
                calls.add((one, chance.choice(self.middle[number + 1 :])))
            if chance.random() < 0.6:
                calls.add((one, "login"))
        hosts = [f"node-{n}" for n in range(12)]
        placed = {
            service: chance.sample(hosts, chance.randint(1, 2))
            for service in [*self.front, *self.middle, *self.stores, "login"]
        }
        self.callers: dict[str, list[str]] = {}
        for caller, callee in sorted(calls):
            self.callers.setdefault(callee, []).append(caller)
        known = [call for call in sorted(calls) if chance.random() < 0.8]
        self.scenario = Scenario(sorted(calls), known, placed)

    def fire(self, incident: int, labels: dict[str, str], starts: float, lasts: float) -> None:
        key = tuple(sorted(labels.values()))
        if starts <= self.firing_until.get(key, -DAY) + 60.0:
            return  # the rule fires for this target already: a second fault does not show there
        self.firing_until[key] = starts + lasts
        self.scenario.alerts.append(MadeAlert(incident, labels, starts, starts + lasts))

    def service_alerts(self, incident: int, service: str, at: float, lasts: float, rules: int) -> None:
        chance = self.chance
        first = at + chance.uniform(5.0, 90.0)
        for rule in chance.sample(RULES, rules):
            severity = chance.choice(("warning", "warning", "critical"))
            labels = {"alertname": rule, "service": service, "severity": severity}
            if chance.random() < 0.5:
                labels["instance"] = f"{chance.choice(self.scenario.hosts[service])}:9100"
            self.fire(incident, labels, first + chance.uniform(0.0, 40.0), lasts * chance.uniform(0.6, 1.1))

    def cascade(self, number: int, root: str, at: float, lasts: float) -> None:
        chance = self.chance
        reached = {root: at}
        waiting = [(root, 0)]
        while waiting and len(reached) < 12:
            service, hops = waiting.pop(0)
            for caller in self.callers.get(service, ()):
                if caller not in reached and hops < 3 and chance.random() < 0.55:
                    reached[caller] = reached[service] + chance.uniform(10.0, 80.0)
                    waiting.append((caller, hops + 1))
        for service, moment in reached.items():
            self.service_alerts(number, service, moment, lasts, chance.randint(1, 3 if service == root else 2))

    def incident(self, number: int, at: float) -> None:
        chance = self.chance
        lasts = chance.uniform(600.0, 2400.0)
        kind = chance.choices(("cascade", "deploy", "host", "hidden"), (4, 2, 2, 2))[0]
        deployed = None
        if kind in ("cascade", "deploy"):
            root = chance.choice([*self.middle, *self.stores, *self.stores, "login"])
            if kind == "deploy":
                deployed = at - chance.uniform(30.0, 400.0)
            self.cascade(number, root, at, lasts)
        elif kind == "host":
            host = f"node-{chance.randrange(12)}"
            root = f"host:{host}"
            labels = {"alertname": chance.choice(HOST_RULES), "instance": f"{host}:9100", "severity": "warning"}
            self.fire(number, labels, at + chance.uniform(0.0, 60.0), lasts)
            for service, places in self.scenario.hosts.items():
                if host in places and chance.random() < 0.6:
                    self.service_alerts(number, service, at + chance.uniform(0.0, 60.0), lasts, 1)
        else:
            group = chance.choice(self.hidden)
            root = ""
            for service in group:
                if chance.random() < 0.85:
                    self.service_alerts(number, service, at + chance.uniform(0.0, 30.0), lasts, chance.randint(1, 2))
        self.scenario.incidents.append(MadeIncident(number, kind, root, deployed))

    def make(self) -> Scenario:
        chance = self.chance
        at, number = 600.0, 0
        while at < self.days * DAY:
            self.incident(number, at)
            number += 1
            if chance.random() < 0.35:  # another one, at the same time
                self.incident(number, at + chance.uniform(0.0, 300.0))
                number += 1
            at += chance.expovariate(1.0 / 4500.0) + 600.0
        services = [*self.front, *self.middle, *self.stores]
        for _ in range(int(self.days * 100)):
            labels = {"alertname": chance.choice(RULES), "service": chance.choice(services), "severity": "warning"}
            self.fire(1_000_000 + number, labels, chance.uniform(0.0, self.days * DAY), chance.uniform(120.0, 900.0))
            number += 1
        self.scenario.alerts.sort(key=lambda alert: (alert.starts, sorted(alert.labels.items())))
        return self.scenario


def make(seed: int, days: float) -> Scenario:
    """The scenario of a seed."""
    return _Maker(seed, days).make()
