"""Native histograms of a remote write request as rows, and the labels of those rows.

`name` becomes `name_count`, `name_sum` and `name_bucket`; a bucket of an exponential schema carries `vmrange`, one of
custom buckets `le`. The bound of index i is 2**(i * 2**-schema), and a positive bucket spans (bound(i - 1), bound(i)].
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from gateway.telemetry.labels import decode_label_blob
from kernels.native_histogram import (
    PART_BOUND,
    PART_COUNT,
    PART_NEGATIVE,
    PART_SUM,
    PART_ZERO,
    count_histograms,
    fill_histograms,
)


@dataclass(slots=True)
class HistogramRows:
    """Rows of a request's native histograms, n of them, h histograms accepted.

    hash_hi, hash_lo: uint64[n]; times_ms, starts_ms: int64[n]; values: float64[n]; kinds: uint8[n];
    series: uint32[n], which series of the request; histogram: uint32[n], which accepted histogram, from 0;
    parts: uint8[n] and details: uint64[n], which bucket (kernels.native_histogram).
    """

    accepted: int
    hash_hi: NDArray[np.uint64]
    hash_lo: NDArray[np.uint64]
    times_ms: NDArray[np.int64]
    starts_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    kinds: NDArray[np.uint8]
    series: NDArray[np.uint32]
    histogram: NDArray[np.uint32]
    parts: NDArray[np.uint8]
    details: NDArray[np.uint64]


def expand_histograms(
    body: NDArray[np.uint8],
    secrets: NDArray[np.uint64],
    histograms: NDArray[np.int64],
    limits: NDArray[np.int64],
    series_hi: NDArray[np.uint64],
    series_lo: NDArray[np.uint64],
    rejections: NDArray[np.int64],
    noted: NDArray[np.int64],
    noted_count: int,
) -> tuple[int, HistogramRows, int]:
    """(fault or 0, rows, rejections noted); arguments as those of the kernels. After a fault the rows are empty."""
    rows_of = np.zeros(len(histograms), np.int64)
    out = np.array([0, noted_count], np.int64)
    fault = int(count_histograms(body, histograms, limits, rows_of, rejections, noted, out))
    n = 0 if fault else int(out[0])
    rows = HistogramRows(
        0,
        np.empty(n, np.uint64),
        np.empty(n, np.uint64),
        np.empty(n, np.int64),
        np.empty(n, np.int64),
        np.empty(n, np.float64),
        np.empty(n, np.uint8),
        np.empty(n, np.uint32),
        np.empty(n, np.uint32),
        np.empty(n, np.uint8),
        np.empty(n, np.uint64),
    )
    if n:
        rows.accepted = int(
            fill_histograms(
                body,
                secrets,
                histograms,
                limits,
                rows_of,
                series_hi,
                series_lo,
                rows.hash_hi,
                rows.hash_lo,
                rows.times_ms,
                rows.values,
                rows.starts_ms,
                rows.kinds,
                rows.series,
                rows.histogram,
                rows.parts,
                rows.details,
            )
        )
    return fault, rows, int(out[1])


def _bound(schema: int, index: int) -> float:
    try:
        return math.ldexp(2.0 ** ((index * 2.0**-schema) % 1.0), math.floor(index * 2.0**-schema))
    except OverflowError:
        return math.inf


def _float_of(bits: int) -> float:
    return float(struct.unpack("<d", struct.pack("<Q", bits))[0])


def format_le(bound: float) -> str:
    """A bucket bound as `le` carries it: shortest digits that read back, no exponent, `+Inf` for the last."""
    if math.isinf(bound):
        return "+Inf" if bound > 0 else "-Inf"
    text = format(Decimal(repr(bound)), "f")
    return text.removesuffix(".0")


@lru_cache(maxsize=65536)
def bucket_label(part: int, detail: int) -> tuple[str, str] | None:
    """Name and value of the label that tells a bucket from its neighbours; None for count and sum."""
    if part in (PART_COUNT, PART_SUM):
        return None
    if part == PART_BOUND:
        return "le", format_le(_float_of(detail))
    if part == PART_ZERO:
        return "vmrange", f"{0.0:.3e}...{_float_of(detail):.3e}"
    schema, index = (detail >> 40) - 64, (detail & (1 << 40) - 1) - (1 << 32)
    lower, upper = _bound(schema, index - 1), _bound(schema, index)
    if part == PART_NEGATIVE:
        lower, upper = -upper, -lower
    return "vmrange", f"{lower:.3e}...{upper:.3e}"


_SUFFIXES = {PART_COUNT: b"_count", PART_SUM: b"_sum"}


class Texts:
    """Collects texts behind a request's bytes, each once."""

    def __init__(self, begin: int) -> None:
        self._begin = begin
        self._places: dict[bytes, int] = {}
        self.joined = bytearray()

    def place(self, text: bytes) -> tuple[int, int]:
        """(position, length) of the text in the arena."""
        at = self._places.setdefault(text, self._begin + len(self.joined))
        if at == self._begin + len(self.joined):
            self.joined += text
        return at, len(text)


def label_overrides(
    texts: Texts, parts: NDArray[np.uint8], details: NDArray[np.uint64], base_blobs: list[bytes | None]
) -> NDArray[np.int64]:
    """int64[m, 6] as kernels.remote_write_labels.override_labels reads it.

    parts: uint8[m], 0 where the row is no histogram's; details: uint64[m]; base_blobs: label blob of each row's series,
    needed for histogram rows only.
    """
    override = np.full((len(parts), 6), -1, np.int64)
    for row, (part, detail, blob) in enumerate(zip(parts.tolist(), details.tolist(), base_blobs, strict=True)):
        if part == 0 or blob is None:
            continue
        name = decode_label_blob(blob)["__name__"].encode()
        override[row, 0:2] = texts.place(name + _SUFFIXES.get(part, b"_bucket"))
        label = bucket_label(part, detail)
        if label is not None:
            override[row, 2:4] = texts.place(label[0].encode())
            override[row, 4:6] = texts.place(label[1].encode())
    return override
