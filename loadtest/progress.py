"""Progress on standard error: a bar on a terminal, now and then a line elsewhere. Figures go to standard output."""

from __future__ import annotations

import contextlib
import json
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

ERRORS = Console(stderr=True, highlight=False)
_LINE_SECONDS = 10.0


def say(text: str) -> None:
    """A line for people."""
    ERRORS.print(text, markup=False, soft_wrap=True)


def figure(line: Mapping[str, Any]) -> None:
    """A JSON line for programs."""
    print(json.dumps(line), flush=True)


@contextlib.contextmanager
def bar(title: str, total: int | None) -> Iterator[Callable[[int], None]]:
    """Gives a function that is told how far it is; `total` None = unknown."""
    if not sys.stderr.isatty():
        last = time.monotonic()

        def tell(done: int) -> None:
            nonlocal last
            if time.monotonic() - last > _LINE_SECONDS:
                last = time.monotonic()
                say(f"{title}: {done:,}" + (f" of {total:,}" if total else ""))

        yield tell
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=ERRORS, transient=True) as progress:
        task = progress.add_task(title, total=total)
        yield lambda done: progress.update(task, completed=done)


def machine() -> str:
    """Processor, cores, kernel."""
    model = "unknown processor"
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    cores = len([line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("processor")])
    return f"{model}, {cores} cores, Linux {platform.release()}, Python {platform.python_version()}"
