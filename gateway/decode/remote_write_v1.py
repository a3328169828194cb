"""Remote write 1.0 request bytes → PointColumns."""

from __future__ import annotations

from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.decode.known_labels import KnownLabels
from gateway.decode.remote_write import (
    SHOWN_LABELS,
    DecodeState,
    SeriesState,
    as_bytes_array,
    assemble,
    raise_fault,
    shown,
)
from gateway.decode.remote_write_settings import RemoteWriteSettings
from gateway.errors import DecodeError
from gateway.telemetry.columns import PointColumns
from kernels.label_hash import derive_secrets
from kernels.remote_write_known import count_series_v1, match_v1
from kernels.remote_write_v1 import PLACES, fill_v1
from kernels.remote_write_v1_labels import define_v1, describe_v1

_NO_SYMBOLS = (np.empty(0, np.int64), np.empty(0, np.int64))


_FIRST_OF_V2: Final = (0x22, 0x2A)
"""Tags a 2.0 request begins with, symbols or series; 1.0 has no such fields and would take it for an empty request."""


class RemoteWriteV1Decoder:
    """Decodes prometheus.WriteRequest messages; threads may share it.

    Between requests it keeps which label sets it has seen, which makes them faster to decode and nothing else.
    """

    def __init__(self, hash_key: tuple[int, int], settings: RemoteWriteSettings) -> None:
        """hash_key: the two 64-bit halves of the data directory's key."""
        self._secrets = derive_secrets(hash_key)
        self._settings = settings
        self._known = KnownLabels()

    def decode(self, body: bytes | bytearray | memoryview | NDArray[np.uint8], now_ms: int) -> PointColumns:
        """The points of a decompressed request. The columns' label source refers to `body`, which must not change.

        Raises DecodeError with the byte offset when the bytes are not a WriteRequest, BodyTooLarge.
        """
        data = as_bytes_array(body)
        if len(data) and data[0] in _FIRST_OF_V2:
            raise DecodeError("this looks like remote write 2.0, the content type says 1.0", offset=0, reason="version")
        table, tally = self._known.for_request()
        known = SeriesState.of(int(count_series_v1(data)))
        counts = np.zeros(4, np.int64)
        raise_fault(int(match_v1(data, self._secrets, table, *known, counts)))
        settings = self._settings
        state = DecodeState.of(data, known, counts, settings, now_ms)
        fault = fill_v1(
            data,
            self._secrets,
            state.limits,
            table,
            tally,
            state.row_hi,
            state.row_lo,
            state.times,
            state.values,
            state.kinds,
            state.row_series,
            state.series,
            state.series_hi,
            state.series_lo,
            state.series_kinds,
            state.histograms,
            state.exemplars,
            np.empty(3 * settings.max_labels, np.uint64),
            np.empty(PLACES * settings.max_labels, np.int64),
            state.rejections,
            state.noted,
            state.out,
        )
        raise_fault(int(fault))
        self._known.after_request(tally, len(state.series))
        return assemble(
            state,
            settings,
            self._secrets,
            partial(_define, state.series, settings.max_labels),
            partial(_describe, data, state.series),
            _NO_SYMBOLS,
            None,
        )


def _define(
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
    return int(define_v1(arena, series, row_series, override, overriding, scratch, offsets, out, writing))


def _describe(body: NDArray[np.uint8], series: NDArray[np.int64], index: int) -> str:
    places = np.zeros(4 * SHOWN_LABELS, np.int64)
    found = int(describe_v1(body, int(series[index, 0]), int(series[index, 1]), places))
    return shown(body, places[: 4 * found])
