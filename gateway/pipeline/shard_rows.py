"""A commit's rows in the order of their shards, as a frame of several workers' log has them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gateway.series.edge_table import Resolution
from gateway.series.shard import Shard
from gateway.telemetry.columns import ExemplarColumns, PointColumns
from gateway.telemetry.frame import ShardRows
from kernels.shard_rows import group_rows

_NO_STARTS = np.empty(0, np.int64)


class GroupedRows(NamedTuple):
    """Columns of a frame, see LogWriter.append."""

    ids: NDArray[np.uint32]
    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    starts_ms: NDArray[np.int64] | None
    exemplars: ExemplarColumns | None
    shards: ShardRows


class RowGrouping:
    """Knows the shard of every local id of the open segment; the committer's thread owns it."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._shard_of = np.zeros(1 << 12, np.uint8)

    def group(self, columns: PointColumns, resolution: Resolution, latest_ns: int) -> GroupedRows:
        """The rows that stay, grouped. Each resolution comes here once, in order, as its definitions are learned."""
        definitions = resolution.definitions
        if len(definitions):
            end = resolution.first_new_id + len(definitions)
            if end > len(self._shard_of):
                larger = np.zeros(max(end, 2 * len(self._shard_of)), np.uint8)
                larger[: len(self._shard_of)] = self._shard_of
                self._shard_of = larger
            self._shard_of[resolution.first_new_id : end] = self._shard.owners(definitions)
        ids, times, values, kinds = resolution.ids, columns.times_ms, columns.values, columns.kinds
        starts, exemplars = columns.starts_ms, columns.exemplars
        n = len(ids)
        keep = resolution.keep
        if keep is not None:
            ids, times, values, kinds = ids[keep], times[keep], values[keep], kinds[keep]
            starts = starts[keep] if starts is not None else None
            n = len(ids)
        shards = self._shard.count
        ids_out, moved = np.empty(n, np.uint32), np.empty(n, np.uint32)
        times_out, values_out = np.empty(n, np.int64), np.empty(n, np.float64)
        starts_out = np.empty(n, np.int64) if starts is not None else _NO_STARTS
        rows, counted = np.empty(shards, np.uint32), np.empty(shards, np.uint32)
        done = group_rows(
            np.ascontiguousarray(ids), np.ascontiguousarray(kinds), self._shard_of, np.ascontiguousarray(times),
            np.ascontiguousarray(values), np.ascontiguousarray(starts) if starts is not None else _NO_STARTS, shards,
            ids_out, times_out, values_out, starts_out, moved, rows, counted,
        )  # fmt: skip
        assert done == n, "a local id without a shard"
        if exemplars is not None:
            exemplars = _moved(exemplars, keep, moved)
        return GroupedRows(
            ids_out,
            times_out,
            values_out,
            starts_out if starts is not None else None,
            exemplars,
            ShardRows(latest_ns, rows, counted),
        )


def _moved(
    exemplars: ExemplarColumns, keep: NDArray[np.bool_] | None, moved: NDArray[np.uint32]
) -> ExemplarColumns | None:
    """Exemplars of the rows that stay. moved: uint32, where each row that stays went."""
    at = exemplars.rows.astype(np.int64)
    stays = np.ones(len(at), np.bool_)
    if keep is not None:
        stays = keep[at]
        at = (np.cumsum(keep, dtype=np.int64) - 1)[at]
    if not stays.any():
        return None
    return ExemplarColumns(
        moved[at[stays]],
        exemplars.times_ms[stays],
        exemplars.values[stays],
        exemplars.trace_ids[stays],
        exemplars.span_ids[stays],
    )
