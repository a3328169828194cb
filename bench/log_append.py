"""Appends to the log with one fsync a frame, in the directory given: frames of several sizes. One JSON line a figure.

python -m bench.log_append [--directory DIR]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from gateway.clock import SystemClock
from gateway.log.settings import LogSettings
from gateway.log.writer import LogWriter
from gateway.telemetry.columns import Definitions


def main() -> None:
    """Run all figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--directory", type=Path, default=None, help="a directory on the disk to measure")
    parser.add_argument("--frames", type=int, default=100)
    arguments = parser.parse_args()
    nothing = Definitions(np.empty(0, np.uint8), np.zeros(1, np.uint32), np.empty(0, np.uint8))
    for rows in (100, 8_000, 100_000):
        with tempfile.TemporaryDirectory(dir=arguments.directory) as name:
            writer = LogWriter.open(Path(name), 0, LogSettings(), SystemClock())
            ids, times, values = (
                np.arange(rows, dtype=np.uint32),
                np.arange(rows),
                np.random.default_rng(1).random(rows),
            )
            seconds = []
            for _ in range(arguments.frames):
                began = time.perf_counter()
                writer.prepare(24 * rows)
                writer.append(
                    ids=ids,
                    times_ms=times,
                    values=values,
                    starts_ms=None,
                    definitions=nothing,
                    first_new_id=0,
                    counted_rows=rows,
                    received_ns=0,
                )
                writer.sync()
                seconds.append(time.perf_counter() - began)
            writer.close()
        line = {
            "figure": "log_append_fsync",
            "value": round(rows * len(seconds) / sum(seconds) / 1e6, 3),
            "unit": "M rows/s",
            "rows_per_frame": rows,
            "p50_ms": round(1e3 * float(np.quantile(seconds, 0.5)), 3),
            "p99_ms": round(1e3 * float(np.quantile(seconds, 0.99)), 3),
        }
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
