"""One shard's frames of the logs of all edges, in one order.

The order. Of one edge frames come as they stand in its log. Between edges a frame is earlier whose last request was
received earlier, among the frames up to a *cut*: the durable ends of all edges, read so that they held at one moment.
What was sent after an acknowledgement therefore comes after what was acknowledged, whichever edges took the two; only
of rows that were on their way at the same time, in different edges, the order may be another when they are read again.

The place. `ResolvedFrame.place` says for every edge what has been taken up to and with that frame, so a reader's
state and its place belong together although several logs move. Rows are numbered anew here: a frame's `first_row`
counts what this reader has taken since the data directory was made, so that gaps still show lost rows. Rows that no
one can read have no shard any more; the shard with the edge's number (modulo the number of shards) answers for them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from gateway.log.sharing import DurableEnd, EdgePageReader
from gateway.pipeline.coalesce import coalesced
from gateway.pipeline.feed import EdgeFrames
from gateway.series.index import SeriesIndex
from gateway.series.shard import SettledShards, Shard, ShardLocalIds, settled_by
from gateway.telemetry.frame import Frame, Frontier, LogPosition, Place, edge_positions
from gateway.telemetry.resolved import ResolvedFrame

_ROW_BYTES: Final = 20
_CHUNK_BYTES: Final = 2 * 2**20
"""Read of one edge at a time; of every edge as much may wait for its turn."""
_LOOKS: Final = 50
_START: Final = LogPosition(0, 0)


@dataclass(frozen=True, slots=True)
class FormerWorkers:
    """How far the workers of a former number had come, for one kind of reader: positions[shard][edge]."""

    count: int
    positions: Sequence[Sequence[LogPosition]]


class _Edge:
    """One edge as this reader sees it."""

    def __init__(self, frames: EdgeFrames, ids: ShardLocalIds, page: EdgePageReader) -> None:
        self.frames, self.ids, self.page = frames, ids, page
        self.waiting: deque[Frame] = deque()
        self.drained_to = _START
        self.next = _START
        self.next_row = 0
        self.lost_seen: dict[str, int] = {}


class ShardFeed:
    """See the module's text and Feed. The reader's thread owns it; `publish` comes from the committer's.

    edges: all edge numbers of the data directory, from 0 on; `own` is written by this process, None if none is.
    former_until: by edge, where its log ended when the number of workers last changed. on_committed: told a committed
    place, by edge.
    """

    def __init__(
        self,
        name: str,
        log_directory: Path,
        run_directory: Path,
        index: SeriesIndex,
        shard: Shard,
        edges: int,
        own: int | None,
        durable_end: LogPosition,
        *,
        former: Sequence[FormerWorkers],
        former_until: Sequence[LogPosition],
        on_committed: Callable[[str, Sequence[LogPosition]], None],
        touch: bool,
    ) -> None:
        self._name = name
        self._shard = shard
        self._former = former
        self._former_until = former_until
        self._on_committed = on_committed
        self._own = own
        siblings: list[ShardLocalIds] = []
        self._edges: list[_Edge] = []
        for edge in range(edges):
            until = former_until[edge].segment if edge < len(former_until) else 0
            ids = ShardLocalIds(index, name, shard, siblings, former_until=until, touch=touch)
            source = EdgeFrames(
                log_directory,
                edge,
                durable_end if edge == own else _START,
                self._define_with(ids),
                tails=edge != own,
            )
            self._edges.append(_Edge(source, ids, EdgePageReader(run_directory, edge)))
        self._cut: list[LogPosition] = [_START] * edges
        self._until: list[LogPosition] | None = None
        self._taken = 0
        self.lost: dict[str, int] = {}
        """Rows that could not be read any more and that this shard answers for, by reason."""
        self.wake: Callable[[], None] = lambda: None

    @staticmethod
    def _define_with(ids: ShardLocalIds) -> Callable[[Frame], object]:
        return lambda frame: ids.resolve_part(frame, _none_settled)

    def publish(self, frame: Frame) -> None:
        """A frame of the own edge has become durable. The edge's page is to be told next."""
        assert self._own is not None
        self._edges[self._own].frames.publish(frame)

    def durable_ends(self) -> list[DurableEnd]:
        """The durable end of every edge, all at one moment."""
        found = [edge.page.read() for edge in self._edges]
        for _ in range(_LOOKS):
            again = [edge.page.read() for edge in self._edges]
            if again == found:
                break
            found = again
        return found

    def seek(self, position: Place | None, expected_row: int | None = None, until: Place | None = None) -> None:
        """See Feed. A place without numbers of rows is taken as the beginning of the log."""
        del expected_row
        places = edge_positions(position) if position is not None else ()
        rows = position.rows if isinstance(position, Frontier) else ()
        self._taken = position.taken if isinstance(position, Frontier) else 0
        for number, edge in enumerate(self._edges):
            at = places[number] if number < len(places) else _START
            edge.next, edge.next_row = at, rows[number] if number < len(rows) else 0
            edge.waiting.clear()
            edge.drained_to = _START
            edge.frames.seek(None if at == _START else at, edge.next_row if number < len(rows) else None)
        self._cut = [_START] * len(self._edges)
        self._until = None
        if until is not None:
            bound = edge_positions(until)
            self._until = [*bound, *[_START] * (len(self._edges) - len(bound))]

    def poll(self, max_bytes: int) -> list[ResolvedFrame]:
        """See Feed. Where rows of other shards came last, a frame without rows tells the place behind them."""
        self._advance_cut()
        found: list[ResolvedFrame] = []
        without_rows: ResolvedFrame | None = None
        segments: dict[int, int] = {}
        size = 0
        while size < max_bytes:
            number = self._next_edge()
            if number is None:
                break
            edge = self._edges[number]
            frame = edge.waiting[0]
            if segments.setdefault(number, frame.start.segment) != frame.start.segment:
                break
            edge.waiting.popleft()
            resolved = self._take(edge, frame)
            if len(resolved.sids) or resolved.frame.counted_rows:
                found.append(resolved)
                without_rows = None
                size += max(_ROW_BYTES * len(resolved.sids), 1)
            else:
                without_rows = resolved
        if without_rows is not None:
            found.append(without_rows)
        return coalesced(found)

    @property
    def pending_is_light(self) -> bool:
        """See Feed; files of other edges are read."""
        return False

    @property
    def idle(self) -> bool:
        """See Feed."""
        if self._until is not None or any(edge.waiting for edge in self._edges):
            return False
        return all(edge.drained_to >= edge.page.read().position for edge in self._edges)

    def committed(self, position: Place) -> None:
        """See FrameFeed."""
        self._on_committed(self._name, edge_positions(position))

    def close(self) -> None:
        """See Feed."""
        for edge in self._edges:
            edge.frames.close()
            edge.page.close()

    def _advance_cut(self) -> None:
        if any(e.waiting or e.drained_to < cut for e, cut in zip(self._edges, self._cut, strict=True)):
            return  # the cut before is not worked off
        ends = [end.position for end in self.durable_ends()]
        if self._until is not None:
            bounded = [min(end, until) for end, until in zip(ends, self._until, strict=True)]
            if any(e.drained_to < until for e, until in zip(self._edges, bounded, strict=True)):
                self._cut = bounded
                return
            self._until = None
        self._cut = ends

    def _next_edge(self) -> int | None:
        """The edge whose frame is next; None when all edges are at the cut."""
        best: int | None = None
        best_ns = 0
        for number, (edge, cut) in enumerate(zip(self._edges, self._cut, strict=True)):
            if not edge.waiting and edge.drained_to < cut:
                edge.waiting.extend(edge.frames.take(_CHUNK_BYTES, cut))
                self._answer_for_lost(number, edge)
                if not edge.waiting:
                    edge.drained_to = cut
            if edge.waiting and (best is None or edge.waiting[0].order_ns < best_ns):
                best, best_ns = number, edge.waiting[0].order_ns
        return best

    def _answer_for_lost(self, number: int, edge: _Edge) -> None:
        lost = edge.frames.lost
        if lost == edge.lost_seen:
            return
        answers = number % self._shard.count == self._shard.own
        at = edge.waiting[0].start if edge.waiting else edge.next
        for former in self._former:
            known = former.positions[number % former.count]
            answers = answers and not (number < len(known) and at < known[number])
        for reason, rows in lost.items():
            new = rows - edge.lost_seen.get(reason, 0)
            if new and answers:
                self.lost[reason] = self.lost.get(reason, 0) + new
                self._taken += new
        edge.lost_seen = dict(lost)

    def _take(self, edge: _Edge, frame: Frame) -> ResolvedFrame:
        resolved, counted = edge.ids.resolve_part(frame, self._settled(frame))
        edge.next, edge.next_row = frame.end, frame.first_row + frame.counted_rows
        first_row, self._taken = self._taken, self._taken + counted
        place = Frontier(
            tuple(e.next for e in self._edges),
            tuple(e.next_row for e in self._edges),
            self._taken,
        )
        return ResolvedFrame(replace(resolved.frame, first_row=first_row), resolved.sids, place)

    def _settled(self, frame: Frame) -> SettledShards:
        if frame.edge >= len(self._former_until) or frame.start >= self._former_until[frame.edge]:
            return _none_settled
        past = []
        for former in self._former:
            at = [p[frame.edge] if frame.edge < len(p) else _START for p in former.positions]
            past.append((former.count, np.array([frame.start < p for p in at], np.bool_)))
        return settled_by(past)


def _none_settled(hashes: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    return np.zeros(len(hashes), np.bool_)
