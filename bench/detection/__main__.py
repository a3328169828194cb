"""`python -m bench.detection`: the protocol over the labelled recordings and over injected faults."""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench.detection import plots, report
from bench.detection.datasets import DATA_SETS, LABELLED
from bench.detection.detectors import Detector, Gateway, ablations
from bench.detection.evaluate import Piece, correlated, injected_slice, labelled_unit, silent_cases
from bench.detection.forecasts import forecast_rows
from bench.detection.incidents import SIZES
from bench.detection.injections import plan
from bench.detection.peer_scores import comparison
from bench.detection.peers_ewma import Ewma
from bench.detection.peers_sketch import Sketch
from bench.detection.recordings import REPOSITORY, data_root
from bench.detection.silent import silent_plan

Work = Callable[[Detector], list[Piece]]
QUICK_UNITS = {"nab": 1, "wsd": 4, "aiops_kpi": 4, "ms_cloud_monitoring": 1}
"""With --quick: these sets, and every so many-th of their units."""


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="bench.detection", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a subset, for development")
    parser.add_argument(
        "--sets", help=f"comma-separated: {', '.join(LABELLED)}, injected, silent, forecast (default: all)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the injected faults and the bootstrap")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument(
        "--detector", default="gateway", help="gateway, or a floor peer: ewma, sketch (ewma:8 = threshold)"
    )
    parser.add_argument("--sensitivity", default="balanced", help="quiet, balanced or keen")
    parser.add_argument("--ablate", help=f"comma-separated NAME or NAME=VALUE of: {', '.join(ablations())}")
    parser.add_argument("--no-plots", action="store_true", help="do not draw the worst misses and false alerts")
    parser.add_argument("--write", action="store_true", help="write bench/RESULTS.md also from a partial run")
    return parser.parse_args(argv)


def _detector(arguments: argparse.Namespace, overrides: tuple[tuple[int, float], ...] = ()) -> Detector:
    name, _, threshold = arguments.detector.partition(":")
    if name == "ewma":
        return Ewma(float(threshold or 5.0))
    if name == "sketch":
        return Sketch(float(threshold or 5.0))
    if name != "gateway":
        raise SystemExit(f"--detector {name}: expected gateway, ewma or sketch")
    return Gateway(arguments.sensitivity, overrides)


def _work(arguments: argparse.Namespace, root: Path) -> list[tuple[str, Work]]:
    """Every piece of work of the run with its name; sets whose folder is absent are skipped with a message."""
    known = [*LABELLED, "injected", "silent", "forecast"]
    wanted = arguments.sets.split(",") if arguments.sets else known
    if unknown := set(wanted) - set(known):
        raise SystemExit(f"--sets {','.join(sorted(unknown))}: expected some of {', '.join(known)}")
    work: list[tuple[str, Work]] = []
    for name in LABELLED:
        if name not in wanted or (arguments.quick and not arguments.sets and name not in QUICK_UNITS):
            continue
        if not (root / name).is_dir():
            print(f"skipped {name}: {root / name} is not there (GATEWAY_DETECTION_DATA)", file=sys.stderr)
            continue
        keys = DATA_SETS[name].keys(root)[:: QUICK_UNITS.get(name, 4) if arguments.quick else 1]
        work += [(f"{name} {key}", partial(labelled_unit, root, name, key)) for key in keys]
    if "injected" in wanted:
        work += [
            (f"injected {piece.dataset} {piece.key}", partial(injected_slice, root, piece, arguments.seed))
            for piece in plan(root, quick=arguments.quick)
        ]
        numbers = range(0, len(SIZES), 3 if arguments.quick else 1)
        work += [(f"incident {n}", partial(correlated, root, n, arguments.seed)) for n in numbers]
    if "silent" in wanted:
        work += [
            (f"silent {piece.dataset} {piece.key}", partial(silent_cases, root, piece, arguments.seed))
            for piece in silent_plan(root, quick=arguments.quick)
        ]
    return work


