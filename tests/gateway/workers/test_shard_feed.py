"""One shard's frames out of several logs: which, in what order, from which place on, and what is lost on the way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from gateway.clock import SystemClock
from gateway.log.segment import FORMAT_VERSION, FRAME_HEADER_BYTES
from gateway.log.settings import LogSettings
from gateway.log.sharing import DurableEnd, EdgePage
from gateway.log.writer import LogWriter
from gateway.pipeline.shard_feed import ShardFeed
from gateway.series.index import SeriesIndex
from gateway.series.shard import Shard
from gateway.telemetry import kind
from gateway.telemetry.columns import Definitions
from gateway.telemetry.frame import Frame, LogPosition, ShardRows
from gateway.telemetry.labels import encode_label_blob
from gateway.telemetry.resolved import ResolvedFrame

KEY = (1, 2)
SERIES = 12


class Edge:
    """One edge's writer; every frame has one row of each of 12 series, with the frame's number as value."""

    def __init__(self, directory: Path, number: int, shards: int = 2) -> None:
        self.writer = LogWriter.open(directory / "log", number, LogSettings(durability="os"), SystemClock())
        if shards > 1:
            self.writer.format_version = FORMAT_VERSION
        self._page = EdgePage(directory / "run", number)
        self._shards = shards
        blobs = [encode_label_blob({"__name__": "m", "n": str(i)}) for i in range(SERIES)]
        self._definitions = Definitions.from_blobs(blobs, np.full(SERIES, kind.GAUGE, np.uint8))
        owners = Shard(0, shards, KEY).owners(self._definitions)
        self._order = np.argsort(owners, kind="stable").astype(np.uint32)
        self._rows = np.bincount(owners, minlength=shards).astype(np.uint32)
        self._segment = 0

    def append(self, value: float, latest: int, *, tell: bool = True) -> Frame:
        """A durable frame, whose last request was received at `latest` seconds; told to the others, or not yet."""
        latest_ns = latest * 10**9
        new = self.writer.prepare(1000) != self._segment
        self._segment = self.writer.segment
        empty = Definitions(np.empty(0, np.uint8), np.zeros(1, np.uint32), np.empty(0, np.uint8))
        frame = self.writer.append(
            ids=self._order,
            times_ms=np.full(SERIES, int(value), np.int64),
            values=np.full(SERIES, value),
            starts_ms=None,
            definitions=self._definitions if new else empty,
            first_new_id=0 if new else SERIES,
            counted_rows=SERIES,
            received_ns=latest_ns - 5,
            shards=ShardRows(latest_ns, self._rows, self._rows) if self._shards > 1 else None,
        )
        self.writer.sync()
        if tell:
            self.tell()
        return frame

    def tell(self) -> None:
        """Let the others see what is durable."""
        self._page.tell(DurableEnd(self.writer.durable_end, self.writer.next_row))


def feed_of(directory: Path, shard: Shard, edges: int = 2, own: int | None = None) -> ShardFeed:
    return ShardFeed(
        "scorer", directory / "log", directory / "run", SeriesIndex(100), shard, edges, own, LogPosition(0, 0),
        former=[], former_until=[], on_committed=lambda *_: None, touch=False,
    )  # fmt: skip


def all_of(feed: ShardFeed, max_bytes: int = 10**6) -> list[ResolvedFrame]:
    found: list[ResolvedFrame] = []
    while frames := feed.poll(max_bytes):
        found += frames
    return found


def values(frames: Iterable[ResolvedFrame]) -> list[float]:
    return [float(f.frame.values[0]) for f in frames if len(f.sids)]


def test_frames_of_all_edges_come_by_when_their_last_request_was_received(tmp_path: Path) -> None:
    edges = [Edge(tmp_path, 0), Edge(tmp_path, 1)]
    for value, latest in ((1, 10), (4, 40), (5, 50)):
        edges[0].append(value, latest)
    for value, latest in ((2, 20), (3, 30), (6, 60)):
        edges[1].append(value, latest)
    for max_bytes in (1, 10**6):
        feed = feed_of(tmp_path, Shard(0, 2, KEY))
        feed.seek(None)
        assert values(all_of(feed, max_bytes)) == [1, 2, 3, 4, 5, 6]
        assert feed.idle


def test_every_row_belongs_to_one_shard(tmp_path: Path) -> None:
    edges = [Edge(tmp_path, edge, shards=3) for edge in range(3)]
    for edge in edges:
        edge.append(1, 10)
    rows: list[str] = []
    for own in range(3):
        index = SeriesIndex(100)
        feed = ShardFeed(
            "scorer", tmp_path / "log", tmp_path / "run", index, Shard(own, 3, KEY), 3, None, LogPosition(0, 0),
            former=[], former_until=[], on_committed=lambda *_: None, touch=False,
        )  # fmt: skip
        feed.seek(None)
        for resolved in all_of(feed):
            rows += [index.labels(int(sid))["n"] for sid in resolved.sids]
        assert index.active_count < SERIES
    assert sorted(rows) == sorted(str(i) for i in range(SERIES) for _ in edges)


def test_what_is_not_told_is_not_read(tmp_path: Path) -> None:
    edge = Edge(tmp_path, 0)
    feed = feed_of(tmp_path, Shard(0, 2, KEY), edges=1)
    feed.seek(None)
    edge.append(1, 10)
    assert values(all_of(feed)) == [1]
    edge.append(2, 20, tell=False)
    assert all_of(feed) == []
    assert feed.idle
    edge.tell()
    assert not feed.idle
    assert values(all_of(feed)) == [2]


def test_frames_of_the_own_edge_come_in_memory(tmp_path: Path) -> None:
    edge = Edge(tmp_path, 0)
    feed = feed_of(tmp_path, Shard(1, 2, KEY), edges=1, own=0)
    feed.seek(None)
    assert all_of(feed) == []
    for value in (1, 2, 3):
        feed.publish(edge.append(value, 10 * value, tell=False))
        assert all_of(feed) == []  # the page says when it may be seen
        edge.tell()
        assert values(all_of(feed)) == [value]


def test_a_reader_continues_at_any_place(tmp_path: Path) -> None:
    edges = [Edge(tmp_path, 0), Edge(tmp_path, 1)]
    for value in range(1, 9):
        edges[value % 2].append(value, 10 * value)
    first = feed_of(tmp_path, Shard(0, 2, KEY))
    first.seek(None)
    frames = all_of(first)
    for number, resolved in enumerate(frames):
        again = feed_of(tmp_path, Shard(0, 2, KEY))
        again.seek(resolved.end)
        rest = all_of(again)
        assert values(rest) == values(frames[number + 1 :])
        assert [f.frame.first_row for f in rest] == [f.frame.first_row for f in frames[number + 1 :]]
        assert [f.end for f in rest] == [f.end for f in frames[number + 1 :]]


def test_what_lies_before_a_place_comes_before_what_does_not(tmp_path: Path) -> None:
    """A forwarder folds up to the place that was acknowledged and sends on from there."""
    edges = [Edge(tmp_path, 0), Edge(tmp_path, 1)]
    edges[0].append(3, 30)
    edges[0].append(4, 40)
    first = feed_of(tmp_path, Shard(0, 2, KEY))
    first.seek(None)
    acknowledged = all_of(first)[-1].end
    edges[1].append(1, 10)
    edges[1].append(2, 20)
    again = feed_of(tmp_path, Shard(0, 2, KEY))
    again.seek(LogPosition(0, 0), until=acknowledged)
    assert values(all_of(again)) == [3, 4, 1, 2]


def test_a_worker_started_again_reads_all_it_had_written_although_it_writes_on(tmp_path: Path) -> None:
    """Its forwarder had acknowledged a part; the new segment is there before it reads that part again."""
    edge = Edge(tmp_path, 0)
    before = feed_of(tmp_path, Shard(0, 2, KEY), edges=1)
    before.seek(None)
    edge.append(1, 10)
    (safe,) = all_of(before)
    edge.append(2, 20)
    (acknowledged,) = all_of(before)
    edge.append(3, 30)
    edge.writer.close()
    again = Edge(tmp_path, 0)
    again.tell()
    feed = ShardFeed(
        "forwarder", tmp_path / "log", tmp_path / "run", SeriesIndex(100), Shard(0, 2, KEY), 1, 0,
        again.writer.durable_end,
        former=[], former_until=[], on_committed=lambda *_: None, touch=False,
    )  # fmt: skip
    feed.seek(safe.end, until=acknowledged.end)
    feed.publish(again.append(4, 40))
    assert values(all_of(feed)) == [2, 3, 4]
    assert feed.lost == {}


def test_lost_rows_are_answered_for_once(tmp_path: Path) -> None:
    edge = Edge(tmp_path, 1)
    Edge(tmp_path, 0)
    frames = [edge.append(value, 10 * value) for value in (1, 2, 3)]
    path = edge.writer.path_of(frames[1].start.segment)
    content = bytearray(path.read_bytes())
    content[frames[1].start.offset + FRAME_HEADER_BYTES + 3] ^= 1
    path.write_bytes(content)
    lost: list[dict[str, int]] = []
    counted: list[int] = []
    for own in range(2):
        feed = feed_of(tmp_path, Shard(own, 2, KEY))
        feed.seek(None)
        found = all_of(feed)
        assert values(found) == [1, 3]
        lost.append(feed.lost)
        counted.append(_taken(found))
    assert lost == [{}, {"corrupt_frame": SERIES}]
    assert sum(counted) == 3 * SERIES  # those lost among them


def test_a_series_that_another_edge_still_names_is_not_forgotten(tmp_path: Path) -> None:
    edges = [Edge(tmp_path, 0), Edge(tmp_path, 1)]
    index = SeriesIndex(100)
    feed = ShardFeed(
        "scorer", tmp_path / "log", tmp_path / "run", index, Shard(0, 2, KEY), 2, None, LogPosition(0, 0),
        former=[], former_until=[], on_committed=lambda *_: None, touch=True,
    )  # fmt: skip
    feed.seek(None)
    edges[0].append(1, 1)
    edges[1].append(1, 1)
    all_of(feed)
    before = index.active_count
    edges[0].writer.rotate()
    edges[0].append(2, 2)
    all_of(feed)
    edges[0].writer.rotate()
    edges[0].append(3, 3)
    all_of(feed)
    assert len(index.expire(10**15)) == 0  # edge 1's segment names them all
    edges[1].append(4, 4)
    (frame,) = all_of(feed)
    assert index.active_count == before
    assert {index.labels(int(sid))["__name__"] for sid in frame.sids} == {"m"}


def _taken(frames: Sequence[ResolvedFrame]) -> int:
    last = frames[-1].frame
    return last.first_row + last.counted_rows
