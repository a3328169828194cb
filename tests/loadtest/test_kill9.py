"""kill -9 of the gateway's processes while points arrive, with the ledger's verdict."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from loadtest.generator.work import Work
from loadtest.kill9 import kill9

pytestmark = pytest.mark.real


def test_nothing_acknowledged_is_lost_by_kill_9(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if shutil.which("victoria-metrics") is None:
        pytest.skip("the Debian package victoria-metrics is not installed")
    work = Work(
        "otlp-http", "http://127.0.0.1:1/", series=2_000, batch=200, requests=1, rate=10_000.0, connections=4,
        step_ms=1_000,
    )  # fmt: skip
    status = kill9(tmp_path, work, kills=3, seed=7)
    figures = json.loads(capsys.readouterr().out)
    assert figures["lost"] == figures["wrong"] == 0, figures
    assert figures["acknowledged"] > 0
    assert status == 0
