"""Which series of a remote write 1.0 request were seen before, and how large the columns of the others must be.

A series as senders write it is its labels and then one sample. Its labels' bytes are looked up as they stand
(kernels.known_labels); only series that are not found, or look otherwise, are walked. Both passes prove the framing
that `remote_write_v1.fill_v1` relies on.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import types

from kernels.jit import BYTES, I8, RU8, U1, U8, kernel, step
from kernels.known_labels import MOST_BYTES, await_known, hash_range, memory_of, recall
from kernels.protobuf_fields import read_length, read_tag, skip_value
from kernels.remote_write_wire import count_series_parts
from kernels.wire import load_u32, pointer
from proto.remote_write import (
    SAMPLE_TIMESTAMP,
    SAMPLE_VALUE,
    V1_REQUEST_TIMESERIES,
    V1_SERIES_EXEMPLARS,
    V1_SERIES_HISTOGRAMS,
    V1_SERIES_SAMPLES,
)

I8x2 = types.Array(types.int64, 2, "C")

# What `match_v1` leaves in a series' row: [S_BEGIN, S_END) is its message.
S_BEGIN: Final = 0
S_END: Final = 1
S_STATE: Final = 2
S_SAMPLE: Final = 3
"""Where the field of its one sample begins; -1 if the series looks otherwise."""

KNOWN: Final = 1
"""Its labels were seen before: their hash and kind are in the arrays of the series."""
UNKNOWN: Final = 0
"""With a sample's place: the hash of its labels' bytes stands where the hash of the labels will."""

_AHEAD: Final = 64
"""Series that are hashed before the first of them is looked for, so that the table's lines have arrived."""

_SAMPLE_SIZE: Final = 16
_SAMPLE_BEGIN: Final = V1_SERIES_SAMPLES | _SAMPLE_SIZE << 8 | SAMPLE_VALUE << 16
"""Tag, length and first tag of a sample whose time takes six bytes, as those of 2004 to 2109 do."""
_ZERO_SIZE: Final = 7
_ZERO_BEGIN: Final = V1_SERIES_SAMPLES | _ZERO_SIZE << 8 | SAMPLE_TIMESTAMP << 16
"""The same of a sample whose value is 0, which many encoders leave out."""


@step
def last_sample(buf: Any, begin: Any, end: Any) -> Any:
    """Where a field begins that may be the one sample at the end of a series' message, or -1; int64."""
    if end - begin > _SAMPLE_SIZE + 2:
        at = end - _SAMPLE_SIZE - 2
        if load_u32(buf, at) & np.uint64(0xFFFFFF) == np.uint64(_SAMPLE_BEGIN):
            return at
        at = end - _ZERO_SIZE - 2
        if load_u32(buf, at) & np.uint64(0xFFFFFF) == np.uint64(_ZERO_BEGIN):
            return at
    return np.int64(-1)


@kernel(BYTES)
def count_series_v1(body: Any) -> Any:
    """How many series a request has, or a fault; int64."""
    buf = pointer(body)
    end = np.int64(body.size)
    at, series = np.int64(0), np.int64(0)
    while at < end:
        tag, at = read_tag(buf, at, end)
        if at < 0:
            return at
        if tag == V1_REQUEST_TIMESERIES:
            series += 1
            _, at = read_length(buf, at, end)
        else:
            at = skip_value(buf, at, end, tag)
        if at < 0:
            return at
    return series


@kernel(BYTES, RU8, RU8, I8x2, U8, U8, U1, I8)
def match_v1(
    body: Any, secrets: Any, table: Any, series: Any, series_hi: Any, series_lo: Any, series_kinds: Any, counts: Any
) -> Any:
    """Looks every series up, and counts (series, samples, exemplars, histograms) into counts, int64[4]; 0 or a fault.

    series: int64[n, 4] for as many series as `count_series_v1` found; series_hi, series_lo uint64[n], series_kinds
    uint8[n]: see the places above. table: see kernels.known_labels.
    """
    buf = pointer(body)
    k = pointer(secrets)
    memory = memory_of(table, counts)
    end = np.int64(body.size)
    room = series.shape[0]
    at, s, first = np.int64(0), np.int64(0), np.int64(0)
    counts[:4] = 0
    while True:
        while at < end and s < room and s - first < _AHEAD:
            tag, at = read_tag(buf, at, end)
            if tag != V1_REQUEST_TIMESERIES:
                at = skip_value(buf, at, end, tag)
                continue
            begin, at = read_length(buf, at, end)
            sample = last_sample(buf, begin, at)
            if sample - begin > MOST_BYTES:
                sample = np.int64(-1)
            if sample >= 0:
                hi, lo = hash_range(buf, begin, sample - begin, k)
                series_hi[s], series_lo[s] = hi, lo
                await_known(memory, hi, lo)
            series[s, S_BEGIN], series[s, S_END], series[s, S_STATE], series[s, S_SAMPLE] = begin, at, UNKNOWN, sample
            s += 1
        if first == s:
            break
        for i in range(first, s):
            if series[i, S_SAMPLE] >= 0:
                found, hi, lo, kind = recall(memory, series_hi[i], series_lo[i])
                if found:
                    series_hi[i], series_lo[i], series_kinds[i] = hi, lo, np.uint8(kind)
                    series[i, S_STATE] = KNOWN
                    counts[1] += 1
                    continue
            after = count_series_parts(
                buf,
                series[i, S_BEGIN],
                series[i, S_END],
                V1_SERIES_SAMPLES,
                V1_SERIES_EXEMPLARS,
                V1_SERIES_HISTOGRAMS,
                counts,
            )
            if after < 0:
                return after
        first = s
    counts[0] = s
    return np.int64(0)
