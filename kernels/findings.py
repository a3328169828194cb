"""Where `kernels.observe.observe_value` leaves what it found: positions in a float64 scratch vector."""

from __future__ import annotations

from typing import Any, Final

from kernels.evidence import FEATURES
from kernels.jit import hot_step

O_SCORE: Final = 0
O_EXPECTED: Final = 1
O_LOWER: Final = 2
O_UPPER: Final = 3
O_CHANGE: Final = 4  # 0 or the kind of transition
O_REASON: Final = 5
O_CLOSING: Final = 6
O_DEVIATION: Final = 7
O_SEVERITY: Final = 8
O_CANDIDATE: Final = 9  # 0, or what proposed it: 1 a run, 2 the level of days, 4 variation; the features are worked out
O_FEATURES: Final = 10
OUTPUTS: Final = O_FEATURES + FEATURES


@hot_step
def clear_findings(out: Any, x: float) -> None:
    """Nothing found: the value is what was expected. The features stay; they count only with O_CANDIDATE."""
    for k in range(O_FEATURES):
        out[k] = 0.0
    out[O_EXPECTED] = x
    out[O_LOWER] = x
    out[O_UPPER] = x


@hot_step
def write_change(out: Any, change: int, reason: int, severity: int) -> None:
    """What became of the alert: OPENED, CHANGED or CLOSED."""
    out[O_CHANGE] = change
    out[O_REASON] = reason
    out[O_SEVERITY] = severity
