"""Verdicts teach the pattern model: alerts like those that were noise lose odds, others hardly move."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from bench.detection import retrain
from gateway.baseline.evidence_text import evidence_of, evidence_text
from gateway.baseline.offline import run_series
from gateway.baseline.parameters import SHIPPED, parameters, pattern_model
from gateway.baseline.settings import DetectionSettings
from gateway.errors import ConfigError
from kernels.evidence import FEATURE_NAMES
from kernels.pattern import second_table, weigh
from kernels.series_state import EVIDENCE, OPENED, P_LIMIT, P_LIMIT_SLOW, TRANSITION

START_S = 1_699_833_600.0


def opened(seed: int, size: float) -> list[Any]:
    """Transitions of alerts that opened on noise with a shift for half an hour a day: by the model, where the shift is
    not so large that it counts whatever the model says."""
    rng = np.random.default_rng(seed)
    n = 5 * 1440
    values = 100.0 + rng.normal(0.0, 2.0, n)
    for day in (2, 3, 4):
        at = day * 1440 + 300 * (seed % 3)
        values[at : at + 30] += size
    found = run_series(START_S + 60.0 * np.arange(n), values).transitions
    return [t for t in found if t["kind"] == OPENED and t["proposed"]]


def test_an_alert_carries_what_opened_it() -> None:
    model = pattern_model(SHIPPED)
    p = parameters(DetectionSettings())
    found = [transition for seed in range(4) for transition in opened(seed, 20.0)]
    assert len(found) >= 4
    for transition in found:
        evidence = evidence_of(evidence_text(transition))
        assert evidence is not None
        run, features = evidence
        at = 0 if run else second_table(model, 0)
        odds = weigh(features.astype(np.float64), 0, model[at:], 0, -np.inf)
        assert odds > p[P_LIMIT if run else P_LIMIT_SLOW] - 0.5  # half precision moves some answers


def test_a_text_that_says_nothing_is_none() -> None:
    assert len(FEATURE_NAMES) == EVIDENCE
    assert evidence_text(np.zeros(1, TRANSITION)[0]) == ""
    assert [evidence_of(text) for text in ("", "é", "AAAA", "A")] == [None] * 4


def line(transition: Any, verdict: str) -> str:
    return json.dumps({"verdict": verdict, "anomaly": {"evidence": evidence_text(transition)}})


def test_verdicts_move_the_odds_of_their_like(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = [t for seed in range(8) for t in opened(seed, 14.0)]
    useful = [t for seed in range(8) for t in opened(seed, -200.0)]
    assert min(len(noise), len(useful)) >= 8
    given = tmp_path / "verdicts.jsonl"
    given.write_text("\n".join([*(line(t, "noise") for t in noise), *(line(t, "useful") for t in useful), "", ""]))
    model = tmp_path / "own.npz"
    monkeypatch.setattr(sys, "argv", ["retrain", str(given), "--output", str(model)])
    assert retrain.main() == 0
    assert f"{len(noise) + len(useful)} verdicts" in capsys.readouterr().out
    before, after = pattern_model(SHIPPED), pattern_model(model)

    def odds(table: Any, transitions: list[Any]) -> float:
        total = 0.0
        for transition in transitions:
            run, features = evidence_of(evidence_text(transition)) or (True, np.zeros(EVIDENCE, np.float32))
            at = 0 if run else second_table(table, 0)
            total += weigh(features.astype(np.float64), 0, table[at:], 0, -np.inf)
        return total / len(transitions)

    others = [t for seed in range(20, 26) for t in opened(seed, 14.0)]
    assert odds(after, others) < odds(before, others) - 0.5
    assert odds(after, useful) > odds(before, useful) - 0.2
    assert (parameters(DetectionSettings(pattern_model=str(model)))[-len(after) :] == after).all()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "line 1 is no verdict"),
        ('{"verdict": "maybe", "anomaly": {}}', "expected useful or noise"),
        ("[]", "line 1 is no verdict"),
    ],
)
def test_what_is_no_verdict_is_refused_with_its_line(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = tmp_path / "verdicts.jsonl"
    given.write_text(text)
    monkeypatch.setattr(sys, "argv", ["retrain", str(given), "--output", str(tmp_path / "own.npz")])
    assert retrain.main() == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("change", ["cut", "feature", "nan", "tail", "bytes", "absent"])
def test_a_model_that_kernels_could_not_read_is_refused(change: str, tmp_path: Path) -> None:
    path = tmp_path / "own.npz"
    table = pattern_model(SHIPPED).astype(np.float32)
    if change == "cut":
        table = table[:-7]
    if change == "feature":
        table[2] = EVIDENCE
    if change == "nan":
        table[1] = np.nan
    if change == "tail":
        table = np.append(table, np.float32(1.0))
    if change == "bytes":
        path.write_bytes(b"PK\x03\x04 nothing")
    elif change != "absent":
        np.savez(path, table=table)
    with pytest.raises(ConfigError, match="no pattern model"):
        parameters(DetectionSettings(pattern_model=str(path)))


def test_the_feedback_export_can_be_read(tmp_path: Path) -> None:
    """As the API writes it: a verdict beside its whole anomaly."""
    from gateway.telemetry.anomaly import Anomaly

    anomaly = Anomaly(
        id="a", time=1.0, series={}, value=1.0, expected=1.0, lower=0.0, upper=2.0, score=0.6, severity="medium",
        reasons=[], evidence=evidence_text(opened(1, 40.0)[0]),
    )  # fmt: skip
    exported = msgspec.json.encode({"verdict": "noise", "by": "ana", "anomaly": msgspec.to_builtins(anomaly)}).decode()
    runs, features, useful, without = retrain.verdicts([exported, '{"verdict": "useful", "anomaly": {}}'])
    assert (len(runs), features.shape, useful.tolist(), without) == (1, (1, EVIDENCE), [0], 1)
