"""Two workers that follow each other's logs, against lists: appends, rotations, kills and orderly stops of either,
readers that stand still, go on and begin again, in any order. One thread: the interleavings are the model's."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Final

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from gateway.pipeline import shard_feed
from gateway.pipeline.shard_feed import ShardFeed
from gateway.series.index import SeriesIndex
from gateway.series.shard import Shard
from gateway.telemetry.frame import Place, not_beyond
from gateway.telemetry.resolved import ResolvedFrame
from tests.gateway.workers.test_shard_feed import KEY, SERIES, Edge

WORKERS: Final = 2
EDGES = st.integers(0, WORKERS - 1)
Taken = list[list[float]]


class Worker:
    """One worker's edge and the reader of its shard. Values of frames count up in each edge: 0, 1, 2, ..."""

    def __init__(self, directory: Path, number: int) -> None:
        self._directory, self._number = directory, number
        self.safe: tuple[Place | None, Taken] = (None, [[] for _ in range(WORKERS)])
        self.acked = self.safe
        self.written = 0
        self.start()

    def start(self) -> None:
        """As a process does: open the log, tell its end, begin to read at the safe place."""
        self.edge = Edge(self._directory, self._number)
        self.edge.tell()
        self.index = SeriesIndex(100)
        self.feed = ShardFeed(
            "forwarder", self._directory / "log", self._directory / "run", self.index,
            Shard(self._number, WORKERS, KEY), WORKERS, self._number, self.edge.writer.durable_end,
            former=[], former_until=[], on_committed=lambda *_: None, touch=False,
        )  # fmt: skip
        self.go_back()

    def go_back(self) -> None:
        """Read again from the safe place; what lies before the acknowledged one comes first."""
        place, taken = self.safe
        self.taken: Taken = [list(values) for values in taken]
        self.place = place
        self.feed.seek(place, until=self.acked[0])

    def end(self) -> None:
        """The process is gone."""
        self.feed.close()
        self.edge.writer.close()

    def append(self, latest: int) -> None:
        """One durable frame, published and told."""
        frame = self.edge.append(float(self.written), latest, tell=False)
        self.written += 1
        self.feed.publish(frame)
        self.edge.tell()

    def poll(self, max_bytes: int) -> int:
        """Take what there is; returns how many frames."""
        frames = self.feed.poll(max_bytes)
        for resolved in frames:
            self._take(resolved)
        return len(frames)

    def _take(self, resolved: ResolvedFrame) -> None:
        # Requests lie a second apart, so every frame comes by itself and has one value.
        for value in sorted(set(resolved.frame.values.tolist())):
            taken = self.taken[resolved.frame.edge]
            assert value == len(taken)
            taken.append(value)
        acked = self.acked[0]
        if acked is not None and not not_beyond(resolved.end, acked):
            assert all(len(now) >= len(then) for now, then in zip(self.taken, self.acked[1], strict=True))
        self.place = resolved.end

    def acknowledge(self) -> None:
        """Everything taken so far is acknowledged."""
        if self.place is not None and (self.acked[0] is None or not_beyond(self.acked[0], self.place)):
            self.acked = (self.place, [list(values) for values in self.taken])

    def settle(self) -> None:
        """What is acknowledged is safe."""
        self.safe = self.acked


class TailingModel(RuleBasedStateMachine):
    """See the module's text."""

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.latest = 0
        self.workers = [Worker(self.directory, number) for number in range(WORKERS)]

    @rule(edge=EDGES, frames=st.integers(1, 4))
    def append(self, edge: int, frames: int) -> None:
        for _ in range(frames):
            self.latest += 1
            self.workers[edge].append(self.latest)

    @rule(edge=EDGES)
    def rotate(self, edge: int) -> None:
        self.workers[edge].edge.writer.rotate()

    @rule(edge=EDGES)
    def stop_in_order(self, edge: int) -> None:
        self.workers[edge].end()
        self.workers[edge].start()

    @rule(edge=EDGES, untold=st.integers(0, 2), tail=st.binary(max_size=100), sent_meanwhile=st.integers(0, 2))
    def kill(self, edge: int, untold: int, tail: bytes, sent_meanwhile: int) -> None:
        """Frames may be on disk that nobody was told of, and a part of one."""
        worker, other = self.workers[edge], self.workers[1 - edge]
        for _ in range(untold):
            self.latest += 1
            worker.edge.append(float(worker.written), self.latest, tell=False)
            worker.written += 1
        segment = worker.edge.writer.segment
        worker.end()
        if segment:
            with worker.edge.writer.path_of(segment).open("ab") as file:
                file.write(tail)
        other.poll(10**6)
        worker.start()
        for _ in range(sent_meanwhile):
            self.latest += 1
            worker.append(self.latest)

    @rule(worker=EDGES, max_bytes=st.sampled_from([1, 300, 10**6]))
    def poll(self, worker: int, max_bytes: int) -> None:
        self.workers[worker].poll(max_bytes)

    @rule(worker=EDGES)
    def acknowledge(self, worker: int) -> None:
        self.workers[worker].acknowledge()

    @rule(worker=EDGES)
    def settle(self, worker: int) -> None:
        self.workers[worker].settle()

    @rule(worker=EDGES)
    def target_forgets(self, worker: int) -> None:
        self.workers[worker].go_back()

    def teardown(self) -> None:
        if not hasattr(self, "workers"):
            return
        written = [worker.written for worker in self.workers]
        for worker in self.workers:
            while worker.poll(10**6) or not worker.feed.idle:
                pass
            assert [len(values) for values in worker.taken] == written
            assert worker.feed.lost == {}
        if sum(written):
            places = [worker.place for worker in self.workers]
            assert sum(getattr(place, "taken", 0) for place in places) == SERIES * sum(written)
        for worker in self.workers:
            worker.end()
        shutil.rmtree(self.directory)


TailingModel.TestCase.settings = settings(max_examples=50, stateful_step_count=25, deadline=None)


class TestTailing(TailingModel.TestCase):
    """With reads of about one frame, so that an edge's durable end moves on between two of them."""

    @pytest.fixture(autouse=True)
    def small_reads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(shard_feed, "_CHUNK_BYTES", 300)
