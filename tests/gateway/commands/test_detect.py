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
