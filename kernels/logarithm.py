"""The natural logarithm as a step: folded into the caller, without the call that would put its registers aside."""

from __future__ import annotations

from typing import Final

import numpy as np

from kernels.jit import hot_step
from kernels.wire import bits_as_f64, f64_as_bits

_LN2: Final = 0.6931471805599453
_ROOT_HALF: Final = np.int64(0x3FE6A09E667F3BCD)
"""Bits of the square root of one half."""


@hot_step
def natural_log(x: float) -> float:
    """log(x) of a positive, normal, finite x, to 3e-16 of the larger of 1 and the result.

    x = 2^k m with m between the roots of a half and of two; log m = 2 artanh s, s = (m - 1) / (m + 1), as a series in s
    up to the 17th power, the rest of which is below 1e-16.
    """
    bits = np.int64(f64_as_bits(x))
    k = (bits - _ROOT_HALF) >> np.int64(52)
    m = bits_as_f64(np.uint64(bits - (k << np.int64(52))))
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    low = 1.0 / 3.0 + z * (1.0 / 5.0 + z * (1.0 / 7.0 + z * (1.0 / 9.0)))
    high = 1.0 / 11.0 + z * (1.0 / 13.0 + z * (1.0 / 15.0 + z * (1.0 / 17.0)))
    z4 = (z * z) * (z * z)
    series = low + z4 * high
    result: float = k * _LN2 + (2.0 * s + 2.0 * s * z * series)
    return result
