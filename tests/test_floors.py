"""The floors hold, and the contract that says so is not asleep."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def _lint(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).parent / "lint-imports", "--no-logo", "--no-cache"],
        cwd=root,
        env={"PYTHONPATH": str(root), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _copy_tree(target: Path) -> None:
    for name in ("gateway", "kernels", "proto"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("node_modules", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", target)


PLANTED = {
    "gateway/log/writer.py": "from gateway.series import index",
    "gateway/telemetry/frame.py": "from gateway.pipeline import feed",
    "gateway/baseline/settings.py": "import asyncio",
    "kernels/jit.py": "from gateway import errors",
    "gateway/ingest/settings.py": "from gateway import config",
}


@pytest.fixture(scope="module")
def said_of_planted(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What import-linter says of a tree with all of them."""
    tree = tmp_path_factory.mktemp("planted")
    _copy_tree(tree)
    for file, line in PLANTED.items():
        planted = tree / file
        text = planted.read_text()
        at = text.index("from __future__ import annotations\n") + len("from __future__ import annotations\n")
        planted.write_text(f"{text[:at]}\n{line}\n{text[at:]}")
    result = _lint(tree)
    assert result.returncode != 0
    assert "BROKEN" in result.stdout
    return " ".join(result.stdout.split())


@pytest.mark.parametrize(("file", "line"), PLANTED.items())
def test_a_planted_violation_is_caught(said_of_planted: str, file: str, line: str) -> None:
    importer = file.removesuffix(".py").replace("/", ".")
    words = line.removeprefix("from ").replace(" import ", ".").removeprefix("import ").split(".")
    imported = ".".join(words)
    assert f"{importer} -> {imported}" in said_of_planted, said_of_planted


def test_a_module_that_stands_on_no_floor_is_caught(tmp_path: Path) -> None:
    _copy_tree(tmp_path)
    (tmp_path / "gateway" / "stray.py").write_text("from __future__ import annotations\n")
    result = _lint(tmp_path)
    assert result.returncode != 0
    assert "stray" in result.stdout + result.stderr


def test_the_tree_keeps_its_floors() -> None:
    result = _lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
