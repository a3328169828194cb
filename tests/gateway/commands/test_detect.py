"""`gateway detect` with maintenance windows."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from gateway.commands.detect import detect
from gateway.errors import ConfigError

DAY_S = 86_400


def test_learning_is_frozen_in_the_windows_of_a_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    times = 1_700_006_400 + np.arange(0, 12 * DAY_S, 60)
    values = 100 + 20 * np.sin(2 * np.pi * times / DAY_S) + rng.normal(0, 2, len(times))
    first, behind = 9 * 1440, 10 * 1440
    values[first:behind] *= np.repeat(rng.uniform(0.2, 2.5, 144), 10)
    values[behind + 120 : behind + 150] += 24
    recording = tmp_path / "db.csv"
    with recording.open("w", newline="") as file:
        csv.writer(file).writerows([("timestamp", "value"), *zip(times.tolist(), values.tolist(), strict=True)])
    windows = tmp_path / "windows.csv"
    rows = f"{times[first]},{times[behind]}"

    def fault_found(text: str | None) -> bool:
        if text is not None:
            windows.write_text(text)
        (scored,) = detect([recording], tmp_path / "scored", maintenance=windows if text is not None else None)
        with scored.output.open(newline="") as file:
            alerts = [int(row["alert"]) for row in csv.DictReader(file)]
        return any(alerts[behind + 120 : behind + 150])

    assert not fault_found(None), "a day of chaos was learned"
    assert fault_found(f"start,end\n{rows}\n")
    assert fault_found(f"start,end,recording\n{rows},db\n")
    assert not fault_found(f"start,end,recording\n{rows},other\n")
    with pytest.raises(ConfigError, match="columns start,end"):
        fault_found("from,to\n")


def test_windows_without_effect_are_told_of(tmp_path: Path) -> None:
    recording = tmp_path / "db.csv"
    recording.write_text("timestamp,value\n" + "".join(f"{60 * row},1\n" for row in range(10)))
    windows = tmp_path / "windows.csv"

    def said(rows: str) -> list[str]:
        windows.write_text(f"start,end,recording\n{rows}")
        warnings: list[str] = []
        detect([recording], tmp_path / "scored", maintenance=windows, warn=warnings.append)
        return warnings

    assert said("60,120,db\n540,900,\n-0,1,db\n") == []
    assert said("") == [f"{windows}: names no window"]
    assert said("60,120,db.csv\n60,120,\n120,180,db.csv\n") == [
        f'{windows}: line 2: no input is named "db.csv" (the file\'s name without its ending is)'
    ]
    assert said("61,120,db\n541,900,\n") == [
        f"{windows}: line 2: no sample lies in this window",
        f"{windows}: line 3: no sample lies in this window",
    ]
