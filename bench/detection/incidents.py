"""Correlated incidents: one cause seen in 5 to 50 series, small in each, 0 to 120 seconds apart."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from bench.detection.injections import Fault, Slice, background, plan
from bench.detection.recordings import MONDAY_S, Recording
from bench.detection.spread import usual_spread

SIZES = (5, 5, 5, 10, 10, 10, 20, 20, 20, 50, 50, 50)
DAYS = 10


@dataclass(slots=True)
class Incident:
    """Members with the incident in them, on a common clock; `fault` spans the first to the last abnormal sample."""

    members: list[Recording]
    fault: Fault


def incident(root: Path, number: int, seed: int) -> Incident | None:
    """The `number`-th incident of a run; None where the recordings are not there."""
    rng = np.random.default_rng([seed, 3, number])
    pool = [p for p in plan(root, quick=False) if p.dataset in ("wsd", "aiops_kpi")]
    if len(pool) < SIZES[number]:
        return None
    rows = DAYS * 24 * 60
    times = MONDAY_S + 60.0 * np.arange(rows, dtype=np.float64)
    at = int(rng.integers(3 * 1440, rows - 360))
    count = round(math.exp(rng.uniform(math.log(10), math.log(120))))
    common_sign = rng.random() < 0.7
    up = rng.random() < 0.5
    members: list[Recording] = []
    sigmas: list[float] = []
    for k in rng.permutation(len(pool)):
        piece: Slice = pool[k]
        whole = background(root, replace(piece, ordinal=piece.ordinal + 20), seed)
        if whole is None or whole.interval_s != 60.0 or len(whole.values) < rows:
            continue
        values = whole.values[:rows].copy()
        # Rows are put on a common clock; a masked stretch at the incident would make the member's part of it unclear.
        masked = [
            (float(np.searchsorted(whole.times_s, o.start)), float(np.searchsorted(whole.times_s, o.end)))
            for o in whole.neutral
        ]
        if any(a < at + count + 60 and at - 60 < b for a, b in masked):
            continue
        lag = int(rng.integers(0, 3))
        size = float(rng.choice([3.0, 4.5, 6.0]))
        sigma = usual_spread(values[max(at - 720, 0) : at + 720])
        sign = 1.0 if (up if common_sign else rng.random() < 0.5) else -1.0
        if not math.isfinite(sigma):
            continue
        changed = values[at + lag : at + lag + count] + sign * size * sigma
        values[at + lag : at + lag + count] = np.maximum(changed, 0.0) if np.nanmin(values) >= 0 else changed
        members.append(replace(whole, times_s=times, values=values, labels=np.zeros(rows, np.int8), neutral=[]))
        sigmas.append(size)
        if len(members) == SIZES[number]:
            break
    if len(members) < SIZES[number]:
        return None
    start, end = float(times[at]), float(times[at + count + 2])
    fault = Fault(f"correlated_{SIZES[number]}", start, end, start, max(sigmas), math.inf, max(sigmas) >= 6.0)
    return Incident(members, fault)
