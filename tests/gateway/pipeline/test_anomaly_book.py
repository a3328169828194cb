"""What an anomaly's record says while its alert opens, becomes more severe, and ends."""

from __future__ import annotations

from typing import Any

import numpy as np

from gateway.baseline.detector import Baseline
from gateway.baseline.settings import DetectionSettings
from gateway.pipeline.anomaly_book import AnomalyBook
from gateway.telemetry.labels import encode_label_blob
from kernels.series_state import CHANGED, CLOSED, OPENED, SUSTAINED, TRANSITION

BLOB = encode_label_blob({"__name__": "latency", "job": "shop"})
OPENED_MS = 1_700_000_000_000


def transition(kind: int, after_s: int, value: float, score: float, severity: int) -> Any:
    made = np.zeros(1, TRANSITION)[0]
    made["kind"], made["reason"] = kind, SUSTAINED
    made["began_ms"] = made["opened_ms"] = OPENED_MS
    made["time_ms"] = OPENED_MS + after_s * 1000
    made["value"], made["expected"], made["lower"], made["upper"] = value, 0.1, 0.07, 0.13
    made["score"], made["severity"], made["deviation"] = score, severity, (value - 0.1) / 0.01
    return made


def book() -> AnomalyBook:
    return AnomalyBook(Baseline(DetectionSettings()), lambda _: BLOB)


def test_a_severity_that_rises_at_a_usual_sample_leaves_what_was_unusual() -> None:
    anomalies = book()
    (opened,) = anomalies.take([transition(OPENED, 0, 0.42, 0.6, 1)], 0)
    assert opened.reasons[0].startswith("320 % above the usual level")
    (changed,) = anomalies.take([transition(CHANGED, 120, 0.099, 0.8, 3)], 0)
    assert (changed.score, changed.severity) == (0.8, "high")
    assert (changed.value, changed.expected) == (0.42, 0.1)
    assert changed.reasons[0].startswith("320 % above the usual level")
    (closed,) = anomalies.take([transition(CLOSED, 150, 0.1, 0.8, 3)], 0)
    assert closed.reasons[0].startswith("320 % above the usual level")
    assert closed.reasons[-1] == "back within its usual range after 2 minutes"


def test_a_severity_that_rises_at_a_sample_further_off_says_that_one() -> None:
    anomalies = book()
    list(anomalies.take([transition(OPENED, 0, 0.42, 0.6, 1)], 0))
    (changed,) = anomalies.take([transition(CHANGED, 120, 0.9, 0.95, 4)], 0)
    assert changed.value == 0.9
    assert changed.reasons[0].startswith("800 % above the usual level")
    assert "for 2 minutes" in changed.reasons[0]


def test_a_change_or_an_end_whose_beginning_is_not_known_speaks_for_itself() -> None:
    (changed,) = book().take([transition(CHANGED, 120, 0.099, 0.8, 3)], 0)
    assert (changed.value, changed.severity) == (0.099, "high")
    assert changed.reasons
    (closed,) = book().take([transition(CLOSED, 150, 0.1, 0.8, 3)], 0)
    assert (closed.value, closed.severity, closed.state) == (0.1, "high", "resolved")
