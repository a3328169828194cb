"""Buckets of exponential histograms: bounds, indices, and the merge to a coarser scale.

At scale s bucket i holds values in (2^(i / 2^s), 2^((i + 1) / 2^s)]. One scale less merges neighbours: i becomes
i >> 1. Source: OpenTelemetry metrics data model, "ExponentialHistogram".
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from kernels.jit import step
from kernels.otlp_reasons import ACCEPTED, BUCKETS
from kernels.protobuf_fields import read_length, read_tag, skip_value
from kernels.varint import read_varint, zigzag
from proto.otlp import BUCKETS_OFFSET, BUCKETS_ONE, BUCKETS_PACKED

FINEST_SCALE: Final = 8
"""Finer histograms are merged down to this: 256 buckets a doubling, so that bounds differ in four digits."""
COARSEST_SCALE: Final = -4
"""Coarser histograms (one bucket for 16 doublings and more) say nothing and are refused."""
MOST_BUCKETS: Final = 1024
"""Of one side of one point; SDKs keep 160."""
_WIDEST_EXPONENT: Final = 1076
"""Beyond 2 ** ±1076 lie no floating-point numbers."""


@step
def read_buckets(buf: Any, at: Any, end: Any, scale: Any, counts: Any) -> Any:
    """(end or fault, index of counts[0], how many counts, reason) of one side, merged to at most FINEST_SCALE.

    counts: uint64[MOST_BUCKETS], overwritten. scale: as sent, not below COARSEST_SCALE.
    """
    shift = np.int64(0)
    if scale > FINEST_SCALE:
        shift = min(scale - FINEST_SCALE, np.int64(62))
    offset = np.int64(0)
    first = at
    while at < end:
        tag, at = read_tag(buf, at, end)
        if at < 0:
            return at, offset, np.int64(0), np.int64(ACCEPTED)
        if tag == BUCKETS_OFFSET:
            value, at = read_varint(buf, at, end)
            offset = zigzag(value & np.uint64(0xFFFFFFFF))
        else:
            at = skip_value(buf, at, end, tag)
        if at < 0:
            return at, offset, np.int64(0), np.int64(ACCEPTED)
    lowest = offset >> shift
    used, number = np.int64(0), np.int64(0)
    at = first
    while at < end:
        tag, at = read_tag(buf, at, end)
        if tag == BUCKETS_PACKED:
            at, behind = read_length(buf, at, end)
        elif tag == BUCKETS_ONE:
            # One varint outside a packed list: read below as a list of one.
            _, behind = read_varint(buf, at, end)
        else:
            at = skip_value(buf, at, end, tag)
            continue
        while at < behind:
            value, at = read_varint(buf, at, behind)
            if at < 0:
                return at, lowest, used, np.int64(ACCEPTED)
            if number == MOST_BUCKETS:
                return end, lowest, np.int64(0), np.int64(BUCKETS)
            place = ((offset + number) >> shift) - lowest
            while used <= place:
                counts[used] = np.uint64(0)
                used += 1
            counts[place] += value
            number += 1
    kept = min(scale, np.int64(FINEST_SCALE))
    widest: Any = np.int64(_WIDEST_EXPONENT)
    if kept >= 0:
        widest = widest << kept
    else:
        widest = widest >> -kept
    for slot in range(used):
        index = lowest + slot
        if counts[slot] != np.uint64(0) and (index < -widest - 1 or index > widest):
            return end, lowest, np.int64(0), np.int64(BUCKETS)
    return end, lowest, used, np.int64(ACCEPTED)
