"""What the check of the pins notices, on made-up locks and packages."""

from __future__ import annotations

import importlib.util
from importlib.metadata import Distribution
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

ROOT = Path(__file__).resolve().parents[3]
SPEC = importlib.util.spec_from_file_location("check_lock", ROOT / "deploy" / "check_lock.py")
assert SPEC is not None
assert SPEC.loader is not None
check_lock: Any = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(check_lock)


def package(version: str, *requires: str) -> Distribution:
    return cast(Distribution, SimpleNamespace(version=version, requires=list(requires)))


def test_the_repository_s_lock_pins_everything_it_asks_for() -> None:
    pins, wrong = check_lock.pinned((ROOT / "requirements.lock").read_text())
    wanted = check_lock.asked_for((ROOT / "pyproject.toml").read_text(), (ROOT / "requirements-build.in").read_text())
    assert not wrong
    assert not check_lock.unpinned(pins, wanted)


def test_ranges_and_addresses_are_no_pins() -> None:
    lines = ["a==1.0  # via b", "b>=1", "c==1.*", "d @ https://a.test/d.whl", "-e .", "e==2 ; python_version < '3'"]
    pins, wrong = check_lock.pinned("\n".join(lines))
    assert list(pins) == ["a"]
    assert [line.split(":")[1] for line in wrong] == ["2", "3", "4", "5"]


def test_what_is_asked_for_must_be_pinned_within_its_limits() -> None:
    pyproject = '[project]\ndependencies = ["A_b>=2", "c"]\noptional-dependencies = {x = ["d<3"]}\n'
    pins, _ = check_lock.pinned("a-b==1.9\nd==2.5\n")
    found = check_lock.unpinned(pins, check_lock.asked_for(pyproject, "e  # for the build\n"))
    assert found == [
        "a-b==1.9 is not what is asked for: A_b>=2",
        "c is not in requirements.lock: make lock",
        "e is not in requirements.lock: make lock",
    ]


def test_what_is_installed_must_be_what_is_pinned_and_agree() -> None:
    pins, _ = check_lock.pinned("a==1.0\nb==2.0\nc==3.0\n")
    installed = {
        "a": package("1.1"),
        "b": package("2.0", "a>=1.2", "gone", 'never; extra == "x"', "c<4"),
        "other": package("9"),
    }
    assert check_lock.differing(pins, installed) == [
        "c==3.0 is not installed: make setup",
        "a 1.1 is installed, a==1.0 is pinned: make setup",
        "b needs a>=1.2, and 1.1 is installed",
        "b needs gone, which is not installed",
        "b needs c<4, which is not installed",
    ]
