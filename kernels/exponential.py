"""Logarithm and exponential as steps: folded into the caller, without the call that would put its registers aside."""

from __future__ import annotations

import math
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


_PER_LN2: Final = 1.4426950408889634
_LN2_HIGH: Final = 0.6931471803691238
_LN2_LOW: Final = 1.9082149292705877e-10
"""Together ln 2; the first has few enough digits that its products with small whole numbers are exact."""


@hot_step
def natural_exp(x: float) -> float:
    """exp(x) for x within ± 690, beyond which it is that of the bound; relative error under 1e-15.

    x = k ln 2 + r with |r| at most half of ln 2; exp r as a series up to the 12th power.
    """
    x = min(max(x, -690.0), 690.0)
    k = math.floor(x * _PER_LN2 + 0.5)
    r = (x - k * _LN2_HIGH) - k * _LN2_LOW
    r2 = r * r
    r4 = r2 * r2
    low = 1.0 + r + r2 * (1.0 / 2.0 + r * (1.0 / 6.0))
    middle = 1.0 / 24.0 + r * (1.0 / 120.0) + r2 * (1.0 / 720.0 + r * (1.0 / 5040.0))
    high = (
        1.0 / 40320.0
        + r * (1.0 / 362880.0)
        + r2 * (1.0 / 3628800.0 + r * (1.0 / 39916800.0) + r2 * (1.0 / 479001600.0))
    )
    power = bits_as_f64(np.uint64(np.int64(k) + np.int64(1023)) << np.uint64(52))
    result: float = power * (low + r4 * (middle + r4 * high))
    return result
