"""`python -m bench.detection.train`: make the pattern model's tables from faults put into recordings.

Only recordings whose licence allows it are trained on; wsd and aiops_kpi, on which most figures stand, are not seen
here. Labelled spans are left out, except for ms_cloud_monitoring, whose labels say of single samples what is wrong. A
series is scored several times, each time with other faults (injections.Injector, one to seven a week), and what the
kernels call a candidate is kept: its features, and whether a fault is there. A candidate's weight is such that an
episode counts about once, however long it lasts. All that is repeated with the faults of several seeds, because one
seed's table can be a lucky or an unlucky one. Gradient boosting (bench.detection.boosting) then fits one table for runs
and one for all other candidates. Nine minutes on two busy cores.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numba
import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.detection.boosting import Boosting, fit
from bench.detection.datasets import DATA_SETS
from bench.detection.injections import MARGIN_S, Injector
from bench.detection.recordings import REPOSITORY, Recording, data_root
from gateway.baseline.parameters import parameters
from gateway.baseline.scorecard import DAY_S, Opening
from gateway.baseline.settings import DetectionSettings
from kernels.evidence import FEATURE_NAMES, FEATURES
from kernels.findings import O_CANDIDATE, O_FEATURES, OUTPUTS
from kernels.observe import observe_value
from kernels.series_state import P_LIMIT, P_LIMIT_CALMER, P_LIMIT_SLOW, STATE

Floats = NDArray[np.float64]
MODEL = REPOSITORY / "gateway" / "baseline" / "pattern.npz"
PASSES = {"smd": 5, "asd": 5, "nab": 9, "ms_cloud_monitoring": 9, "nezha": 3, "petshop": 3}
"""How often each series is scored: once as it is, then with faults."""
EVERY = {"smd": 2, "asd": 2}
"""Of machines with many like series, every so many-th."""
EPISODE_S = 1800.0
KEPT_PER_EPISODE = 5
LESSER = 0.4
"""Weight of a fault that is neither critical nor a spike."""
UNASKED = ("age", "step", "count")
"""Features that no question may be about: in so few sets they tell which set a candidate is of."""
RIDGE = 16.0
NEVER = 1e9
"""Log odds that no candidate reaches."""


@dataclass(slots=True)
class Candidates:
    """features: float32[n, FEATURES]; run: whether a run brought it; fault: 0 or 1; weight."""

    features: NDArray[np.float32]
    run: NDArray[np.bool_]
    fault: NDArray[np.int8]
    weight: Floats


@numba.njit(cache=False)  # type: ignore[untyped-decorator]
def _collect(
    states: np.ndarray, times: NDArray[np.int64], values: Floats, p: Floats, rows: NDArray[np.int64],
    features: NDArray[np.float32], run: NDArray[np.bool_],
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
            run[found] = int(out[O_CANDIDATE]) & 1 == 1
            for k in range(FEATURES):
                features[found, k] = out[O_FEATURES + k]
            found += 1
    return found


def candidates(recording: Recording, faults: list[tuple[float, float, float]]) -> Candidates | None:
    """What the kernels propose on one recording. faults: (start, end, weight)."""
    p = parameters(DetectionSettings())
    # The model opens nothing meanwhile: it is to decide of openings, and what follows one depends on who decided.
    p[[P_LIMIT, P_LIMIT_SLOW, P_LIMIT_CALMER]] = NEVER
    n = len(recording.values)
    rows, features, run = np.empty(n, np.int64), np.empty((n, FEATURES), np.float32), np.empty(n, np.bool_)
    order = np.argsort(recording.times_s, kind="stable")
    times_s, values = recording.times_s[order], recording.values[order]
    times = np.round(times_s * 1000.0).astype(np.int64)
    found = _collect(np.zeros(1, STATE), times, np.ascontiguousarray(values), p, rows, features, run)
    rows, features, run = rows[:found], features[:found], run[:found]
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
    at, features, run, fault, weight, episode = (a[keep] for a in (at, features, run, fault, weight, episode))
    if not len(at):
        return None
    rng = np.random.default_rng(len(at))
    _, member, sizes = np.unique(episode, return_inverse=True, return_counts=True)
    chosen = rng.random(len(at)) < KEPT_PER_EPISODE / sizes[member]
    weight = weight / np.minimum(sizes[member], KEPT_PER_EPISODE) ** 0.8
    return Candidates(features[chosen], run[chosen], fault[chosen], weight[chosen])


def _background(recording: Recording) -> Recording:
    labelled = [*(Opening(e.start, e.end) for e in recording.events), *recording.neutral]
    masked = [Opening(o.start - MARGIN_S, o.end + MARGIN_S) for o in labelled]
    return replace(recording, events=[], neutral=masked)


def trainable(names: Iterable[str]) -> list[str]:
    """The same names. Raises ValueError for a set that may not be trained on."""
    chosen = list(names)
    refused = [name for name in chosen if not DATA_SETS[name].licence_allows_training]
    if refused:
        raise ValueError(f"the licence forbids training, or does not say that it allows it: {', '.join(refused)}")
    return chosen


def unit_candidates(root: Path, dataset: str, key: str, seed: int) -> Candidates | None:
    """Candidates of one loading unit, all passes."""
    found: list[Candidates] = []
    for number, recording in enumerate(DATA_SETS[dataset].load(root, key)):
        finite = recording.values[np.isfinite(recording.values)]
        order = np.argsort(recording.times_s, kind="stable")
        recording = replace(
            recording, times_s=recording.times_s[order], values=recording.values[order], labels=recording.labels[order]
        )
        if number % EVERY.get(dataset, 1):
            continue
        if len(finite) < 500 or len(np.unique(finite)) < 20 or np.mean(np.diff(finite) == 0) > 0.8:
            continue
        twin = _background(recording)
        for attempt in range(PASSES[dataset]):
            rng = np.random.default_rng([seed, attempt, number, *key.encode()])
            # One pass of each series is left as it is.
            changed, spans = twin, []
            if not attempt and dataset == "ms_cloud_monitoring":
                changed, spans = recording, [(e.start, e.end, 1.0) for e in recording.events]
            if attempt:
                injector = Injector(twin, rng)
                kinds = injector.applicable()
                rng.shuffle(kinds)
                weeks = float(twin.times_s[-1] - twin.times_s[0]) / (7 * DAY_S)
                count = max(round(weeks * rng.uniform(1, 7)), 1)
                faults = [f for i in range(count) if (f := injector.inject(kinds[i % len(kinds)])) is not None]
                if not faults:
                    continue
                changed = injector.finished(faults).recording
                spans = [(f.start, f.end, 1.0 if f.critical or f.kind == "spike" else LESSER) for f in faults]
            one = candidates(changed, spans)
            if one is not None:
                found.append(one)
    return joined(found) if found else None


def joined(some: list[Candidates]) -> Candidates:
    """All of them as one."""
    return Candidates(
        np.concatenate([c.features for c in some]), np.concatenate([c.run for c in some]),
        np.concatenate([c.fault for c in some]), np.concatenate([c.weight for c in some]),
    )  # fmt: skip


def table_of(model: Boosting) -> Floats:
    """The model as kernels.pattern reads it."""
    parts = [np.array([len(model.leaves), model.bias], np.float64)]
    for features, thresholds, leaves in zip(model.features, model.thresholds, model.leaves, strict=True):
        pairs = np.column_stack([features, thresholds]).astype(np.float64)
        parts += [pairs.reshape(-1), leaves]
    return np.concatenate(parts)


@dataclass(slots=True)
class _Gathered:
    """Candidates of all seeds, and which of them are of a unit kept aside."""

    candidates: Candidates
    aside: NDArray[np.bool_]


def _gather(root: Path, seeds: Sequence[int], jobs: int) -> _Gathered:
    units = [
        (name, key) for name in trainable(PASSES) if (root / name).is_dir() for key in DATA_SETS[name].keys(root)
    ]  # fmt: skip
    work = [(number, name, key, seed) for seed in seeds for number, (name, key) in enumerate(units)]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with (
        ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool,
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
    ):
        futures = [pool.submit(unit_candidates, root, name, key, seed) for _, name, key, seed in work]
        found = [future.result() for future in progress.track(futures, description="candidates")]
    # In the order of the work, so that a run can be repeated to the bit.
    kept = [(number, one) for (number, *_), one in zip(work, found, strict=True) if one is not None]
    if not kept:
        raise SystemExit(f"no recordings to train on at {root} (GATEWAY_DETECTION_DATA)")
    whole = joined([one for _, one in kept])
    whole.weight /= len(seeds)
    return _Gathered(whole, np.concatenate([np.full(len(one.fault), number % 5 == 0) for number, one in kept]))


def _table(name: str, gathered: _Gathered, chosen: NDArray[np.bool_], trees: int) -> Floats:
    """Fit one table, and say what it is worth."""
    whole = gathered.candidates
    features, fault, weight = whole.features[chosen], whole.fault[chosen], whole.weight[chosen]
    unasked = [FEATURE_NAMES.index(feature) for feature in UNASKED]
    aside = gathered.aside[chosen]
    print(f"{name}: {len(fault):,} candidates, faults {weight[fault == 1].sum():.0f} of weight {weight.sum():.0f}")
    # A fifth of the units says what the fit is worth.
    trial = fit(
        features[~aside], fault[~aside], weight[~aside], trees=trees, ridge=RIDGE, unasked=unasked,
        watch=(features[aside], fault[aside], weight[aside]),
    )  # fmt: skip
    print(
        f"{name}: loss on units kept aside {trial.loss:.4f}, best after {trial.best} trees; "
        f"{trial.constant_loss:.4f} without features"
    )
    model = fit(features, fault, weight, trees=trees, ridge=RIDGE, unasked=unasked)
    shares = zip(FEATURE_NAMES, model.gains / float(model.gains.sum()), strict=True)
    ranked = sorted(shares, key=lambda pair: -pair[1])
    print(f"{name}: " + ", ".join(f"{feature} {share:.3f}" for feature, share in ranked), flush=True)
    return table_of(model)


def main() -> int:
    """Collect, fit, write."""
    parser = argparse.ArgumentParser(prog="bench.detection.train", description=__doc__)
    parser.add_argument("--seeds", default="3,4,5", help="of the faults, comma-separated")
    parser.add_argument("--trees", type=int, default=400)
    parser.add_argument("--jobs", type=int, default=2, help="processes that gather candidates")
    parser.add_argument("--output", type=Path, default=MODEL)
    arguments = parser.parse_args()
    gathered = _gather(data_root(), [int(seed) for seed in arguments.seeds.split(",")], arguments.jobs)
    run = gathered.candidates.run
    tables = [_table(name, gathered, chosen, arguments.trees) for name, chosen in (("runs", run), ("others", ~run))]
    np.savez_compressed(arguments.output, table=np.concatenate(tables).astype(np.float32))
    print(f"{arguments.output}: {sum(len(table) for table in tables):,} numbers")
    return 0


if __name__ == "__main__":
    sys.exit(main())
