"""A shard's share of the log: which series are its own, and local ids of frames that hold others' rows too.

A series belongs to shard `hash % count` of its labels (kernels.shard_rows), so every edge finds the same owner for it
and so does a reader that meets a frame of a time when there were more workers or fewer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gateway.series.index import SeriesIndex
from gateway.series.local_ids import LocalIds
from gateway.telemetry import kind
from gateway.telemetry.columns import Definitions, ExemplarColumns
from gateway.telemetry.frame import Frame, part_of
from gateway.telemetry.resolved import ResolvedFrame
from kernels import label_index
from kernels.label_hash import derive_secrets
from kernels.series_table import copy_blobs
from kernels.shard_rows import shard_hashes

SettledShards = Callable[[NDArray[np.uint64]], NDArray[np.bool_]]
"""Hashes of rows → bool[n]: which of them a former worker has settled already."""


@dataclass(frozen=True, slots=True)
class Shard:
    """Shard `own` of `count`. hash_key: the data directory's, which all workers share."""

    own: int
    count: int
    hash_key: tuple[int, int]

    def hashes(self, definitions: Definitions) -> NDArray[np.uint64]:
        """uint64[m]: what shards are computed from; never 0."""
        out = np.empty(len(definitions), np.uint64)
        shard_hashes(definitions.blobs, definitions.offsets, derive_secrets(self.hash_key), out)
        return out

    def owners(self, definitions: Definitions) -> NDArray[np.uint8]:
        """uint8[m]: the shard of each series."""
        return (self.hashes(definitions) % np.uint64(self.count)).astype(np.uint8)


class ShardLocalIds(LocalIds):
    """LocalIds of one shard's reader in one edge's log; defines the shard's own series alone.

    siblings: the reader's LocalIds of all edges, this one among them; they share a pin. former_until: segments up to
    this number were written before the present number of workers; their rows are picked one by one.
    """

    def __init__(
        self,
        index: SeriesIndex,
        reader: str,
        shard: Shard,
        siblings: list[ShardLocalIds],
        *,
        former_until: int,
        touch: bool,
    ) -> None:
        super().__init__(index, reader, touch=touch)
        self._shard = shard
        self._siblings = siblings
        siblings.append(self)
        self._former_until = former_until
        self._hashes = np.zeros(0, np.uint64)
        """By local id, 0 where not known; of former segments alone."""
        self._kinds = np.zeros(0, np.uint8)

    def resolve_part(self, frame: Frame, settled: SettledShards) -> tuple[ResolvedFrame, int]:
        """The shard's rows of a frame with sids, and how many of them count, those that cannot be named included.

        settled: asked for rows of former segments only.
        """
        self._enter(frame)
        if len(frame.definitions):
            self._define(frame)
        if frame.start.segment <= self._former_until:
            part = self._picked(frame, settled)
        else:
            part = part_of(frame, self._shard.own) if frame.shards is not None else frame
        return self._named(part), part.counted_rows

    def _define(self, frame: Frame) -> None:
        definitions = frame.definitions
        first, end = frame.first_new_id, frame.first_new_id + len(definitions)
        self._reserve(end)
        hashes = self._shard.hashes(definitions)
        if frame.start.segment <= self._former_until:
            self._remember(first, hashes, definitions.kinds)
        own = np.flatnonzero(hashes % np.uint64(self._shard.count) == np.uint64(self._shard.own))
        if len(own):
            self._mapping[first + own] = self._index.define(
                chosen_definitions(definitions, own), pin=self._pin, seen_ms=frame.received_ns // 1_000_000
            )
        self._known = max(self._known, end)

    def _remember(self, first: int, hashes: NDArray[np.uint64], kinds: NDArray[np.uint8]) -> None:
        end = first + len(hashes)
        if end > len(self._hashes):
            more = max(end, 2 * len(self._hashes)) - len(self._hashes)
            self._hashes = np.concatenate([self._hashes, np.zeros(more, np.uint64)])
            self._kinds = np.concatenate([self._kinds, np.zeros(more, np.uint8)])
        self._hashes[first:end] = hashes
        self._kinds[first:end] = kinds

    def _picked(self, frame: Frame, settled: SettledShards) -> Frame:
        """Own rows of a frame of former workers that none of them has settled."""
        known = frame.ids < len(self._hashes)
        hashes, kinds = np.zeros(len(frame), np.uint64), np.zeros(len(frame), np.uint8)
        hashes[known] = self._hashes[frame.ids[known]]
        kinds[known] = self._kinds[frame.ids[known]]
        owner = hashes % np.uint64(self._shard.count)
        # A row whose definition was damaged has no owner: the edge's first shard drops and counts it.
        owner[hashes == 0] = frame.edge % self._shard.count
        keep = (owner == np.uint64(self._shard.own)) & ~settled(hashes)
        return _with_rows(frame, keep, int(np.count_nonzero(keep & ((kinds & kind.CLASS_MASK) != kind.TARGET_INFO))))

    def clear(self) -> None:
        """See LocalIds. Series that another edge's segment still names stay pinned."""
        if self._known:
            others = [other.mapped for other in self._siblings if other is not self]
            self._index.release(self.mapped, self._pin, others)
            self._mapping[: self._known] = label_index.UNRESOLVED
            self._known = 0
        self._hashes[:] = 0
        self._segment = (-1, -1)


def chosen_definitions(definitions: Definitions, chosen: NDArray[np.int64]) -> Definitions:
    """Some of the definitions, in the order given. chosen: int64[k]."""
    lengths = (definitions.offsets[1:] - definitions.offsets[:-1])[chosen]
    offsets = np.zeros(len(chosen) + 1, np.int64)
    np.cumsum(lengths, out=offsets[1:])
    blobs = np.empty(int(offsets[-1]), np.uint8)
    copy_blobs(definitions.blobs, definitions.offsets[chosen].astype(np.uint64), lengths, offsets[:-1], blobs)
    return Definitions(definitions.kinds[chosen], offsets.astype(np.uint32), blobs)


def settled_by(positions: Sequence[tuple[int, NDArray[np.bool_]]]) -> SettledShards:
    """A row is settled if any former worker that owned it has come past its frame.

    positions: for each former number of workers, that number and bool[number], which of them have.
    """

    def settled(hashes: NDArray[np.uint64]) -> NDArray[np.bool_]:
        found = np.zeros(len(hashes), np.bool_)
        for count, past in positions:
            found |= past[(hashes % np.uint64(count)).astype(np.int64)]
        return found

    return settled


def _with_rows(frame: Frame, keep: NDArray[np.bool_], counted: int) -> Frame:
    exemplars = frame.exemplars
    if exemplars is not None:
        stays = keep[exemplars.rows]
        places = np.cumsum(keep, dtype=np.int64) - 1
        exemplars = ExemplarColumns(
            places[exemplars.rows[stays]].astype(np.uint32),
            exemplars.times_ms[stays],
            exemplars.values[stays],
            exemplars.trace_ids[stays],
            exemplars.span_ids[stays],
        )
    return replace(
        frame,
        ids=frame.ids[keep],
        times_ms=frame.times_ms[keep],
        values=frame.values[keep],
        starts_ms=frame.starts_ms[keep] if frame.starts_ms is not None else None,
        counted_rows=counted,
        exemplars=exemplars if exemplars is not None and len(exemplars.rows) else None,
        shards=None,
    )
