"""The table of faults, the slope of a soak, and some scenarios in short."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from loadtest import availability, faults, soak
from loadtest.fault_table import Line, markdown
from loadtest.prober import Probe
from loadtest.scene import QUICK, Load, Scene

LINE = Line("vm-down", "stopped", 2, 1000, 999, 1, passed=False, recovery_seconds=1.5, refused_share=0.25,
            longest_refusal_seconds=2.0, complete=0.999, detail={"load_average": 5.04})  # fmt: skip


def test_a_line_survives_its_record_and_the_table_shows_every_column() -> None:
    assert Line.from_figures(LINE.figures()) == LINE
    head, rule, row, _ = markdown([LINE]).split("\n")
    assert head.count("|") == rule.count("|") == row.count("|") == 13
    assert "| 1,000 | 999 | 1 | 0 | 0 | 1.50 | 25.00 % | 2.00 | 99.90 % | 5.0 |" in row
    assert row.startswith("| FAILED: stopped |")
    assert markdown([replace(LINE, passed=True, title="a|b")]).split("\n")[2].startswith("| a\\|b | 2 |")


def test_a_report_of_records_fails_when_a_line_did_or_when_scenarios_are_missing(tmp_path: Path) -> None:
    record = tmp_path / "lines.json"
    passed = {**LINE.figures(), "passed": True}
    record.write_text("\n".join(json.dumps({**passed, "fault": name}) for name in faults.SCENARIOS))
    assert faults.report([record], tmp_path / "table.md") == 0
    assert (tmp_path / "table.md").read_text().count("\n") == 2 + len(faults.SCENARIOS)
    record.write_text(json.dumps(passed))
    assert faults.report([record], None) == 1
    record.write_text("\n".join(json.dumps({**LINE.figures(), "fault": name}) for name in faults.SCENARIOS))
    assert faults.report([record], None) == 1


def test_names_of_scenarios_are_checked(tmp_path: Path) -> None:
    with pytest.raises(Exception, match="no such fault: nonsense"):
        faults.faults(tmp_path, ["nonsense"], Load())


def _walk(slope_mib: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two hours of readings of which each resembles the one before it."""
    draw = np.random.default_rng(seed)
    seconds = np.arange(0.0, 7200.0, 10.0)
    noise = np.zeros(len(seconds))
    for i in range(1, len(noise)):
        noise[i] = 0.9 * noise[i - 1] + draw.normal(0.0, 0.3)
    return seconds, (300.0 + slope_mib * seconds / 3600.0 + noise) * 2**20


def test_the_interval_of_a_slope_holds_the_true_one_and_tells_growth_from_none() -> None:
    found = [soak.slope("p", *_walk(2.0, seed)) for seed in range(20)]
    held = sum(one.low <= 2.0 <= one.high for one in found)
    assert held >= 15, "of 20 intervals of 95 % (blocks make them a little narrow)"
    assert not soak.slope("p", *_walk(20.0, 3)).flat
    assert soak.slope("p", *_walk(-20.0, 3)).flat, "shrinking is not growth"
    seconds, flat = _walk(0.0, 7)
    plain = soak.slope("p", seconds, flat)
    assert plain.high - plain.low > 0.5, "as wide as readings that resemble each other make it"


def test_a_record_is_read_without_its_beginning_and_by_the_longest_life(tmp_path: Path) -> None:
    rows = ["seconds,process,pid,rss_bytes,active_series,pending_points"]
    rows += [f"{i * 10},data,{1 if i < 20 else 2},{2**20 * (500 - i if i < 20 else 100)},1,0" for i in range(40)]
    record = tmp_path / "memory.csv"
    record.write_text("\n".join(rows))
    (found,) = soak.read(record, settle=250.0)
    assert (found.readings, found.mean_mib, found.starts) == (15, 100.0, 2)
    assert found.mib_per_hour == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(("probes", "refused", "holds"), [(9_999, 1, False), (10_000, 1, True), (50, 0, True)])
def test_of_ten_thousand_probes_one_may_be_refused_while_faults_follow_one_another(
    monkeypatch: pytest.MonkeyPatch, probes: int, refused: int, holds: bool
) -> None:
    happened: list[str] = []
    rotation = {name: lambda scene, name=name: happened.append(name) for name in ("a", "b")}
    monkeypatch.setattr(availability, "_ROTATION", rotation)
    claims: list[bool] = []
    scene: Any = SimpleNamespace(
        load=Load(rounds=3), seconds=0.0, detail={}, expect=lambda holds, otherwise: claims.append(holds),
        prober=SimpleNamespace(probes=[Probe(n, 0.0, 0.0, 503 if n < refused else 200) for n in range(probes)]),
    )  # fmt: skip
    availability.FAULTS["availability"].inject(cast(Scene, scene))
    assert happened == ["a", "b"] * 3
    assert claims == [holds]
    assert scene.detail["refused_probes"] == refused


@pytest.mark.real
@pytest.mark.parametrize("name", ["vm-silent", "data-stopped", "clock-behind"])
def test_scenarios_in_short(tmp_path: Path, name: str) -> None:
    if shutil.which("victoria-metrics") is None:
        pytest.skip("the Debian package victoria-metrics is not installed")
    if shutil.which("cc") is None and shutil.which("gcc") is None:
        pytest.skip("a C compiler is not installed")
    _, play = faults.SCENARIOS[name]
    line = play(tmp_path, QUICK, True)
    assert line.passed, line
    assert line.lost == 0
    assert line.acknowledged > 0
