"""Scoring: points a second of one core over many series with the whole ensemble, and a snapshot's way back.

python -m bench.baseline_score [--series 1000000] [--rounds 24]

A round is one gauge point of every series, 15 s apart, in batches of 8,000 rows in a shuffled order of series, as a
scorer sees them; one series in 2,000 carries a fault. The first rounds fill the state and are not timed.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from gateway.baseline import snapshot
from gateway.baseline.detector import Baseline
from gateway.baseline.settings import DetectionSettings
from gateway.telemetry import kind
from kernels.series_state import STATE

START_MS = 1_700_000_000_000
BATCH = 8_000
UNTIMED = 12


def figure(name: str, value: float, unit: str, **more: object) -> None:
    """One JSON line."""
    print(json.dumps({"bench": "baseline_score", "figure": name, "value": round(value, 4), "unit": unit, **more}))


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=24, help="timed rounds")
    arguments = parser.parse_args()
    n = arguments.series
    rng = np.random.default_rng(1)
    baseline = Baseline(DetectionSettings(), capacity=n)
    order = rng.permutation(n).astype(np.uint32)
    kinds, generations = np.full(n, kind.GAUGE, np.uint8), np.zeros(n, np.uint32)
    level = 10.0 ** rng.uniform(-2, 6, n)
    faulty = rng.random(n) < 0.0005
    seconds, cpu, points, alerts = 0.0, 0.0, 0, 0
    for number in range(UNTIMED + arguments.rounds):
        # Rounds begin 60 s apart until the warm-up is over, then every 15 s.
        time_ms = START_MS + number * 60_000
        values = level * (1 + 0.02 * rng.standard_normal(n))
        if number > UNTIMED + 8:
            values[faulty] *= 2
        batches = [
            (rows, np.full(len(rows), time_ms, np.int64), values[rows])
            for rows in np.array_split(order, max(n // BATCH, 1))
        ]
        began, began_cpu = time.perf_counter(), time.process_time()
        for rows, times, batch_values in batches:
            observation = baseline.observe(rows, times, batch_values, None, kinds, generations, time_ms * 1_000_000)
            alerts += len(observation.transitions)
        if number >= UNTIMED:
            seconds += time.perf_counter() - began
            cpu += time.process_time() - began_cpu
            points += n
    figure("points_per_second", points / seconds, "1/s", series=n)
    figure("points_per_cpu_second", points / cpu, "1/s", series=n)
    figure("state_per_series", STATE.itemsize, "B", season=int(STATE["cells"].itemsize + STATE["seen"].itemsize))
    figure("transitions", alerts, "1")
    began = time.perf_counter()
    baseline.advance(time_ms)
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
        snapshot.restore(other, read, np.arange(n, dtype=np.int64), generations)
        figure("snapshot_load", time.perf_counter() - began, "s", series=n)


if __name__ == "__main__":
    main()
