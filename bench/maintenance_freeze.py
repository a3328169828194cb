"""`python -m bench.maintenance_freeze`: what freezing learning costs the scorer, one JSON line a step.

A shard of `--series` gauges in the order in which senders send, 8,000 rows a frame. Each line is µs a row of
`LearningFreeze.observe`, scoring included: without windows; with one that covers nothing; the first rows of a window
that covers a part of the series, in which all are matched with it and those are frozen; within it; and the first rows
after it, in which they are restored. `held_bytes` is what frozen series take. The last line has what follows from them
(`derived`).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from gateway.baseline.detector import Baseline
from gateway.baseline.settings import DetectionSettings
from gateway.clock import SystemClock
from gateway.pipeline.learning_freeze import LearningFreeze
from gateway.series.index import SeriesIndex
from gateway.telemetry import kind
from gateway.telemetry.columns import Definitions
from gateway.telemetry.frame import Frame, LogPosition
from gateway.telemetry.freeze_window import FILE_NAME, FreezeWindow, LabelCondition, encode_windows, write_windows
from gateway.telemetry.labels import encode_label_blob

ROWS = 8_000
START_MS = 1_700_006_400_000
STEP_MS = 15_000
WARM = 60
"""Rounds before anything is measured: more samples than a series needs to be known."""


class Shard:
    """Series of 100 services, and what scores them."""

    def __init__(self, series: int, directory: Path) -> None:
        self.series = series
        self.index = SeriesIndex(series)
        for first in range(0, series, ROWS):
            numbers = range(first, min(first + ROWS, series))
            blobs = [
                encode_label_blob({"__name__": "m", "instance": f"host-{n // 100}", "job": f"service-{n % 100:02d}"})
                for n in numbers
            ]
            self.index.define(Definitions.from_blobs(blobs, np.full(len(blobs), kind.GAUGE, np.uint8)))
        self.baseline = Baseline(DetectionSettings(max_frozen_series=series), capacity=series)
        self.path = directory / FILE_NAME
        self.freeze = LearningFreeze(self.path, self.index, self.baseline, SystemClock())
        self.step = 0
        self._values = np.random.default_rng(1).normal(100.0, 1.0, ROWS)

    def round(self) -> float:
        """One row of each series; gives µs a row."""
        self.step += 1
        at, nothing = LogPosition(1, 64), Definitions.from_blobs([], np.empty(0, np.uint8))
        spent = 0.0
        for first in range(0, self.series, ROWS):
            sids = np.arange(first, min(first + ROWS, self.series), dtype=np.uint32)
            times = np.full(len(sids), START_MS + self.step * STEP_MS, np.int64)
            values = np.roll(self._values, self.step)[: len(sids)]
            received_ns = int(times[0]) * 10**6
            frame = Frame(0, 0, at, at, 0, len(sids), received_ns, sids, times, values, None, 0, nothing)
            began = time.perf_counter()
            self.freeze.observe(sids, frame, np.empty(0))
            spent += time.perf_counter() - began
        return spent / self.series * 1e6

    def publish(self, expression: str, last_step: int) -> None:
        """A window from now to a step, for the services that an expression matches."""
        spans = ((START_MS + (self.step + 1) * STEP_MS, START_MS + last_step * STEP_MS),)
        window = FreezeWindow("1", (LabelCondition("service", "=~", expression),), spans)
        write_windows(self.path, encode_windows([window]))
        self.freeze.reload()


def derived(us: dict[str, float]) -> dict[str, float]:
    """What the steps' µs a row come to: µs a row while a window lasts, and once for each series µs for matching it with
    the windows, for freezing it and for restoring it. The last two are of the window over all."""
    match = us["a window over none, first"] - us["a window over none"]
    return {
        "window_us_per_row": round(us["a window over all"] - us["no window"], 3),
        "match_us_per_series": round(match, 3),
        "freeze_us_per_series": round(us["a window over all, first"] - us["a window over all"] - match, 3),
        "restore_us_per_series": round(us["all restored"] - us["no window"], 3),
    }


def main() -> None:
    """Print the lines."""
    parser = argparse.ArgumentParser(prog="bench.maintenance_freeze", description=__doc__)
    parser.add_argument("--series", type=int, default=200_000)
    series = parser.parse_args().series
    with tempfile.TemporaryDirectory() as directory:
        shard = Shard(series, Path(directory))
        for _ in range(WARM):
            shard.round()

        us: dict[str, float] = {}

        def line(step: str, us_per_row: float) -> None:
            us[step] = us_per_row
            frozen = shard.baseline.frozen
            told = {"bench": "maintenance_freeze", "series": series, "step": step, "us_per_row": round(us_per_row, 3)}
            print(json.dumps(told | {"frozen": frozen.count, "held_bytes": frozen.nbytes}), flush=True)

        line("no window", min(shard.round() for _ in range(5)))
        shard.publish("nobody", shard.step + 1000)
        line("a window over none, first", shard.round())
        line("a window over none", min(shard.round() for _ in range(5)))
        shard.publish("service-[01].", shard.step + 20)
        line("a window over a fifth, first", shard.round())
        line("a window over a fifth", min(shard.round() for _ in range(5)))
        while shard.step < 1000 and not shard.baseline.frozen.idle:
            last = shard.round()
        line("restored", last)
        shard.publish(".*", shard.step + 20)
        line("a window over all, first", shard.round())
        line("a window over all", min(shard.round() for _ in range(5)))
        while shard.step < 1000 and not shard.baseline.frozen.idle:
            last = shard.round()
        line("all restored", last)
        print(json.dumps({"bench": "maintenance_freeze", "series": series} | derived(us)), flush=True)


if __name__ == "__main__":
    main()
