"""What goes without the command line: options that are plain, and a supervisor that holds little."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.__main__ import plain_options

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        ([], (None, [])),
        (["--config", "a.toml"], (Path("a.toml"), [])),
        (["-c", "a.toml", "--set", "a.b=c", "--set=d.e=-1"], (Path("a.toml"), ["a.b=c", "d.e=-1"])),
        (["--config=a.toml", "--config", "b.toml"], (Path("b.toml"), [])),
        (["--help"], None),
        (["--set"], None),
        (["--set", ""], None),
        (["--set", "--help"], None),
        (["-ca.toml"], None),
        (["-c=a.toml"], None),
        (["--conf", "a.toml"], None),
        (["--", "--set", "a.b=c"], None),
        (["more"], None),
    ],
)
def test_only_plain_options_are_read_without_the_command_line(
    arguments: list[str], meant: tuple[Path | None, list[str]] | None
) -> None:
    assert plain_options(arguments) == meant


def test_the_supervisor_loads_nothing_that_it_does_not_need() -> None:
    program = (
        "import sys; from gateway.__main__ import _leave_out_rich; _leave_out_rich(); import gateway.supervision; "
        "print(*({'rich', 'typer', 'pydantic', 'prometheus_client', 'numpy', 'numba', 'aiohttp', 'uvloop'} "
        "& set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2])
def test_signals_of_a_running_gateway_do_not_end_one_that_starts(number: signal.Signals) -> None:
    program = (
        "import os, sys, gateway.__main__ as entry; sys.argv = ['gateway', 'serve']; "
        f"entry.import_module = lambda name: os.kill(os.getpid(), {int(number)}) or sys.exit(42); "
        "entry._leave_out_rich = lambda: None; entry.main()"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=60, check=False).returncode == 42
