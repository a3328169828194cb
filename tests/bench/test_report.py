"""From pieces to figures and tables, and the bench as a command without recordings."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from bench.detection import report
from bench.detection.__main__ import main
from bench.detection.bootstrap import ratio_interval
from bench.detection.calibration import ratios
from bench.detection.evaluate import Piece
from gateway.baseline.scorecard import Event, Judged, Scorecard


def _piece(name: str, found: int, events: int, false: int) -> Piece:
    judged = [Judged(Event(0.0, 60.0), i < found, 60.0) for i in range(events)]
    return Piece("wsd", name, Scorecard(1, judged, true_alerts=found, false_alerts=false, scored_s=86400.0), vus=[0.5])


def test_figures_of_a_set_add_its_series_up() -> None:
    (row,) = report.figures([_piece("a", 1, 2, 1), _piece("b", 2, 2, 0)], seed=1)
    assert (row["series"], row["events"], row["recall"], row["false_share"]) == (2, 4, 0.75, 0.25)
    assert row["false_per_series_day"] == 0.5
    assert row["vus_pr"] == 0.5
    assert row["recall_ci"] == [0.5, 1.0]
    assert "| wsd | 2 | 4 | 0.750 (0.50 – 1.00) |" in report.markdown([row], command="make bench-detection")


def test_tables_go_between_the_markers_and_leave_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    path.write_text(f"# R\n\nbefore\n\n{report.BEGIN}\nold\n{report.END}\n\nafter\n")
    report.write_results(path, "new")
    report.write_results(path, "newer")
    text = path.read_text()
    assert text == f"# R\n\nbefore\n\n{report.BEGIN}\n\nnewer\n\n{report.END}\n\nafter\n"
    report.write_results(tmp_path / "absent.md", "first")
    assert "first" in (tmp_path / "absent.md").read_text()


def test_intervals_hold_the_ratio_and_repeat_with_their_seed() -> None:
    tops, bottoms = [1.0, 2.0, 3.0, 4.0], [4.0, 4.0, 4.0, 4.0]
    low, high = ratio_interval(tops, bottoms, seed=3)
    assert low < 10 / 16 < high
    assert (low, high) == ratio_interval(tops, bottoms, seed=3)
    assert math.isnan(ratio_interval([], [], seed=3)[0])


def test_calibration_is_empirical_over_nominal() -> None:
    assert ratios(np.array([1e5, 2e3, 1e2, 5, 0]))["1e-02"] == pytest.approx(2.0)
    assert ratios(np.array([1e5, 2e3, 1e2, 5, 0]))["1e-04"] == pytest.approx(0.5)


def test_absent_recordings_are_skipped_with_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GATEWAY_DETECTION_DATA", str(tmp_path))
    assert main([]) == 0
    assert "skipped wsd" in capsys.readouterr().err
