"""What is made of pip-audit's answers: a vulnerability fails, and what it has no answer for is never called clean."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
SPEC = importlib.util.spec_from_file_location("audit", ROOT / "deploy" / "audit.py")
assert SPEC is not None
assert SPEC.loader is not None
audit: Any = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(audit)

CLEAN = {"name": "a", "version": "1.0", "vulns": []}
VULNERABLE = {
    "name": "b", "version": "2.0",
    "vulns": [{"id": "PYSEC-2020-1", "fix_versions": ["2.1"], "aliases": [], "description": "bad"}],
}  # fmt: skip
UNKNOWN = {"name": "c", "skip_reason": "Dependency not found: c (1.0)"}


@pytest.mark.parametrize(
    ("dependencies", "strict", "if_reached"),
    [
        ([CLEAN], 0, 0),
        ([CLEAN, VULNERABLE], 1, 1),
        ([CLEAN, UNKNOWN], 1, 0),
        ([UNKNOWN, VULNERABLE], 1, 1),
        ([], 1, 0),
        (None, 1, 0),
    ],
)
def test_what_was_not_audited_is_said_and_fails_where_asked_to(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    dependencies: list[dict[str, Any]] | None,
    strict: int,
    if_reached: int,
) -> None:
    program = tmp_path / "pip-audit"
    answer = "no connection" if dependencies is None else json.dumps({"dependencies": dependencies, "fixes": []})
    program.write_text(f"#!{sys.executable}\nprint({answer!r})\n")
    program.chmod(0o755)
    for status, words in (strict, []), (if_reached, ["--if-reached"]):
        monkeypatch.setattr(sys, "argv", ["audit.py", str(program), *words])
        assert audit.main() == status
        out, err = capsys.readouterr()
        assert ("NOT AUDITED" in err) is (not dependencies or UNKNOWN in dependencies)
        assert ("b 2.0: PYSEC-2020-1, mended in 2.1" in err) is (VULNERABLE in (dependencies or []))
        assert "dependencies audited" in out


def test_without_the_program_nothing_was_audited(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["audit.py", str(tmp_path / "none")])
    assert audit.main() == 1


@pytest.mark.parametrize("answer", ["", "[]"])
def test_why_nothing_was_audited_is_said_of_all_that_is_pinned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answer: str
) -> None:
    program = tmp_path / "pip-audit"
    program.write_text(f"#!{sys.executable}\nimport sys\nprint({answer!r})\nsys.exit('the service is away')\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "argv", ["audit.py", str(program), "--if-reached"])
    assert audit.main() == 0
    pinned = sum("==" in line for line in (ROOT / "requirements.lock").read_text().splitlines())
    assert f"NOT AUDITED: {pinned}; " in (err := capsys.readouterr().err)
    assert "the service is away" in err
