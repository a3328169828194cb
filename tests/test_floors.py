"""The floors hold, and the contract that says so is not asleep."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
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
    "gateway/decode/settings.py": "from gateway.log import settings",
    "gateway/series/settings.py": "import socket",
    "gateway/forward/settings.py": "from gateway.baseline import settings",
    "proto/otlp.py": "from kernels import jit",
    "gateway/errors.py": "from gateway import clock",
    "gateway/bounded_text.py": "from gateway import errors",
    "gateway/http_date.py": "from gateway import errors",
    "gateway/owned_tasks.py": "from gateway.telemetry import kind",
    "gateway/settings_types.py": "from gateway import addresses",
    "gateway/addresses.py": "from gateway import settings_types",
    "gateway/data_directory.py": "from gateway import addresses",
    "gateway/selfmetrics.py": "from gateway.telemetry import kind",
    "gateway/clock.py": "from gateway.access import settings",
    "gateway/logging_setup.py": "from gateway import clock",
    "gateway/access/settings.py": "from gateway.telemetry import kind",
    "gateway/alerting/settings.py": "from gateway.pipeline import feed",
    "gateway/pipeline/feed.py": "from gateway.alerting import settings",
    "gateway/probes/settings.py": "from gateway import web",
    "gateway/web/self_watch_settings.py": "from gateway import config",
    "gateway/config.py": "from gateway import config_check",
    "gateway/config_check.py": "from gateway import config_reference",
    "gateway/config_reference.py": "from gateway import role_names",
    "gateway/role_names.py": "from gateway import role_lines",
    "gateway/role_lines.py": "from gateway import heartbeat",
    "gateway/heartbeat.py": "from gateway import processes",
    "gateway/processes.py": "from gateway import fork_server",
    "gateway/fork_server.py": "from gateway import supervisor",
    "gateway/supervisor.py": "from gateway import data_role",
    "gateway/data_role.py": "from gateway import control_role",
    "gateway/control_role.py": "from gateway import app",
    "gateway/app.py": "from gateway import role_process",
    "gateway/role_process.py": "from gateway import supervision",
    "gateway/supervision.py": "from gateway.commands import serve",
    "gateway/commands/serve.py": "from gateway import command_line",
    "gateway/command_line.py": "from gateway import __main__",
}
"""By file, an import that its floor forbids: one at least for each floor but the topmost."""


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


def test_every_floor_has_a_planted_violation() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(c["layers"] for c in contracts if c.get("exhaustive"))
    floors = {name.strip() for layer in layers for name in layer.split("|")} - {"__main__"}
    importers = {Path(file).parts[1].removesuffix(".py") for file in PLANTED if file.startswith("gateway/")}
    assert importers == floors


def test_a_module_that_stands_on_no_floor_is_caught(tmp_path: Path) -> None:
    _copy_tree(tmp_path)
    (tmp_path / "gateway" / "stray.py").write_text("from __future__ import annotations\n")
    result = _lint(tmp_path)
    assert result.returncode != 0
    assert "stray" in result.stdout + result.stderr


def test_the_tree_keeps_its_floors() -> None:
    result = _lint(ROOT)
    assert result.returncode == 0, result.stdout + result.stderr
