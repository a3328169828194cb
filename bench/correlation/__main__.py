"""Precision of the correlation.

    python -m bench.correlation [--seeds 101 102 103] [--days 20] [--learn 14]
    python -m bench.correlation --recorded DIR     recorded incidents (see `recorded`)

Made scenarios (`scenarios`), whose last `days - learn` days are compared with the truth (`run`). Variants:
`rule and service` is a route's group_by of alertname and service; `minutes` joins what begins within five minutes of
the last; `topology` is the correlation without anything learned; `counted` with co-occurrence; `corrected` with
co-occurrence and a simulated person who puts right half of the incidents of the first `learn` days. Prints one JSON
line a figure.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from bench.correlation import recorded
from bench.correlation.run import WITHOUT_LEARNING, Run, Verdict, judge
from bench.correlation.scenarios import Scenario, make


def simple_groups(scenario: Scenario, variant: str) -> list[str]:
    """The groupings to compare with."""
    if variant == "rule and service":
        return [f"{a.labels['alertname']}|{a.labels.get('service', '')}" for a in scenario.alerts]
    groups, last, number = [], float("-inf"), 0
    for alert in scenario.alerts:
        number += alert.starts - last > 300.0
        last = alert.starts
        groups.append(str(number))
    return groups


def say(variant: str, verdict: Verdict, **more: object) -> None:
    """One line."""
    line: dict[str, object] = {
        "figure": f"correlation_{variant.replace(' ', '_')}",
        "pair_precision": round(verdict.precision, 3),
        "pair_recall": round(verdict.recall, 3),
        "unseen_recall": round(verdict.unseen_recall, 3),
    }
    if verdict.incidents:
        line |= {
            "cause_hit": round(verdict.hits / verdict.incidents, 3),
            "cause_hit3": round(verdict.hits3 / verdict.incidents, 3),
            "cause_hit_by_kind": {k: round(verdict.hits_by_kind[k] / n, 3) for k, n in sorted(verdict.by_kind.items())},
            "incidents": verdict.incidents,
        }
    print(json.dumps(line | {"pairs": verdict.same} | more), flush=True)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m bench.correlation", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[101, 102, 103])
    parser.add_argument("--days", type=float, default=20.0)
    parser.add_argument("--learn", type=float, default=14.0)
    parser.add_argument("--recorded", type=Path, help="directory that holds petshop and nezha")
    given = parser.parse_args()
    if given.recorded:
        recorded.report(given.recorded)
        return
    totals: dict[str, Verdict] = {}
    spent = 0.0
    alerts = 0
    for seed in given.seeds:
        scenario = make(seed, given.days)
        alerts += len(scenario.alerts)
        for variant in ("rule and service", "minutes"):
            groups = simple_groups(scenario, variant)
            totals.setdefault(variant, Verdict()).add(judge(scenario, groups.__getitem__, {}, given.learn))
        runs = {
            "topology": Run(scenario, weights=WITHOUT_LEARNING),
            "counted": Run(scenario),
            "corrected": Run(scenario, people=True, learn_days=given.learn),
        }
        for variant, run in runs.items():
            began = time.process_time()
            run.run()
            if variant == "counted":
                spent += time.process_time() - began
            totals.setdefault(variant, Verdict()).add(run.verdict(given.learn))
    for variant, verdict in totals.items():
        more: dict[str, object] = {"corrections": verdict.acts} if verdict.acts else {}
        if variant == "counted":
            more["engine_ms_per_alert"] = round(1000.0 * spent / alerts, 3)
        say(variant, verdict, **more)


if __name__ == "__main__":
    main()
