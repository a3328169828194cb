"""`gateway detect`: the online detector over recordings."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from gateway.baseline.offline import run_series
from gateway.baseline.recording import read_recording, recording_name, require_distinct, write_scores
from gateway.baseline.settings import DetectionSettings, Sensitivity
from gateway.baseline.span_file import Window, read_windows, strangers
from gateway.errors import ConfigError, GatewayError
from gateway.settings_types import Duration
from kernels.series_state import OPENED


@dataclass(frozen=True, slots=True)
class Detected:
    """What became of one recording."""

    name: str
    output: Path
    rows: int
    extra_rows: int
    alerts: int
    late: int
    repeated: int
    windows: frozenset[Window]
    """Maintenance windows that hold a sample of it."""


def _output(source: Path, output_dir: Path) -> Path:
    return output_dir / f"{recording_name(source)}.csv"


def detect_file(
    source: Path,
    output_dir: Path,
    interval: float | None,
    kind: Literal["gauge", "counter"],
    settings: DetectionSettings,
    maintenance: Sequence[Window],
) -> Detected:
    """Score one recording and write it. maintenance: windows of this and other recordings. Raises ConfigError."""
    recording = read_recording(source)
    windows = [window for window in maintenance if window.recording in ("", recording.name)]
    result = run_series(
        recording.times_s,
        recording.values,
        kind=kind,
        interval=interval,
        settings=settings,
        frozen=[(window.start, window.end) for window in windows],
    )
    output = _output(source, output_dir)
    try:
        write_scores(output, result, recording.iso)
    except OSError as error:
        raise ConfigError(f"cannot be written: {error.strerror}", source=str(output)) from error
    alerts = int((result.transitions["kind"] == OPENED).sum())
    extra = int(result.extra.sum())
    reached = np.maximum.accumulate(recording.times_s)
    met = frozenset(w for w in windows if np.searchsorted(reached, w.start) < np.searchsorted(reached, w.end))
    return Detected(recording.name, output, len(recording.values), extra, alerts, result.late, result.repeated, met)


def _warn(text: str) -> None:
    sys.stderr.write(f"warning: {text}\n")


def _unmet(windows: Sequence[Window], done: Sequence[Detected], source: Path) -> Iterator[str]:
    """What to say after the work of windows that hold no sample of the recordings they are for."""
    met = frozenset[Window]().union(*(one.windows for one in done))
    names = {"", *(one.name for one in done)}
    for window in windows:
        if window.recording in names and window not in met:
            yield f"{source}: line {window.line}: no sample lies in this window"


def detect(
    inputs: list[Path],
    output_dir: Path,
    interval: float | None = None,
    kind: Literal["gauge", "counter"] = "gauge",
    jobs: int = 1,
    sensitivity: Sensitivity = "balanced",
    maintenance: Path | None = None,
    warn: Callable[[str], None] = _warn,
) -> list[Detected]:
    """Score every recording; results in the order of `inputs`. interval: seconds, None = learned. maintenance: a file
    as `read_windows` reads it, of windows in which learning is frozen; `warn` is called for those without effect.

    Raises ConfigError before anything is written for two inputs of the same name and for an output that would
    replace an input; for a recording that cannot be read or written, after all others.
    """
    require_distinct(inputs)
    sources = {path.resolve() for path in inputs}
    for path in inputs:
        if _output(path, output_dir).resolve() in sources:
            problem = f"{_output(path, output_dir)} is an input and would be replaced"
            raise ConfigError(problem, key="--output-dir", expected="a directory without the recordings")
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        problem = f"{output_dir} cannot be used: {error.strerror}"
        raise ConfigError(problem, key="--output-dir", expected="a directory to write to") from error
    settings = DetectionSettings(sensitivity=sensitivity)
    windows = read_windows(maintenance) if maintenance is not None else []
    if maintenance is not None:
        for text in strangers(windows, map(recording_name, inputs), maintenance, "window"):
            warn(text)
    done: dict[Path, Detected] = {}
    failed: list[GatewayError] = []
    console = Console(stderr=True)
    # Threads suffice: the kernels and the file readers release the interpreter.
    with (
        Progress(console=console, disable=not console.is_terminal) as progress,
        ThreadPoolExecutor(max_workers=jobs) as pool,
    ):
        bar = progress.add_task("detect", total=len(inputs))
        futures = {
            pool.submit(detect_file, path, output_dir, interval, kind, settings, windows): path for path in inputs
        }
        for future in as_completed(futures):
            try:
                done[futures[future]] = future.result()
            except GatewayError as error:
                failed.append(error)
            progress.advance(bar)
    if failed:
        raise failed[0]
    results = [done[path] for path in inputs]
    if maintenance is not None:
        for text in _unmet(windows, results, maintenance):
            warn(text)
    return results


def _command(
    inputs: Annotated[list[Path], typer.Option("--input", help="A recording, CSV or Parquet; may be repeated.")],
    output_dir: Annotated[Path, typer.Option("--output-dir", help="Where the scored recordings go.")],
    interval: Annotated[str, typer.Option(help="Step of the recording, for example 60s; learned if absent.")] = "",
    kind: Annotated[str, typer.Option(help="gauge, or counter to score its rate.")] = "gauge",
    jobs: Annotated[int, typer.Option(min=1, help="Recordings worked on at the same time.")] = 1,
    sensitivity: Annotated[str, typer.Option(help="quiet, balanced or keen.")] = "balanced",
    maintenance: Annotated[
        Path | None, typer.Option(help="CSV with start,end[,recording]: windows in which learning is frozen.")
    ] = None,
) -> None:
    """Score recordings with the online detector, row by row, and write what it would have said.

    Examples:

      gateway detect --input cpu.csv --output-dir scored

      gateway detect --input a.parquet --input b.parquet --output-dir scored --jobs 2

      gateway detect --input requests.csv --kind counter --interval 15s --output-dir scored

      gateway detect --input db.csv --maintenance windows.csv --output-dir scored
    """
    try:
        step = float(Duration.parse(interval)) if interval else None
    except ValueError as error:
        sys.stderr.write(f"--interval: {error}\n")
        raise typer.Exit(2) from None
    try:
        if kind not in ("gauge", "counter"):
            raise ConfigError(f'"{kind}" is no kind of series', key="--kind", expected="gauge or counter")
        if sensitivity not in ("quiet", "balanced", "keen"):
            raise ConfigError(f'"{sensitivity}"', key="--sensitivity", expected="quiet, balanced or keen")
        results = detect(
            inputs,
            output_dir,
            step,
            "counter" if kind == "counter" else "gauge",
            jobs,
            sensitivity,  # type: ignore[arg-type]
            maintenance,
        )
    except GatewayError as error:
        sys.stderr.write(f"{error}\n")
        raise typer.Exit(2) from None
    for one in results:
        notes = [f"{one.rows} rows", f"{one.alerts} alerts"]
        notes += [f"{count} {what}" for count, what in ((one.late, "late"), (one.repeated, "repeated")) if count]
        sys.stdout.write(f"{one.output}: {', '.join(notes)}\n")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("detect")(_command)
