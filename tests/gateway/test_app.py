"""What a process exposes that has loaded both planes and is one of them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

WARMUP_SECONDS = 900.0
"""Some ten times what compiling everything takes on a machine at rest."""
ROOT = Path(__file__).resolve().parents[2]
SHOW = (
    "import re; from gateway import app, selfmetrics; {load}; app.load_role({role!r}); "
    "print(*re.findall(r'^# TYPE (\\S+)', selfmetrics.exposition().decode(), re.MULTILINE))"
)


@pytest.fixture(scope="module", autouse=True)
def compiled_kernels() -> None:
    """Compiling takes minutes, which is not the time that a role may take to load; done at once where they are. What it
    says is pytest's to show when it fails."""
    subprocess.run([sys.executable, "-m", "kernels.warmup"], cwd=ROOT, timeout=WARMUP_SECONDS, check=True)


def _exposed(load: str, role: str) -> list[str]:
    program = SHOW.format(load=load, role=role)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize("role", ["data-1", "control"])
def test_a_forked_role_exposes_what_one_that_loaded_its_plane_alone_does(role: str) -> None:
    alone = _exposed("pass", role)
    assert sorted(_exposed("app.load_for_fork(None)", role)) == sorted(alone)
    assert sorted(_exposed("app.load_for_fork('control'); app.load_for_fork('data')", role)) == sorted(alone)
    assert len(alone) == len(set(alone))


def test_a_process_loads_what_the_first_role_needs_and_the_rest_when_told_to() -> None:
    program = (
        "import sys; from gateway import app; "
        "shown = lambda: print(*(f'gateway.{p}_role' in sys.modules for p in ('data', 'control'))); "
        "print(app.load_for_fork('data-1')); shown(); print(app.load_for_fork('data')); "
        "print(app.load_for_fork(None)); shown(); print(app.load_for_fork('control'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.splitlines() == ["True", "True False", "False", "True", "True True", "False"]
