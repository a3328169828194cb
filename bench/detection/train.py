"""`python -m bench.detection.train`: make the pattern model's table from faults put into recordings.

Only recordings whose licence allows it are trained on (datasets.TRAINABLE); their labelled spans are left out. Every
series is scored several times, each time with other faults (injections.Injector, one to three a week), and what the
kernels call a candidate is kept: its features, and whether a fault is there. A candidate's weight is such that an episode
counts once, however long it lasts. The trees are fitted by plain gradient boosting on the logistic loss with the same
questions on every path of a tree (kernels.pattern); wsd and aiops_kpi, on which the figures stand, are not seen here.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numba
import numpy as np
from numpy.typing import NDArray

from bench.detection.boosting import Boosting, fit
from bench.detection.datasets import DATA_SETS, REPOSITORY, Recording, data_root
from bench.detection.injections import MARGIN_S, Injector
from gateway.baseline.scorecard import DAY_S, Opening
from gateway.baseline.settings import DetectionSettings, parameters
from kernels.evidence import FEATURE_NAMES, FEATURES
from kernels.observe import O_CANDIDATE, O_FEATURES, OUTPUTS, observe_value
from kernels.series_state import P_MODEL, STATE

Floats = NDArray[np.float64]
MODEL = REPOSITORY / "gateway" / "baseline" / "pattern.npz"
SERIES = {"smd": 1, "asd": 1, "nab": 1, "ms_cloud_monitoring": 1, "nezha": 1, "petshop": 1}
PASSES = {"smd": 3, "asd": 3, "nab": 8, "ms_cloud_monitoring": 8, "nezha": 2, "petshop": 2}
"""How often each series is scored with other faults."""
EPISODE_S = 1800.0
KEPT_PER_EPISODE = 24
LESSER = 0.3
"""Weight of a fault that is not critical."""


@dataclass(slots=True)
class Candidates:
    """features: float32[n, FEATURES]; fault: 0 or 1; weight; group: number of the series."""

    features: NDArray[np.float32]
    fault: NDArray[np.int8]
    weight: Floats


@numba.njit(cache=False)  # type: ignore[untyped-decorator]
def _collect(
    states: np.ndarray, times: NDArray[np.int64], values: Floats, p: Floats, rows: NDArray[np.int64],
    features: NDArray[np.float32],
) -> int:  # fmt: skip
    out = np.zeros(OUTPUTS)
    found = 0
    s = states[0]
    for i in range(len(times)):
        if not np.isfinite(values[i]) or times[i] <= s.last_ms:
            continue
        observe_value(s, times[i], values[i], p, out)
        if out[O_CANDIDATE] > 0.0:
            if found == len(rows):
                return found
            rows[found] = i
            for k in range(FEATURES):
                features[found, k] = out[O_FEATURES + k]
            found += 1
    return found


def candidates(recording: Recording, faults: list[tuple[float, float, float]]) -> Candidates | None:
    """What the kernels propose on one recording. faults: (start, end, weight)."""
    p = parameters(DetectionSettings())
    n = len(recording.values)
    rows, features = np.empty(n, np.int64), np.empty((n, FEATURES), np.float32)
    order = np.argsort(recording.times_s, kind="stable")
    times_s, values = recording.times_s[order], recording.values[order]
    times = np.round(times_s * 1000.0).astype(np.int64)
    found = _collect(np.zeros(1, STATE), times, np.ascontiguousarray(values), p, rows, features)
    rows, features = rows[:found], features[:found]
    at = times_s[rows]
    step = recording.interval_s
    first = times_s[0] + min(DAY_S, 0.1 * (times_s[-1] - times_s[0]))
    keep = at >= first
    fault, weight = np.zeros(found, np.int8), np.ones(found)
    episode = np.cumsum(np.diff(at, prepend=-1e18) > max(EPISODE_S, 5 * step)) * 1000
    for number, (start, end, importance) in enumerate(faults, 1):
        inside = (at >= start) & (at <= end)
        fault[inside] = 1
        weight[inside] = importance
        episode[inside] = -number
        # Within the tolerance and just after, an alert would be true or continue one.
        keep &= inside | ~((at > start - 5 * step) & (at <= end + max(EPISODE_S, 10 * step)))
    for span in recording.neutral:
        keep &= ~((at >= span.start) & (at <= span.end))
    at, features, fault, weight, episode = (a[keep] for a in (at, features, fault, weight, episode))
    if not len(at):
        return None
    rng = np.random.default_rng(len(at))
    _, member, sizes = np.unique(episode, return_inverse=True, return_counts=True)
    chosen = rng.random(len(at)) < KEPT_PER_EPISODE / sizes[member]
    weight = weight / np.minimum(sizes[member], KEPT_PER_EPISODE) ** 0.8
    return Candidates(features[chosen], fault[chosen], weight[chosen])


def _background(recording: Recording) -> Recording:
    masked = [Opening(e.start - MARGIN_S, e.end + MARGIN_S) for e in [*recording.events, *recording.neutral]]
    return replace(recording, events=[], neutral=masked)


def unit_candidates(root: Path, dataset: str, key: str, seed: int) -> Candidates | None:
    """Candidates of one loading unit, all passes."""
    found: list[Candidates] = []
    for number, recording in enumerate(DATA_SETS[dataset].load(root, key)):
        finite = recording.values[np.isfinite(recording.values)]
        order = np.argsort(recording.times_s, kind="stable")
        recording = replace(recording, times_s=recording.times_s[order], values=recording.values[order], labels=recording.labels[order])
        if len(finite) < 500 or len(np.unique(finite)) < 20 or np.mean(np.diff(finite) == 0) > 0.8:
            continue
        twin = _background(recording)
        for attempt in range(PASSES[dataset]):
            rng = np.random.default_rng([seed, attempt, number, *key.encode()])
            # One pass of each series is left as it is.
            changed, spans = twin, []
            if attempt:
                injector = Injector(twin, rng)
                kinds = injector.applicable()
                rng.shuffle(kinds)
                weeks = float(twin.times_s[-1] - twin.times_s[0]) / (7 * DAY_S)
                count = max(round(weeks * rng.uniform(1, 3)), 1)
                faults = [f for i in range(count) if (f := injector.inject(kinds[i % len(kinds)])) is not None]
                if not faults:
                    continue
                changed = injector.finished(faults).recording
                spans = [(f.start, f.end, 1.0 if f.critical else LESSER) for f in faults]
            one = candidates(changed, spans)
            if one is not None:
                found.append(one)
    if not found:
        return None
    return Candidates(
        np.concatenate([c.features for c in found]), np.concatenate([c.fault for c in found]),
        np.concatenate([c.weight for c in found]),
    )  # fmt: skip


def table_of(model: Boosting) -> Floats:
    """The model as kernels.pattern reads it."""
    parts = [np.array([len(model.leaves), model.bias], np.float64)]
    for features, thresholds, leaves in zip(model.features, model.thresholds, model.leaves, strict=True):
        pairs = np.column_stack([features, thresholds]).astype(np.float64)
        parts += [pairs.reshape(-1), leaves]
    return np.concatenate(parts)


def main() -> int:
    """Collect, fit, write."""
    parser = argparse.ArgumentParser(prog="bench.detection.train", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--trees", type=int, default=120)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--output", type=Path, default=MODEL)
    parser.add_argument("--dump", type=Path, help="keep the candidates here")
    arguments = parser.parse_args()
    root = data_root()
    work = [
        partial(unit_candidates, root, name, key, arguments.seed)
        for name in PASSES
        if (root / name).is_dir()
        for key in DATA_SETS[name].keys(root)
    ]
    with ProcessPoolExecutor(arguments.jobs, mp_context=multiprocessing.get_context("spawn")) as pool:
        units = [future.result() for future in [pool.submit(one) for one in work]]
    group = np.concatenate([np.full(len(u.fault), k) for k, u in enumerate(units) if u is not None])
    some = [u for u in units if u is not None]
    features = np.concatenate([u.features for u in some])
    fault = np.concatenate([u.fault for u in some])
    weight = np.concatenate([u.weight for u in some])
    if arguments.dump:
        np.savez(arguments.dump, features=features, fault=fault, weight=weight, group=group)
    print(f"{len(fault):,} candidates, {weight[fault == 1].sum():.0f} of weight {weight.sum():.0f} faults", file=sys.stderr)
    # A fifth of the units judges how many trees pay.
    held = group % 5 == 0
    trial = fit(features[~held], fault[~held], weight[~held], trees=arguments.trees, watch=(features[held], fault[held], weight[held]))
    model = fit(features, fault, weight, trees=trial.best)
    for name, gain in sorted(zip(FEATURE_NAMES, model.gains, strict=True), key=lambda pair: -pair[1]):
        print(f"{name:20} {gain:10.1f}")
    table = table_of(model)
    np.savez_compressed(arguments.output, table=table.astype(np.float32))
    print(f"{trial.best} trees, held-out loss {trial.loss:.4f} (constant: {trial.constant_loss:.4f}), {arguments.output}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
