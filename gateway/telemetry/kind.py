"""What a series is, one byte: a class in the low four bits and flags above them.

The class decides how the baseline reads a value (as it is, as a rate, as part of a histogram); the DELTA flag decides
whether the forwarder folds values into running totals.
"""

from __future__ import annotations

from typing import Final

UNKNOWN: Final = 0
"""Remote write 1.0 without metadata and without a telling name; read as a gauge."""
GAUGE: Final = 1
COUNTER: Final = 2
"""Monotonic sum; scored as a rate."""
HISTOGRAM_COUNT: Final = 3
"""`_count` of a histogram or summary; scored as a rate."""
HISTOGRAM_SUM: Final = 4
"""`_sum` of a histogram or summary; scored as the mean, Δsum / Δcount."""
HISTOGRAM_BUCKET: Final = 5
"""`_bucket` with `le` (cumulative over bounds) or `vmrange`; feeds the estimated quantile, is not scored alone."""
SUMMARY_QUANTILE: Final = 6
"""A quantile of a summary; scored as a gauge."""
TARGET_INFO: Final = 7
"""Resource attributes as `target_info`; forwarded, never scored, counted apart."""

CLASS_MASK: Final = 0x0F
DELTA: Final = 0x10
"""Values are increments over [start, time]."""
NON_MONOTONIC: Final = 0x20
"""With COUNTER and DELTA: an up-down counter; scored as it is when cumulative."""
VMRANGE: Final = 0x40
"""With HISTOGRAM_BUCKET: counts of one range each, not cumulative over bounds."""

COUNTING: Final = (COUNTER, HISTOGRAM_COUNT, HISTOGRAM_SUM, HISTOGRAM_BUCKET)
"""Classes whose values rise, but for resets, unless NON_MONOTONIC."""

STALE_NAN_BITS: Final = 0x7FF0000000000002
"""Bit pattern of Prometheus' stale marker."""