def _run(work: list[tuple[str, Work]], detector: Detector, jobs: int) -> list[Piece]:
    pieces: list[Piece] = []
    # Results are gathered in the order of the work, not of completion, so that a run can be repeated to the bit.
    done: dict[int, list[Piece]] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with (
        ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn")) as pool,
        Progress(*columns, console=console, disable=not console.is_terminal) as progress,
    ):
        bar = progress.add_task("detection", total=len(work))
        futures: dict[Future[list[Piece]], int] = {pool.submit(do, detector): i for i, (_, do) in enumerate(work)}
        for future in as_completed(futures):
            i = futures[future]
            done[i] = future.result()
            progress.update(bar, advance=1, description=work[i][0][:40].ljust(40))
    for i in range(len(work)):
        pieces += done[i]
    return pieces


def _overrides(text: str) -> list[tuple[str, tuple[int, float]]]:
    known = ablations()
    out = []
    for part in text.split(","):
        name, _, value = part.partition("=")
        if name not in known:
            raise SystemExit(f"--ablate {name}: expected some of {', '.join(known)}")
        out.append((part, (known[name], float(value or 0.0))))
    return out


def _ablation_table(results: list[tuple[str, list[dict[str, Any]]]]) -> str:
    lines = ["| part | " + " | ".join(("set", "recall", "false share", "per series-day", "VUS-PR")) + " |",
             "| --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for name, rows in results:
        for row in rows:
            if "events" in row or row.get("fault") == "all critical" or row["set"] == "twins":
                cells = (row["set"], row.get("recall"), row.get("false_share"), row.get("false_per_series_day"),
                         row.get("vus_pr", row.get("vus_pr_raised")))  # fmt: skip
                lines.append(f"| {name} | " + " | ".join("–" if c is None else str(c) for c in cells) + " |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run, print one JSON line a figure, write tables and plots."""
    arguments = _arguments(argv)
    root = data_root()
    work = _work(arguments, root)
    forecasts = not arguments.sets or "forecast" in arguments.sets.split(",")
    if not work and not (forecasts and root.is_dir()):
        print(f"nothing to do: no recordings at {root}", file=sys.stderr)
        return 0
    began = time.monotonic()
    if arguments.ablate:
        results = []
        variants = [("whole", ()), *((f"without {n}", (o,)) for n, o in _overrides(arguments.ablate))]
        for name, overrides in variants:
            rows = report.figures(_run(work, _detector(arguments, overrides), arguments.jobs), seed=arguments.seed)
            print(report.json_lines({"ablation": name, **row} for row in rows))
            results.append((name, rows))
        print(_ablation_table(results), file=sys.stderr)
        return 0
    pieces = _run(work, _detector(arguments), arguments.jobs)
    rows = report.figures(pieces, seed=arguments.seed)
    rows += comparison(root, {piece.dataset for piece in pieces})
    if forecasts:
        rows += report.rounded(forecast_rows(root))
    print(report.json_lines(rows))
    took = time.monotonic() - began
    points = sum(piece.points for piece in pieces)
    print(f"{points:,} points in {took:.0f} s on {arguments.jobs} processes", file=sys.stderr)
    full = not (arguments.quick or arguments.sets) and arguments.detector == "gateway"
    # Without recordings there is nothing to put in the place of what an earlier run found.
    if rows and (full or arguments.write):
        command = "make bench-detection" + (f" ARGS='{' '.join(sys.argv[1:])}'" if sys.argv[1:] else "")
        report.write_results(REPOSITORY / "bench" / "RESULTS.md", report.markdown(rows, command=command))
    if not arguments.no_plots:
        folder = REPOSITORY / ".artefacts" / "detection"
        written = plots.draw(((piece.dataset, s) for piece in pieces for s in piece.snippets), folder)
        print(f"{len(written)} plots in {folder}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
