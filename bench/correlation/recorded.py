"""Recorded incidents: PetShop (Hardt et al., "The PetShop Dataset - Finding Causes of Performance Issues across
Microservices", 2024), read where it lies and never copied.

Each issue holds a few five-minute rows of latency and availability of every node, and the node in which the fault was
put. What is normal is taken from the fault-free recording of the same scenario: an alert fires for a node and metric
whose value gets further from the normal median than `FAR` robust deviations; one that is as far in the first row has
stood there before the fault and is left out. The topology is the recorded call graph.
Figures, per scenario and together:

    pair_recall    of the pairs of alerts of one issue, the share in one group (all of them are of one incident)
    cause_hit      the faulty node is named first; `cause_hit3`: among the first three
    visible        issues whose faulty node has an alert at all: the others cannot be hit
    strongest      what naming the node that deviates most would hit, for comparison
The scenarios without a fault-free recording are left out, and said so.
"""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import math
import statistics
from collections import Counter, defaultdict
from pathlib import Path
from typing import Final, NamedTuple

from gateway.alerting.alert import Alert, fingerprint
from gateway.alerting.configuration import built_in_configuration
from gateway.alerting.engine import Engine
from gateway.alerting.incidents import Incidents
from gateway.alerting.markers import Markers
from gateway.alerting.moments import NEVER, SECOND
from gateway.alerting.settings import AlertingSettings
from gateway.telemetry.call_edge import CallEdge
from gateway.telemetry.service_labels import short_service

FAR: Final = 4.0
EMPTY: Final = 100
"""Bytes of a compressed file without rows."""
FLOOR: Final = 0.1
"""Share of the median that counts as a deviation at least, so that a metric that never moved does not fire at once."""
WATCHED: Final = frozenset({("latency", "Average"), ("availability", "Average")})

Column = tuple[str, str]
"""Node and metric."""


class Outcome(NamedTuple):
    """One issue."""

    pairs: int
    together: int
    hit: bool
    hit3: bool
    visible: bool
    strongest: bool


def report(directory: Path) -> None:
    """Prints the figures of the PetShop half below `directory`."""
    totals: list[Outcome] = []
    for scenario in sorted(path for path in (directory / "petshop").iterdir() if path.is_dir()):
        normal_file = scenario / "noissue" / "metrics.csv.gz"
        if not normal_file.exists() or normal_file.stat().st_size < EMPTY:
            print(json.dumps({"figure": f"correlation_petshop_{scenario.name}", "left_out": "no fault-free recording"}))
            continue
        normal = {column: _normal(values) for column, values in _columns(normal_file)[1].items()}
        calls = _calls(scenario / "graph.csv.gz")
        outcomes = [_issue(path, normal, calls) for path in sorted(scenario.glob("*/issue_*"))]
        _say(scenario.name, outcomes)
        totals += outcomes
    _say("all", totals)


def _say(name: str, outcomes: list[Outcome]) -> None:
    pairs = sum(outcome.pairs for outcome in outcomes)
    count = max(len(outcomes), 1)
    line = {
        "figure": f"correlation_petshop_{name}",
        "pair_recall": round(sum(o.together for o in outcomes) / pairs, 3) if pairs else None,
        "cause_hit": round(sum(o.hit for o in outcomes) / count, 3),
        "cause_hit3": round(sum(o.hit3 for o in outcomes) / count, 3),
        "visible": round(sum(o.visible for o in outcomes) / count, 3),
        "strongest": round(sum(o.strongest for o in outcomes) / count, 3),
        "issues": len(outcomes),
        "pairs": pairs,
    }
    print(json.dumps(line), flush=True)


def _columns(path: Path) -> tuple[list[float], dict[Column, list[float]]]:
    """Times in Unix seconds, and the watched columns; a value that is missing is NaN."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    nodes, metrics, kinds = rows[0], rows[1], rows[2]
    wanted = [at for at in range(1, len(nodes)) if (metrics[at], kinds[at]) in WATCHED]
    body = [row for row in rows[3:] if row and row[0] and row[0][0].isdigit()]
    values = {(nodes[at], metrics[at]): [float(row[at]) if row[at] else math.nan for row in body] for at in wanted}
    return [float(row[0]) for row in body], values


def _normal(values: list[float]) -> tuple[float, float]:
    """Median and robust deviation."""
    known = [value for value in values if math.isfinite(value)]
    if len(known) < 10:
        return math.nan, math.nan
    median = statistics.median(known)
    deviation = 1.4826 * statistics.median([abs(value - median) for value in known])
    return median, max(deviation, FLOOR * abs(median), 1e-9)


def _calls(path: Path) -> list[tuple[str, str]]:
    """(caller, callee) of the recorded graph: a row's node calls the columns' with a number above zero."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file))
    names = rows[0][1:]
    return [
        (row[0], callee)
        for row in rows[1:]
        for callee, number in zip(names, row[1:], strict=True)
        if number and float(number) > 0.0
    ]


def _issue(path: Path, normal: dict[Column, tuple[float, float]], calls: list[tuple[str, str]]) -> Outcome:
    target = json.loads((path / "target.json").read_text(encoding="utf-8"))
    root = short_service(target["root_cause"]["node"])
    times, columns = _columns(path / "metrics.csv.gz")
    engine = Engine(built_in_configuration(""), seed=0)
    incidents = Incidents(engine, AlertingSettings(), Markers(engine.journal, 86400 * SECOND))
    begin = round(times[0] * SECOND)
    incidents.see_topology([CallEdge(*call, 10, begin) for call in calls], (), begin)
    alarms: list[tuple[float, float, Column]] = []
    for column, values in columns.items():
        median, deviation = normal.get(column, (math.nan, math.nan))
        down = column[1] == "availability"
        far = [(median - value if down else value - median) / deviation for value in values]
        first = next((at for at, how in enumerate(far) if how > FAR), 0)
        if first:  # what is far from the first row on stood before the fault
            alarms.append((times[first], max(how for how in far if math.isfinite(how)), column))
    groups: list[str] = []
    for time, _, (node, metric) in sorted(alarms):
        now = round(time * SECOND)
        labels = {"alertname": "HighLatency" if metric == "latency" else "LowAvailability", "service": node}
        engine.receive(
            [Alert(fingerprint=fingerprint(labels), labels=labels, starts=now, ends=NEVER, updated=now)], now
        )
        groups.append(fingerprint(labels))
    homes = Counter(group.id for name in groups if (group := incidents.correlator.group_of(name)) is not None)
    pairs = sum(1 for _ in itertools.combinations(groups, 2))
    together = sum(number * (number - 1) // 2 for number in homes.values())
    named: list[str] = []
    if homes:
        largest = incidents.correlator.groups[homes.most_common(1)[0][0]]
        named = [cause.place.service for cause in incidents.notices.causes(largest)]
    strength: dict[str, float] = defaultdict(float)
    for _, deviation, (node, _metric) in alarms:
        strength[short_service(node)] = max(strength[short_service(node)], deviation)
    return Outcome(
        pairs=pairs,
        together=together,
        hit=named[:1] == [root],
        hit3=root in named[:3],
        visible=root in strength,
        strongest=bool(strength) and max(strength, key=strength.__getitem__) == root,
    )
