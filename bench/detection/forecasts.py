"""Forecasts of m4_hourly and ett beside the seasonal-naive one ("as a day before").

Errors are means of the absolute error over that of one step of the seasonal-naive forecast in the past (MASE, Hyndman
and Koehler 2006); intervals are judged by how much they hold and by the interval score (Gneiting and Raftery 2007),
in the same unit. The naive forecast's interval is that of its own errors in the past.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bench.detection.datasets import DATA_SETS
from bench.detection.recordings import MONDAY_S, number_of, read_csv
from gateway.baseline.forecast import forecast

Floats = NDArray[np.float64]
HOUR_S: Final = 3600.0
DAY: Final = 24
LEVEL: Final = 0.9
PAST: Final = 60 * DAY
"""Steps of ett that a forecast sees."""
FIRST, EVERY = 2000, 1463
"""Of ett, the steps from which forecasts begin; the second is no multiple of a day."""

Case = tuple[Floats, Floats]
"""Past and truth, hourly."""


def _m4(root: Path) -> Iterator[Case]:
    truths = {row[0]: row[1:] for row in read_csv(root / "m4_hourly" / "hourly_test.csv.gz")}
    for recording in DATA_SETS["m4_hourly"].load(root, "hourly"):
        cells = truths[recording.name]
        yield recording.values, np.array([number_of(cell) for cell in cells if cell.strip()])


def _ett(root: Path, ahead: int) -> Iterator[Case]:
    for recording in DATA_SETS["ett"].load(root, "ETTh1"):
        for now in range(FIRST, len(recording.values) - ahead, EVERY):
            yield recording.values[max(0, now - PAST) : now], recording.values[now : now + ahead]


def _interval_score(lower: Floats, upper: Floats, truth: Floats) -> float:
    outside = np.maximum(lower - truth, 0.0) + np.maximum(truth - upper, 0.0)
    return float(np.mean(upper - lower + 2.0 / (1.0 - LEVEL) * outside))


def _judged(past: Floats, truth: Floats) -> list[float]:
    """MASE, that of the naive; share held; interval scores of both."""
    found = forecast(
        MONDAY_S + HOUR_S * np.arange(len(past), dtype=np.float64), past, horizon_s=HOUR_S * len(truth), level=LEVEL
    )
    errors = past[DAY:] - past[:-DAY]
    unit = float(np.mean(np.abs(errors))) or 1.0
    naive = np.resize(past[-DAY:], len(truth))
    low, high = np.quantile(errors, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return [
        float(np.mean(np.abs(found.expected - truth))) / unit,
        float(np.mean(np.abs(naive - truth))) / unit,
        float(np.mean((truth >= found.lower) & (truth <= found.upper))),
        _interval_score(found.lower, found.upper, truth) / unit,
        _interval_score(naive + low, naive + high, truth) / unit,
    ]


def forecast_rows(root: Path) -> list[dict[str, Any]]:
    """One row a set and horizon; sets that are absent have none."""
    cases: dict[tuple[str, int], Iterator[Case]] = {}
    if (root / "m4_hourly" / "hourly_test.csv.gz").is_file():
        cases["m4_hourly", 48] = _m4(root)
    if (root / "ett" / "ETTh1.csv.gz").is_file():
        cases |= {("ett", ahead): _ett(root, ahead) for ahead in (24, 96)}
    rows = []
    for (name, ahead), some in cases.items():
        judged = np.array([_judged(past, truth) for past, truth in some])
        mase, naive, held, interval, naive_interval = (float(v) for v in judged.mean(axis=0))
        rows.append({
            "bench": "detection", "set": name, "forecast_steps": ahead, "forecasts": len(judged), "mase": mase,
            "seasonal_naive_mase": naive, "better_than_naive": float(np.mean(judged[:, 0] < judged[:, 1])),
            "level": LEVEL, "held": held, "interval_score": interval, "seasonal_naive_interval_score": naive_interval,
        })  # fmt: skip
    return rows
