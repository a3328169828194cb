"""Scoring: points a second of one core over many series with the whole ensemble, and a snapshot's way back.

python -m bench.baseline_score [--series 1000000] [--rounds 24] [--without season|candidates|both]

A round is one gauge point of every series, 60 s after the one before, in batches of 8,000 rows; one series in 2,000
carries a fault from the ninth timed round on. Three states of the same number of series are timed:

- `young`: from nothing, in a shuffled order of series; the first 12 rounds are not timed. Nothing is known of days yet,
  and the pattern model is not asked.
- `grown`: two days old, so that every part takes place: season, habits, the pattern model for some in a hundred points.
  2,000 series live through the two days, half of them with a daily season; all others are copies of their records.
  `order` is `as sent` (a batch is a request: series that stand together, requests in any order) or `shuffled`, in which
  every row's record lies elsewhere, as for single points.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.baseline import snapshot
from gateway.baseline.detector import Baseline
from gateway.baseline.settings import DetectionSettings
from gateway.telemetry import kind
from kernels.series_state import P_LOCAL, P_SEASON, P_SLOW, P_VARIANCE, STATE

START_MS = 1_700_000_000_000
STEP_MS = 60_000
BATCH = 8_000
UNTIMED = 12
MODELS = 2_000
"""Series that grow up; the others are copies."""
GROWN = 2 * 1440
"""Rounds they live before the timed ones."""

PARTS: Final = {"season": (P_SEASON,), "candidates": (P_LOCAL, P_SLOW, P_VARIANCE)}
"""Parts that can be left out, and the parameters that do so."""

Values = Callable[[int, NDArray[np.int64]], NDArray[np.float64]]


def figure(name: str, value: float, unit: str, **more: object) -> None:
    """One JSON line."""
    print(json.dumps({"bench": "baseline_score", "figure": name, "value": round(value, 4), "unit": unit, **more}))


@dataclass(slots=True)
class Fleet:
    """n gauges: their baselines and what the index would know of them."""

    baseline: Baseline
    kinds: NDArray[np.uint8]
    generations: NDArray[np.uint32]

    @classmethod
    def of(cls, n: int) -> Fleet:
        """n series never seen."""
        kinds, generations = np.full(n, kind.GAUGE, np.uint8), np.zeros(n, np.uint32)
        return cls(Baseline(DetectionSettings(), capacity=n), kinds, generations)

    def play(self, order: NDArray[np.int64], rounds: range, values: Values) -> tuple[float, float, int]:
        """Score every series once a round in the given order; wall seconds, CPU seconds, changes of alerts."""
        seconds, cpu, changes = 0.0, 0.0, 0
        for number in rounds:
            time_ms = START_MS + number * STEP_MS
            batches = [
                (rows.astype(np.uint32), np.full(len(rows), time_ms, np.int64), values(number, rows))
                for rows in np.array_split(order, max(len(order) // BATCH, 1))
            ]
            began, began_cpu = time.perf_counter(), time.process_time()
            for rows, times, batch in batches:
                seen = self.baseline.observe(
                    rows, times, batch, None, self.kinds, self.generations, time_ms * 1_000_000
                )
                changes += len(seen.transitions)
            seconds += time.perf_counter() - began
            cpu += time.process_time() - began_cpu
        return seconds, cpu, changes


def report(age: str, order: str, points: int, series: int, spent: tuple[float, float, int]) -> None:
    """The figures of one state."""
    seconds, cpu, changes = spent
    which = {"series": series, "age": age, "order": order}
    figure("points_per_second", points / seconds, "1/s", **which)
    figure("points_per_cpu_second", points / cpu, "1/s", **which)
    figure("transitions", changes, "1", **which)


def young(n: int, rounds: int, rng: np.random.Generator) -> Fleet:
    """Time series that begin."""
    fleet = Fleet.of(n)
    level = 10.0 ** rng.uniform(-2, 6, n)
    faulty = rng.random(n) < 0.0005

    def values(number: int, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        fault = 1.0 + faulty[rows] * float(number > UNTIMED + 8)
        return np.asarray(level[rows] * (1 + 0.02 * rng.standard_normal(len(rows))) * fault)

    order = rng.permutation(n)
    fleet.play(order, range(UNTIMED), values)
    report("young", "shuffled", n * rounds, n, fleet.play(order, range(UNTIMED, UNTIMED + rounds), values))
    return fleet


def grown(n: int, rounds: int, rng: np.random.Generator, without: tuple[str, ...]) -> None:
    """Time series that have lived for two days, parts of the ensemble left out by now."""
    models = min(MODELS, n)
    level, spread = 10.0 ** rng.uniform(-1, 5, models), rng.choice([0.002, 0.02, 0.1], models)
    season, phase = rng.choice([0.0, 0.3], models), rng.uniform(0, 2 * np.pi, models)
    faulty = rng.random(n) < 0.0005
    wandering = np.zeros(n)
    first_fault = GROWN + 8

    def values(number: int, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        wandering[rows] = 0.6 * wandering[rows] + 0.8 * rng.standard_normal(len(rows))
        like = rows % models
        daily = season[like] * np.sin(number * STEP_MS / 86_400_000 * 2 * np.pi + phase[like])
        fault = 1.0 + faulty[rows] * float(number > first_fault)
        return np.asarray(level[like] * (1 + daily + spread[like] * wandering[rows]) * fault)

    nursery = Fleet.of(models)
    nursery.play(np.arange(models), range(GROWN), values)
    records, deadlines = nursery.baseline.records(np.arange(models, dtype=np.uint32))
    requests = np.array_split(np.arange(n), max(n // BATCH, 1))
    as_sent = np.concatenate([requests[k] for k in rng.permutation(len(requests))])
    for name, order in (("as sent", as_sent), ("shuffled", rng.permutation(n))):
        fleet = Fleet.of(n)
        for at in range(0, n, models):
            sids = np.arange(at, min(at + models, n), dtype=np.uint32)
            part = slice(0, len(sids))
            fleet.baseline.adopt(
                sids, records[part], deadlines[part], fleet.generations[sids], nursery.baseline.watermark_ms
            )
        for part_out in without:
            fleet.baseline._parameters[list(PARTS[part_out])] = 0.0
        wandering[:] = wandering[np.arange(n) % models]
        report("grown", name, n * rounds, n, fleet.play(order, range(GROWN, GROWN + rounds), values))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=24, help="timed rounds")
    parser.add_argument("--without", choices=(*PARTS, "both"), help="leave a part out")
    arguments = parser.parse_args()
    n = arguments.series
    rng = np.random.default_rng(1)
    without = tuple(PARTS) if arguments.without == "both" else (arguments.without,) if arguments.without else ()
    grown(n, arguments.rounds, rng, without)
    if without:
        return
    baseline = young(n, arguments.rounds, rng).baseline
    figure("state_per_series", STATE.itemsize, "B", season=int(STATE["cells"].itemsize + STATE["seen"].itemsize))
    began = time.perf_counter()
    baseline.advance(START_MS + (UNTIMED + arguments.rounds) * STEP_MS)
    figure("advance", (time.perf_counter() - began) * 1e3, "ms", series=n)
    with tempfile.TemporaryDirectory(dir=os.environ.get("GATEWAY_BENCH_DIR")) as directory:
        path = Path(directory) / "baselines"
        keys = rng.integers(0, 256, (n, 16), np.uint8)
        began = time.perf_counter()
        snapshot.write(path, snapshot.take(baseline, np.arange(n, dtype=np.uint32), keys))
        figure("snapshot_write", time.perf_counter() - began, "s", bytes=path.stat().st_size)
        del baseline
        began = time.perf_counter()
        read = snapshot.read(path)
        other = Baseline(DetectionSettings(), capacity=n)
        snapshot.restore(other, read, np.arange(n, dtype=np.int64), np.zeros(n, np.uint32))
        figure("snapshot_load", time.perf_counter() - began, "s", series=n)


if __name__ == "__main__":
    main()
