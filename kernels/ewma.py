"""Exponentially discounted means over irregular steps."""

from __future__ import annotations

from kernels.jit import hot_step

LN2 = 0.6931471805599453


@hot_step
def share(seconds: float, half_life: float) -> float:
    """Weight of a value that stands for `seconds`, discounted with `half_life` (seconds).

    x / (1 + x) with x = ln 2 · seconds / half_life; agrees with 1 - 2^(-seconds / half_life) in the first order and,
    unlike it, costs one division.
    """
    x = LN2 * seconds
    return x / (half_life + x)
