"""What is judged: the shipped detector through its offline path, or a peer, behind one shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.baseline.offline import run_series
from gateway.baseline.settings import DetectionSettings
from kernels import series_state

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Scored:
    """One series as a detector saw it; every array float64[m] or bool[m], m ≥ the rows given (rows in gaps are extra).

    score: raw score, larger = less usual. p_value: implied tail probability, or None where a detector has none.
    reasons: (time in seconds, reason) of each opened alert.
    """

    times_s: Floats
    values: Floats
    expected: Floats
    lower: Floats
    upper: Floats
    score: Floats
    alert: NDArray[np.bool_]
    extra: NDArray[np.bool_]
    p_value: Floats | None
    reasons: list[tuple[float, str]]


Detector = Callable[[Floats, Floats, str, float], Scored]
"""(times_s, values, kind, interval_s) → Scored."""

REASON_NAMES = {
    getattr(series_state, name): name.lower()
    for name in ("SPIKE", "SUSTAINED", "DRIFT", "NOISIER", "CALMER", "ZERO", "FLAT", "STALE", "LEAK", "SEASON", "GROUP")
    if hasattr(series_state, name)
}


def ablations() -> dict[str, int]:
    """Parts of the ensemble that can be turned off: name → position in the kernels' parameter vector."""
    return {
        name.removeprefix("P_").lower(): position
        for name, position in vars(series_state).items()
        if name.startswith("P_") and isinstance(position, int)
    }


@dataclass(frozen=True, slots=True)
class Gateway:
    """The shipped detector. `overrides` sets entries of its parameter vector, for ablations only."""

    sensitivity: Any = "balanced"
    overrides: tuple[tuple[int, float], ...] = ()

    def __call__(self, times_s: Floats, values: Floats, kind: str, interval_s: float) -> Scored:
        """Score one series; the step is learned, as in live traffic."""
        result = run_series(
            times_s,
            values,
            kind="counter" if kind == "counter" else "gauge",
            settings=DetectionSettings(sensitivity=self.sensitivity),
            overrides=dict(self.overrides),
        )
        opened = result.transitions[result.transitions["kind"] == series_state.OPENED]
        return Scored(
            times_s=result.times_s,
            values=result.values,
            expected=result.expected,
            lower=result.lower,
            upper=result.upper,
            score=np.nan_to_num(result.score),
            alert=result.alert.astype(np.bool_),
            extra=result.extra,
            p_value=result.chance,
            reasons=[
                (float(t) / 1000.0, REASON_NAMES.get(int(r), str(r)))
                for t, r in zip(opened["time_ms"], opened["reason"], strict=True)
            ],
        )
