"""Values of one label over many series, each distinct value once: what is learned of series that are new."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from gateway.telemetry.labels import encode_label_blob
from gateway.telemetry.resolved import SeriesView
from kernels.label_values import keep_blobs_with, label_values


def distinct_values(series: SeriesView, sids: NDArray[np.uint32], name: str) -> tuple[list[str], NDArray[np.int64]]:
    """(the values of the label `name`, each once; int64[n]: which of them each of sids, uint32[n], has).

    A series without the label has the value "".
    """
    n = len(sids)
    numbers, begins, lengths = np.empty(n, np.uint32), np.empty(n, np.int64), np.empty(n, np.uint32)
    arena = series.label_arena
    label_values(
        arena, series.label_sets, series.label_lengths, sids, np.frombuffer(name.encode(), np.uint8),
        numbers, begins, lengths,
    )  # fmt: skip
    _, first, which = np.unique(numbers, return_index=True, return_inverse=True)
    places = zip(begins[first].tolist(), lengths[first].tolist(), strict=True)
    return [arena[at : at + size].tobytes().decode() if at >= 0 else "" for at, size in places], which


def blobs_with(
    labels: Mapping[str, Sequence[str]],
    area: NDArray[np.uint8],
    begins: NDArray[np.uint64],
    lengths: NDArray[np.uint32],
) -> NDArray[np.bool_]:
    """bool[n]: which of the label blobs in area, uint8[…], have for each name one of the values. begins: uint64[n];
    lengths: uint32[n]; an empty blob has none. One pass over those that are left for each value."""
    kept = (lengths > 0).astype(np.uint8)
    for name, values in labels.items():
        found = np.zeros_like(kept)
        for value in values:
            one = kept & ~found & np.uint8(1)
            entry = np.frombuffer(encode_label_blob({name: value}), np.uint8)
            keep_blobs_with(entry, len(one), area, begins, lengths, one)
            found |= one
        kept = found
    return kept.astype(np.bool_)
