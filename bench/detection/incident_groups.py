"""What the alerts of a run come to once they are put together as the product puts them together.

The alerts of all series of a service go, in order of time, through the alert router with the built-in configuration;
its correlation (gateway.alerting.correlation) decides which are of one incident. A *service* is a machine, pod or plant
where a set has such; where a set is several series of one provider on one real clock, the set (REAL_CLOCK); else each
series is one of its own. Neither topology nor markers are known, and labels are no input. The detector of many series
at once (gateway.baseline.group_detector) has no part in it.

A group that holds a true alert is a true incident, one of only false alerts is a false incident. What an alert adds to
the false ones because it stays open after its event counts as many false incidents.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.alerting.alert import Alert, fingerprint
from gateway.alerting.anomaly_alert import labels_of
from gateway.alerting.configuration import built_in_configuration
from gateway.alerting.engine import Engine
from gateway.alerting.incident_group import IncidentGroup
from gateway.alerting.incidents import Incidents
from gateway.alerting.markers import Markers
from gateway.alerting.moments import NEVER, SECOND
from gateway.alerting.settings import AlertingSettings
from gateway.baseline.scorecard import Scorecard

REAL_CLOCK: Final = frozenset({"wsd", "aiops_kpi", "ms_cloud_monitoring", "ett"})
"""Sets whose series were recorded beside each other. The timestamps of the others are made up or not shared."""


@dataclass(frozen=True, slots=True)
class Sent:
    """An alert that counts: of which series and service, when, and whether it is true."""

    service: str
    series: str
    start: float
    end: float
    true: bool


@dataclass(frozen=True, slots=True)
class IncidentCounts:
    """Incidents that hold a true alert, and those of only false ones."""

    true: int
    false: int

    @property
    def false_share(self) -> float:
        """False incidents / all incidents; NaN without any."""
        return self.false / (self.true + self.false) if self.true + self.false else float("nan")


def service_of(dataset: str, series: str, group: str) -> str:
    """The service a series is taken to belong to."""
    if group:
        return f"{dataset}/{group}"
    return dataset if dataset in REAL_CLOCK else f"{dataset}/{series}"


def sent_of(card: Scorecard, dataset: str, series: str, group: str = "") -> list[Sent]:
    """The alerts of one series."""
    service = service_of(dataset, series, group)
    return [
        Sent(service, series, opening.start, opening.end, true)
        for openings, true in ((card.true_starts, True), (card.false_starts, False))
        for opening in openings
    ]


def incidents_of(sent: Iterable[Sent], unresolved: int = 0) -> IncidentCounts:
    """What the alerts come to. unresolved: false alerts that are no alerts of their own."""
    by_service: dict[str, list[Sent]] = defaultdict(list)
    for alert in sent:
        by_service[alert.service].append(alert)
    groups = [group for alerts in by_service.values() for group in grouped(alerts)]
    true = sum(any(alert.true for alert in group) for group in groups)
    return IncidentCounts(true, len(groups) - true + unresolved)


def grouped(sent: Sequence[Sent]) -> list[list[Sent]]:
    """Alerts of one service by the incident that the alert router puts them into."""
    if len(sent) == 1:
        return [list(sent)]
    engine = Engine(built_in_configuration(""), seed=0)
    correlator = Incidents(engine, AlertingSettings(), Markers(engine.journal, NEVER)).correlator
    holder: dict[int, IncidentGroup] = {}
    known: dict[str, IncidentGroup] = {}
    # At one moment ends come first: an alert that is sent again when it resolves begins anew.
    moments = [(alert.end, 0, n) for n, alert in enumerate(sent)]
    moments += [(alert.start, 1, n) for n, alert in enumerate(sent)]
    ended: set[int] = set()
    for at, begins, number in sorted(moments):
        alert = sent[number]
        now = round(at * SECOND)
        if not begins and number not in holder:
            ended.add(number)  # of no length: it ends when it has begun
            continue
        engine.tick(now)
        labels = labels_of({"__name__": alert.series, "service": alert.service}, "high")
        name = fingerprint(labels)
        for ends in (NEVER, now) if begins and number in ended else (NEVER,) if begins else (now,):
            starts = round(alert.start * SECOND)
            engine.receive([Alert(fingerprint=name, labels=labels, starts=starts, ends=ends, updated=now)], now)
            group = correlator.group_of(name)
            if begins and ends == NEVER and group is not None:
                holder[number] = known[group.id] = group
        engine.journal.take()
    out: dict[str, list[Sent]] = defaultdict(list)
    for number, group in holder.items():
        while group.state.merged_into in known:
            group = known[group.state.merged_into]
        out[group.id].append(sent[number])
    return list(out.values())
