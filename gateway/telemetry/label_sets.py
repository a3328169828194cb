"""Label sets of the series index (see kernels.label_sets) as label blobs, and blobs as label sets."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.telemetry.resolved import SeriesView
from kernels.label_sets import FIRST_FREE, LAST, UNIT, gather_blobs

_PIECE: Final = 4096
"""Series whose blobs are written one after another at a time: some megabyte."""


class Blobs(NamedTuple):
    """The label blobs of series first … first + n - 1 of those asked for.

    area: uint8[total]; begins: uint64[n]; lengths: uint32[n], 0 for a free sid.
    """

    first: int
    area: NDArray[np.uint8]
    begins: NDArray[np.uint64]
    lengths: NDArray[np.uint32]

    @property
    def rows(self) -> NDArray[np.uint32]:
        """uint32[n]: 0 … n - 1, as kernels that take blobs by series want them."""
        return np.arange(len(self.lengths), dtype=np.uint32)


def blobs_of(series: SeriesView, sids: NDArray[np.uint32]) -> Iterator[Blobs]:
    """The blobs of sids, uint32[…], in pieces and in that order."""
    for first in range(0, len(sids), _PIECE):
        piece = np.ascontiguousarray(sids[first : first + _PIECE])
        lengths = series.label_lengths[piece]
        begins = np.cumsum(lengths, dtype=np.uint64) - lengths
        # Zeros, so that what the index has given up meanwhile is at least always the same.
        area = np.zeros(int(lengths.sum(dtype=np.int64)), np.uint8)
        gather_blobs(series.label_arena, series.label_sets, series.label_lengths, piece, begins, area)
        yield Blobs(first, area, begins, lengths)


class PlacedSets(NamedTuple):
    """Label sets as the index keeps them: arena, uint8[total]; sets and lengths, uint32[n]; see SeriesView."""

    arena: NDArray[np.uint8]
    sets: NDArray[np.uint32]
    lengths: NDArray[np.uint32]


def placed(blobs: Sequence[bytes]) -> PlacedSets:
    """Of separate blobs. Each is kept whole, as a set of one pair: for a few rows sharing labels would not pay."""
    arena = bytearray(FIRST_FREE)
    sets = np.empty(len(blobs), np.uint32)
    for i, blob in enumerate(blobs):
        number = len(arena) // UNIT
        arena += (1).to_bytes(4, "little") + len(blob).to_bytes(4, "little") + blob
        arena += bytes(-len(arena) % UNIT)
        sets[i] = len(arena) // UNIT
        arena += (number | LAST).to_bytes(4, "little") + bytes(4)
    return PlacedSets(
        np.frombuffer(bytes(arena), np.uint8), sets, np.fromiter((len(b) for b in blobs), np.uint32, len(blobs))
    )
