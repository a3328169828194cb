"""Fails when a stage of the pipeline has become slower: `python -m bench.regression [--tolerance 1.6]`.

Times say nothing across machines, so each stage is divided by a fixed reference loop that runs in the same process in
the same minutes and does what the kernels do: arithmetic on bytes, and reads that wait for memory. The least of several
rounds counts on both sides, as noise only ever adds. A stage fails when its ratio exceeds the recorded one by more than
the tolerance; where it is meant to cost more, or costs less for good, record it anew with `--record`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from bench.pipeline import Pipeline, bodies_of
from loadtest.generator.template import build

RECORDED: Final = Path(__file__).with_name("regression.json")
STAGES: Final = ("decode", "merge", "resolve", "append", "local ids", "score", "fold and encode", "compress")
"""Without fsync, which is the disk's."""
_BATCH: Final = 4_000
_TEMPLATES: Final = 10
_ROUNDS: Final = 6
_PASSES: Final = 6


@njit("u8(u1[::1], i4[::1])", nogil=True, cache=True)
def reference(data, order):  # type: ignore[no-untyped-def]  # compiled
    """A hash over bytes in order, and one over bytes far apart; never to be changed."""
    state = np.uint64(1469598103934665603)
    for byte in data:
        state = (state ^ np.uint64(byte)) * np.uint64(1099511628211)
    for place in order:
        state = (state ^ np.uint64(data[place])) * np.uint64(1099511628211)
    return state


def _reference_seconds(data: NDArray[np.uint8], order: NDArray[np.int32]) -> float:
    began = time.thread_time()
    reference(data, order)
    return time.thread_time() - began


def measure() -> dict[str, float]:
    """Each stage's CPU time a point in units of the reference loop's, times a million."""
    random = np.random.default_rng(7)
    data = random.integers(0, 256, 1 << 24, np.uint8)
    order = random.permutation(len(data))[: 1 << 20].astype(np.int32)
    templates = [build("otlp-http", number, _BATCH) for number in range(_TEMPLATES)]
    now_ms = int(time.time() * 1000)
    first_ms = now_ms - (_ROUNDS + 1) * _PASSES * 15_000
    least: dict[str, float] = {}
    unit = float("inf")
    with tempfile.TemporaryDirectory() as name:
        pipeline = Pipeline(Path(name), "otlp-http", _BATCH * _TEMPLATES)
        for number in range(_ROUNDS + 1):
            pipeline.spent.clear()
            rows = 0
            for turn in range(_PASSES):
                bodies = bodies_of(templates, first_ms + (number * _PASSES + turn) * 15_000)
                for at in range(0, len(bodies), 2):
                    rows += pipeline.commit(bodies[at : at + 2], now_ms)
            unit = min(unit, _reference_seconds(data, order))
            if number:  # the first round meets every series
                for stage in STAGES:
                    least[stage] = min(least.get(stage, float("inf")), pipeline.spent[stage] / rows)
        pipeline.close()
    return {stage: round(spent / unit * 1e6, 4) for stage, spent in least.items()}


def slower(measured: dict[str, float], recorded: dict[str, float], tolerance: float) -> list[str]:
    """The stages that cost more than they may. A stage that is not recorded is one of them: nothing would watch it."""
    return [s for s, ratio in measured.items() if s not in recorded or ratio > recorded[s] * tolerance]


def main() -> int:
    """Measure and compare; returns the exit status, 1 when a stage is slower."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tolerance", type=float, default=1.6, help="times the recorded ratio that is still allowed")
    parser.add_argument("--record", action="store_true", help="keep what is measured now as what is right")
    options = parser.parse_args()
    measured = measure()
    if options.record:
        RECORDED.write_text(json.dumps(measured, indent=2) + "\n")
    recorded: dict[str, float] = json.loads(RECORDED.read_text())
    failed = slower(measured, recorded, options.tolerance)
    for stage, ratio in measured.items():
        line = {"bench": "regression", "stage": stage, "ratio": ratio, "recorded": recorded.get(stage)}
        print(json.dumps({**line, "slower": stage in failed}), flush=True)
    if failed:
        print(f"slower than recorded: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
