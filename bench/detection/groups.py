"""The group detector on correlated incidents, minute by minute as live: the series of an incident are one service.

    python -m bench.detection.groups [--seed N] [--numbers 0,3,…]

One JSON line an incident size: found (an alert of the service or of a member starts within the label), by the group
alone, by single series alone; delay of each; false group alerts a day, on the days before the incident.
"""

from __future__ import annotations

import argparse
import json
import os
from collections import defaultdict
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np

from bench.detection.incidents import SIZES, incident
from gateway.baseline.group_detector import BUDGETS, GroupChange, GroupDetector
from gateway.baseline.offline import OfflineResult, run_series
from gateway.baseline.settings import DetectionSettings
from kernels.series_state import OPENED

TOLERANCE_S = 300.0


def run_group(results: list[OfflineResult], sensitivity: str = "balanced") -> list[GroupChange]:
    """What the group detector says of the scores of one service's series, in the order of time."""
    detector = GroupDetector(BUDGETS[sensitivity])
    sids = np.arange(len(results), dtype=np.uint32)
    first = min(int(r.times_s[0] * 1000.0) for r in results)
    detector.learn(sids, ["service"], np.zeros(len(results), np.int64), first)
    times = np.concatenate([np.round(r.times_s * 1000.0).astype(np.int64) for r in results])
    owners = np.concatenate([np.full(len(r.times_s), k, np.uint32) for k, r in enumerate(results)])
    scores = np.concatenate([r.score for r in results]).astype(np.float32)
    order = np.argsort(times, kind="stable")
    times, owners, scores = times[order], owners[order], scores[order]
    changes: list[GroupChange] = []
    ends = np.append(np.flatnonzero(np.diff(times)) + 1, len(times))
    begin = 0
    for end in ends.tolist():
        changes += detector.observe(owners[begin:end], times[begin:end], scores[begin:end])
        changes += detector.advance(int(times[begin]))
        begin = end
    return changes


def judge(root: Path, number: int, seed: int) -> dict[str, Any] | None:
    """One incident; None where the recordings are not there."""
    made = incident(root, number, seed)
    if made is None:
        return None
    results = [run_series(m.times_s, m.values, settings=DetectionSettings()) for m in made.members]
    start, end = made.fault.start, made.fault.end
    groups = [c.opened_ms / 1000.0 for c in run_group(results) if c.kind == OPENED]
    singles = [float(t["opened_ms"]) / 1000.0 for r in results for t in r.transitions if int(t["kind"]) == OPENED]

    def first(moments: list[float]) -> float | None:
        return min((m - start for m in moments if start - TOLERANCE_S <= m <= end + TOLERANCE_S), default=None)

    days = (start - float(made.members[0].times_s[0])) / 86400.0
    return {
        "kind": made.fault.kind,
        "group": first(groups),
        "single": first(singles),
        "group_false_per_day": sum(m < start - TOLERANCE_S for m in groups) / days,
        "single_false_per_day": sum(m < start - TOLERANCE_S for m in singles) / days,
    }


def main() -> None:
    """Print the lines."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--numbers", default=",".join(str(n) for n in range(len(SIZES))))
    arguments = parser.parse_args()
    root = Path(os.environ.get("GATEWAY_DETECTION_DATA", "data"))
    found: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for number in arguments.numbers.split(","):
        judged = judge(root, int(number), arguments.seed)
        if judged is not None:
            found[judged["kind"]].append(judged)
    for kind, rows in found.items():
        line: dict[str, Any] = {"bench": "detection.groups", "kind": kind, "n": len(rows)}
        for who in ("group", "single"):
            delays = [r[who] for r in rows if r[who] is not None]
            line[f"{who}_recall"] = round(len(delays) / len(rows), 2)
            line[f"{who}_delay_min"] = round(mean(delays) / 60.0, 1) if delays else None
            line[f"{who}_false_per_day"] = round(mean(r[f"{who}_false_per_day"] for r in rows), 3)
        line["either_recall"] = round(mean(r["group"] is not None or r["single"] is not None for r in rows), 2)
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
