"""Known vulnerabilities of the pinned dependencies, by pip-audit.

    .venv/bin/python deploy/audit.py .audit/bin/pip-audit               make audit: what could not be asked for fails
    .venv/bin/python deploy/audit.py .audit/bin/pip-audit --if-reached  make lint: it is said, and does not fail

pip-audit asks an advisory service about each dependency and, unless told to be strict, passes over those it has no
answer for; then its verdict "none known" is said of nothing. Here they are counted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
OPTIONS = (
    "--requirement", "requirements.lock", "--disable-pip", "--no-deps", "--format", "json", "--progress-spinner", "off",
)  # fmt: skip
_SECONDS = 120.0


class Audit(NamedTuple):
    """asked: dependencies there are an answer for; vulnerable: a line for each vulnerability; unasked: why of the
    others."""

    asked: int
    vulnerable: list[str]
    unasked: list[str]


def read(document: dict[str, Any]) -> Audit:
    """pip-audit's JSON. Raises KeyError and TypeError where it has another form, ValueError for one of nothing."""
    asked, vulnerable, unasked = 0, [], []
    for one in document["dependencies"]:
        if "skip_reason" in one:
            unasked.append(str(one["skip_reason"]))
            continue
        asked += 1
        for found in one["vulns"]:
            mended = ", ".join(found["fix_versions"]) or "no version"
            vulnerable.append(f"{one['name']} {one['version']}: {found['id']}, mended in {mended}")
    if not asked and not unasked:
        raise ValueError("it names no dependency")
    return Audit(asked, vulnerable, unasked)


def ask(program: Path) -> Audit:
    """Where pip-audit gives no answer, all that is pinned was not asked for."""
    said = ""
    try:
        ran = subprocess.run(  # noqa: S603  # the Makefile names the program
            [program, *OPTIONS], cwd=ROOT, capture_output=True, text=True, timeout=_SECONDS, check=False
        )
        said = ran.stderr.strip().rpartition("\n")[2]
        return read(json.loads(ran.stdout))
    except (OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired) as error:
        pinned = sum("==" in line for line in (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines())
        return Audit(0, [], [f"pip-audit gave no answer: {said or error}"] * pinned)


def main() -> int:
    """Says what is known; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path, help="pip-audit")
    parser.add_argument("--if-reached", action="store_true", help="do not fail where the service does not answer")
    given = parser.parse_args()
    audit = ask(given.program)
    for line in audit.vulnerable:
        print(line, file=sys.stderr)  # noqa: T201
    print(f"{audit.asked} dependencies audited, {len(audit.vulnerable)} known vulnerabilities")  # noqa: T201
    if audit.unasked:
        print(f"NOT AUDITED: {len(audit.unasked)}; the first: {audit.unasked[0]}", file=sys.stderr)  # noqa: T201
    return 1 if audit.vulnerable or (audit.unasked and not given.if_reached) else 0


if __name__ == "__main__":
    sys.exit(main())
