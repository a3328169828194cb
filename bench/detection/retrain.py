"""`python -m bench.detection.retrain VERDICTS --output FILE`: teach the pattern model what people said of its alerts.

VERDICTS is what GET /api/v1/feedback answers, or - for standard input. To a model (the shipped one, or --base FILE)
some small trees are added that move the odds of alerts like those that were useful or noise, and no others much:
a handful of verdicts moves little, hundreds decide. Use the file with `detection.pattern_model`, and try it first
with `gateway replay --labels` on a recording of your own.

Example:
    curl -s localhost:4319/api/v1/feedback | python -m bench.detection.retrain - --output our-pattern.npz
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.detection.boosting import fit
from gateway.baseline.evidence_text import evidence_of
from gateway.baseline.parameters import SHIPPED, pattern_model
from gateway.errors import GatewayError
from kernels.pattern import second_table, weigh

Floats = NDArray[np.float64]
TREES = 40
WEIGHT = 3.0
"""Of a verdict; that of an episode in the training."""


def verdicts(lines: Iterable[str]) -> tuple[NDArray[np.bool_], NDArray[np.float32], NDArray[np.int8], int]:
    """(of a run, features, useful, how many say nothing to learn from). Raises ValueError with the line's number."""
    runs, features, useful, without = [], [], [], 0
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            given = json.loads(line)
            verdict, text = given["verdict"], given["anomaly"].get("evidence", "")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"line {number} is no verdict: {error!r}") from error
        if verdict not in ("useful", "noise"):
            raise ValueError(f"line {number}: verdict {verdict!r}; expected useful or noise")
        evidence = evidence_of(text)
        if evidence is None:
            without += 1
            continue
        runs.append(evidence[0])
        features.append(evidence[1])
        useful.append(verdict == "useful")
    some = np.array(features, np.float32) if features else np.zeros((0, 1), np.float32)
    return np.array(runs, np.bool_), some, np.array(useful, np.int8), without


def _extended(table: Floats, features: NDArray[np.float32], useful: NDArray[np.int8]) -> tuple[Floats, Floats, Floats]:
    """One table with trees added; log odds of the verdicts before and after."""
    rows = features.astype(np.float64)
    before = np.array([weigh(row, 0, table, 0, -np.inf) for row in rows])
    if len(useful) == 0:
        return table, before, before
    added = fit(features, useful, np.full(len(useful), WEIGHT), trees=TREES, start=before)
    parts = [np.array([table[0] + TREES, table[1]]), table[2:]]
    for questions, thresholds, leaves in zip(added.features, added.thresholds, added.leaves, strict=True):
        parts += [np.column_stack([questions, thresholds]).astype(np.float64).reshape(-1), leaves]
    # As it will be read: in single precision.
    extended = np.concatenate(parts).astype(np.float32).astype(np.float64)
    return extended, before, np.array([weigh(row, 0, extended, 0, -np.inf) for row in rows])


def main() -> int:
    """Read verdicts, add trees, write the model and say what moved."""
    parser = argparse.ArgumentParser(
        prog="bench.detection.retrain", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verdicts", help="what GET /api/v1/feedback answers, or -")
    parser.add_argument("--base", type=Path, default=SHIPPED, help="the model to start from (default: the shipped one)")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        text = sys.stdin.read() if arguments.verdicts == "-" else Path(arguments.verdicts).read_text(encoding="utf-8")
        run, features, useful, without = verdicts(text.splitlines())
        model = pattern_model(arguments.base)
    except (OSError, ValueError, GatewayError) as error:
        print(f"retrain: {error}", file=sys.stderr)
        return 2
    print(
        f"{len(useful)} verdicts to learn from ({int(useful.sum())} useful), {without} on alerts that no model weighed"
    )
    if len(useful) == 0:
        print("retrain: nothing to learn from; nothing is written", file=sys.stderr)
        return 1
    cut = second_table(model, 0)
    tables = []
    for name, table, chosen in (("runs", model[:cut], run), ("all else", model[cut:], ~run)):
        extended, before, after = _extended(table, features[chosen], useful[chosen])
        tables.append(extended)
        for verdict, side in (("useful", useful[chosen] == 1), ("noise", useful[chosen] == 0)):
            if side.any():
                print(
                    f"{name}, {verdict} ({side.sum()}): log odds {before[side].mean():.2f} -> {after[side].mean():.2f}"
                )
    np.savez_compressed(arguments.output, table=np.concatenate(tables).astype(np.float32))
    print(f'{arguments.output} is written; use it with detection.pattern_model = "{arguments.output}"')
    return 0


if __name__ == "__main__":
    sys.exit(main())
