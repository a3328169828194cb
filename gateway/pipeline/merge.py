"""Several decoded requests as one: what a group commit writes as a single frame."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gateway.telemetry.columns import Definitions, ExemplarColumns, LabelSource, PointColumns


class MergedLabelSource:
    """Sends each row to the request it came from. `ends` is int64[k]: row count up to and including request i."""

    def __init__(self, sources: Sequence[LabelSource], ends: NDArray[np.int64]) -> None:
        self._sources = sources
        self._ends = ends

    def definitions(self, rows: NDArray[np.int64]) -> Definitions:
        """See LabelSource. `rows` ascend, as new series are found in row order."""
        owners = np.searchsorted(self._ends, rows, side="right")
        parts: list[Definitions] = []
        for owner in np.unique(owners):
            first = int(self._ends[owner - 1]) if owner else 0
            parts.append(self._sources[int(owner)].definitions(rows[owners == owner] - first))
        return concatenate_definitions(parts)


def concatenate_definitions(parts: Sequence[Definitions]) -> Definitions:
    """One Definitions out of several, in order."""
    if len(parts) == 1:
        return parts[0]
    offsets = [np.zeros(1, np.uint32)]
    base = 0
    for part in parts:
        offsets.append(part.offsets[1:] + np.uint32(base))
        base += len(part.blobs)
    return Definitions(
        np.concatenate([p.kinds for p in parts]) if parts else np.empty(0, np.uint8),
        np.concatenate(offsets),
        np.concatenate([p.blobs for p in parts]) if parts else np.empty(0, np.uint8),
    )


def merge_columns(requests: Sequence[PointColumns]) -> tuple[PointColumns, NDArray[np.int64]]:
    """The requests' rows one after another, and int64[k]: where each request's rows end.

    `row_points` numbers protocol points over the whole, so that refused points can be told apart by request.
    """
    ends = np.cumsum([len(r) for r in requests], dtype=np.int64)
    if len(requests) == 1:
        return requests[0], ends
    starts: NDArray[np.int64] | None = None
    if any(r.starts_ms is not None for r in requests):
        starts = np.concatenate(
            [r.starts_ms if r.starts_ms is not None else np.zeros(len(r), np.int64) for r in requests]
        )
    merged = PointColumns(
        hash_hi=np.concatenate([r.hash_hi for r in requests]),
        hash_lo=np.concatenate([r.hash_lo for r in requests]),
        times_ms=np.concatenate([r.times_ms for r in requests]),
        values=np.concatenate([r.values for r in requests]),
        starts_ms=starts,
        kinds=np.concatenate([r.kinds for r in requests]),
        source=MergedLabelSource([r.source for r in requests], ends),
        exemplars=ExemplarColumns.joined((r.exemplars, len(r)) for r in requests),
        points=sum(r.points for r in requests),
        row_points=_joined_points(requests),
    )
    return merged, ends


def _joined_points(requests: Sequence[PointColumns]) -> NDArray[np.uint32] | None:
    """See PointColumns.row_points; None where every row is a point of its own."""
    if all(r.row_points is None and r.points == len(r) for r in requests):
        return None
    parts: list[NDArray[np.uint32]] = []
    base = 0
    for request in requests:
        own = request.row_points if request.row_points is not None else np.arange(len(request), dtype=np.uint32)
        parts.append(own + np.uint32(base))
        base += max(request.points, int(own.max()) + 1 if len(own) else 0)
    return np.concatenate(parts)
