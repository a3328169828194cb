"""Remote write 2.0 request bytes → PointColumns."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.decode.remote_write import (
    SHOWN_LABELS,
    DecodeState,
    SeriesState,
    as_bytes_array,
    assemble,
    check_parts,
    raise_fault,
    shown,
)
from gateway.decode.remote_write_settings import RemoteWriteSettings
from gateway.errors import DecodeError
from gateway.telemetry.columns import PointColumns
from kernels.label_hash import derive_secrets
from kernels.remote_write_symbols import fill_symbols
from kernels.remote_write_v2 import count_v2, fill_v2
from kernels.remote_write_v2_labels import define_v2, describe_v2

_FIRST_OF_V1: Final = 0x0A
"""Tag a 1.0 request begins with, its first series; the field is reserved in 2.0."""


class RemoteWriteV2Decoder:
    """Decodes io.prometheus.write.v2.Request messages; holds no state between requests, so threads may share it."""

    def __init__(self, hash_key: tuple[int, int], settings: RemoteWriteSettings) -> None:
        """hash_key: the two 64-bit halves of the data directory's key."""
        self._secrets = derive_secrets(hash_key)
        self._settings = settings

    def decode(self, body: bytes | bytearray | memoryview | NDArray[np.uint8], now_ms: int) -> PointColumns:
        """The points of a decompressed request. The columns' label source refers to `body`, which must not change.

        Raises DecodeError with the byte offset when the bytes are not a Request or its first symbol is not the empty
        string, BodyTooLarge.
        """
        data = as_bytes_array(body)
        if len(data) and data[0] == _FIRST_OF_V1:
            raise DecodeError("this looks like remote write 1.0, the content type says 2.0", offset=0, reason="version")
        counts = np.zeros(5, np.int64)
        raise_fault(int(count_v2(data, counts)))
        settings = self._settings
        symbols = int(counts[4])
        check_parts(symbols, "symbols")
        symbol_at, symbol_length = np.empty(symbols, np.int64), np.empty(symbols, np.int64)
        symbol_hi, symbol_lo = np.empty(symbols, np.uint64), np.empty(symbols, np.uint64)
        symbol_prefix, symbol_flags = np.empty(symbols, np.uint64), np.empty(symbols, np.uint8)
        wrong = np.zeros(2, np.int64)
        fill_symbols(
            data, self._secrets, symbol_at, symbol_length, symbol_hi, symbol_lo, symbol_prefix, symbol_flags, wrong
        )
        if wrong[0]:
            raise DecodeError("the first symbol is not the empty string", offset=int(wrong[1]))
        state = DecodeState.of(data, SeriesState.of(int(counts[0])), counts, settings, now_ms)
        starts = np.empty(len(state.times), np.int64)
        fault = fill_v2(
            data,
            self._secrets,
            state.limits,
            symbol_at,
            symbol_length,
            symbol_hi,
            symbol_lo,
            symbol_prefix,
            symbol_flags,
            state.row_hi,
            state.row_lo,
            state.times,
            state.values,
            starts,
            state.kinds,
            state.row_series,
            state.series,
            state.series_hi,
            state.series_lo,
            state.series_kinds,
            state.histograms,
            state.exemplars,
            np.empty(4 * settings.max_labels, np.int64),
            np.empty(2 * settings.max_labels, np.uint64),
            state.rejections,
            state.noted,
            state.out,
        )
        raise_fault(int(fault))
        return assemble(
            state,
            settings,
            self._secrets,
            partial(_define, symbol_at, symbol_length, state.series, settings.max_labels),
            partial(_describe, data, symbol_at, symbol_length, state.series),
            (symbol_at, symbol_length),
            starts if state.out[4] else None,
        )


def _define(
    symbol_at: NDArray[np.int64],
    symbol_length: NDArray[np.int64],
    series: NDArray[np.int64],
    max_labels: int,
    arena: NDArray[np.uint8],
    row_series: NDArray[np.uint32],
    override: NDArray[np.int64],
    overriding: bool,
    offsets: NDArray[np.uint32],
    out: NDArray[np.uint8],
    writing: bool,
) -> int:
    scratch = np.empty(4 * (max_labels + 1), np.int64)
    return int(
        define_v2(
            arena,
            symbol_at,
            symbol_length,
            series,
            row_series,
            override,
            overriding,
            scratch,
            offsets,
            out,
            writing,
        )
    )


def _describe(
    body: NDArray[np.uint8],
    symbol_at: NDArray[np.int64],
    symbol_length: NDArray[np.int64],
    series: NDArray[np.int64],
    index: int,
) -> str:
    places = np.zeros(4 * SHOWN_LABELS, np.int64)
    begin, end = int(series[index, 0]), int(series[index, 1])
    found = int(describe_v2(body, symbol_at, symbol_length, begin, end, places))
    return shown(body, places[: 4 * found])
