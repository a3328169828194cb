"""Every fault in one run and one table: of VictoriaMetrics, processes, clients, files, disks, kills, alerts."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import structlog

from loadtest import (
    alert_kills,
    availability,
    fault_table,
    faults_clients,
    faults_files,
    faults_process,
    faults_storage,
    faults_target,
    kill9,
    noisy_tenant,
    overload,
    scene,
)
from loadtest.fault_table import Line
from loadtest.generator.work import Work
from loadtest.processes import LoadTestError
from loadtest.progress import bar, figure, say
from loadtest.scene import Load

Play = Callable[[Path, Load, bool], Line]
"""A scenario: directory of its own, load, whether it is to be quick."""

STAGED: Final = {**faults_target.FAULTS, **faults_process.FAULTS, **faults_clients.FAULTS, **availability.FAULTS}


def _staged(name: str) -> Play:
    return lambda directory, load, quick: scene.play(directory, name, STAGED[name], load)


def _files(damage: str, pattern: str, from_scratch: bool) -> Play:
    def play(directory: Path, load: Load, quick: bool) -> Line:
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
        step = 97 if quick else 2
        return asyncio.run(faults_files.line(directory, damage, pattern, step, from_scratch=from_scratch))

    return play


def _storage(name: str) -> Play:
    return lambda directory, load, quick: faults_storage.line(name, 1 if quick else 5)


def _kills(directory: Path, load: Load, quick: bool) -> Line:
    work = Work("otlp-http", "http://127.0.0.1:1/", series=1_000, batch=100, seconds=1.0, rate=500.0, connections=2,
                step_ms=15_000)  # fmt: skip
    return kill9.trial(directory, work, 5 if quick else 50, seed=1)


def _alerts(directory: Path, load: Load, quick: bool) -> Line:
    return alert_kills.line(directory, 10 if quick else 100, seed=1)


SCENARIOS: Final[dict[str, tuple[str, Play]]] = {
    **{name: (fault.title, _staged(name)) for name, fault in STAGED.items()},
    **{name: (title, partial(overload.play, name)) for name, (_, title) in overload.TITLES.items()},
    "noisy-tenant": (noisy_tenant.TITLE, noisy_tenant.play),
    **{
        name: (faults_files.title(*what), _files(*what)) for name, what in faults_files.SCENARIOS.items()
    },
    **{f"disk-{name}": (faults_storage.TITLES[name], _storage(name)) for name in faults_storage.FAULTS},
    "kill9": ("kill -9 at random moments", _kills),
    "alert-kills": ("alert router: kill -9 at random moments", _alerts),
}  # fmt: skip


def titles() -> dict[str, str]:
    """Of every scenario, by name."""
    return {name: title for name, (title, _) in SCENARIOS.items()}


def report(recorded: Sequence[Path], document: Path | None) -> int:
    """Show one table of what several runs printed, in the order of the scenarios; the last line of each counts."""
    found: dict[str, Line] = {}
    for path in recorded:
        for text in path.read_text().splitlines():
            line = Line.from_figures(json.loads(text))
            found[line.fault] = line
    order = list(SCENARIOS)
    lines = sorted(found.values(), key=lambda line: order.index(line.fault))
    fault_table.show(lines)
    if document is not None:
        document.write_text(fault_table.markdown(lines))
    missing = [name for name in SCENARIOS if name not in found]
    if missing:
        say(f"not recorded: {', '.join(missing)}")
    return 0 if all(line.passed for line in lines) and not missing else 1


def faults(
    directory: Path, only: Sequence[str], load: Load, *, quick: bool = False, document: Path | None = None
) -> int:
    """`loadtest faults`. Returns the exit status. Raises LoadTestError for an unknown name."""
    unknown = set(only) - set(SCENARIOS)
    if unknown:
        raise LoadTestError(f"no such fault: {', '.join(sorted(unknown))}; there are {', '.join(SCENARIOS)}")
    lines: list[Line] = []
    impossible: list[str] = []
    chosen = [name for name in SCENARIOS if not only or name in only]
    with bar("faults", len(chosen)) as progress:
        for number, name in enumerate(chosen):
            title, play = SCENARIOS[name]
            say(f"{number + 1}/{len(chosen)} {name}: {title}")
            progress(number)
            try:
                line = play(directory / name, load, quick)
            except (LoadTestError, OSError, RuntimeError, TimeoutError, AssertionError) as error:
                impossible.append(name)
                say(f"{name}: COULD NOT BE DONE: {error}")
                continue
            line = replace(line, fault=name, detail={**line.detail, "load_average": round(os.getloadavg()[0], 1)})
            lines.append(line)
            figure(line.figures())
            if not line.passed:
                say(f"{name}: FAILED: {line.detail.get('failures') or 'see its line'}")
    fault_table.show(lines)
    if document is not None:
        document.write_text(fault_table.markdown(lines))
    failed = [line.fault for line in lines if not line.passed]
    for word, names in (("failed", failed), ("could not be done", impossible)):
        if names:
            say(f"{word}: {', '.join(names)}")
    if not failed and not impossible:
        say(f"{len(lines)} scenarios, {sum(line.injected for line in lines):,} faults: nothing acknowledged was lost")
    return 1 if failed or impossible else 0
