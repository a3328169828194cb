"""The kernels' parameter vector: constants of the detector, the limits of each sensitivity, the pattern model."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Final
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from gateway.baseline.settings import DetectionSettings
from gateway.errors import ConfigError
from kernels import series_state as state
from kernels.pattern import DEPTH, TREE
from kernels.series_state import EVIDENCE

_LIMITS: Final[dict[str, tuple[float, float]]] = {"quiet": (1.4, 4.0), "balanced": (0.3, 3.2), "keen": (-0.8, 2.2)}
"""Log odds of the pattern model at which an alert opens: for runs, and for all else."""


SHIPPED: Final = Path(__file__).with_name("pattern.npz")
"""Made by an earlier form of `python -m bench.detection.train`: docs/detection.md, Training, says what that changes."""


@cache
def pattern_model(path: Path) -> NDArray[np.float64]:
    """The tables of kernels.pattern in a file. Raises ConfigError when it cannot be read or asks what there is not."""
    try:
        with np.load(path) as file:
            table = np.asarray(file["table"], np.float64)
        problem = _problem_of(table)
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        problem = str(error) or type(error).__name__
    if problem:
        raise ConfigError(f"{path} is no pattern model: {problem}", key="detection.pattern_model")
    return table


def _problem_of(table: NDArray[np.float64]) -> str:
    """What is wrong with tables, which kernels read without looking again; empty if nothing is."""
    if table.ndim != 1 or not np.isfinite(table).all():
        return "expected one row of finite numbers"
    at = 0
    for name in ("runs", "all else"):
        if at + 2 > len(table):
            return f"the table for {name} is not there"
        count = table[at]
        if count < 0 or count != int(count) or at + 2 + int(count) * TREE > len(table):
            return f"the table for {name} is cut off"
        trees = table[at + 2 : at + 2 + int(count) * TREE].reshape(int(count), TREE)
        asked = trees[:, : 2 * DEPTH : 2]
        if not ((asked >= 0) & (asked < EVIDENCE) & (asked == np.floor(asked))).all():
            return f"the table for {name} asks of features that there are not"
        at += 2 + int(count) * TREE
    return "" if at == len(table) else "something follows the tables"


def parameters(settings: DetectionSettings) -> NDArray[np.float64]:
    """The kernels' parameter vector (see kernels.series_state)."""
    p = np.zeros(state.P_MODEL, np.float64)
    p[state.P_WARM_UP_MS] = 1000.0 * settings.warm_up
    p[state.P_LIMIT], p[state.P_LIMIT_SLOW] = _LIMITS[settings.sensitivity]
    p[state.P_LIMIT_CALMER] = p[state.P_LIMIT_SLOW] + 1.0
    for flag in range(state.P_SEASON, state.P_STALE + 1):
        p[flag] = 1.0
    p[state.P_ADOPT] = 16.0
    p[state.P_CHOICE] = 1.0
    p[state.P_SILENCE] = 3.2
    p[state.P_GAP_RATE] = 0.02
    p[state.P_GAP_FLOOR], p[state.P_GAP_USUAL], p[state.P_GAP_EXCESS] = 0.4, 0.1, 0.35
    p[state.P_HOLE] = 1.6
    p[state.P_BAND] = 4.0
    return np.concatenate([p, pattern_model(Path(settings.pattern_model) if settings.pattern_model else SHIPPED)])
