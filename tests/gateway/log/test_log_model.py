"""The log against a list: appends, syncs, crashes, rotations, removals and two readers in any order."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from gateway.clock import ManualClock
from gateway.log.reader import LogReader
from gateway.log.segment import list_segments
from gateway.log.settings import LogSettings
from gateway.settings_types import ByteSize, Duration
from gateway.telemetry.frame import LogPosition
from tests.gateway.log.rows import append, open_writer, values

SETTINGS = LogSettings(
    durability="os", segment_bytes=ByteSize(1500), retention=Duration(100), max_bytes=ByteSize(10**6)
)
READERS = ("forward", "score")


class LogModel(RuleBasedStateMachine):
    """Rows are numbered, so a reader is right exactly if it sees 0, 1, 2, … up to what was synced."""

    @initialize()
    def begin(self) -> None:
        self.directory = Path(tempfile.mkdtemp())
        self.clock = ManualClock()
        self.writer = open_writer(self.directory, SETTINGS, self.clock)
        self.durable = 0
        self.ends = [LogPosition(0, 0)]
        """Durable ends of the past: what a reader was told a while ago, when the writer has gone on since."""
        self.seen = dict.fromkeys(READERS, 0)
        self.committed: dict[str, tuple[LogPosition, int]] = {name: (LogPosition(0, 0), 0) for name in READERS}
        self.readers = {name: LogReader.open(self.directory, 0) for name in READERS}
        for name in READERS:
            self.writer.retention.register(name)

    @rule(sizes=st.lists(st.integers(0, 30), min_size=1, max_size=3))
    def append_and_sync(self, sizes: list[int]) -> None:
        self.writer.prepare(500)
        for size in sizes:
            append(self.writer, size)
            self.ends.append(self.writer.end)
        self.writer.sync()
        self.durable += sum(sizes)

    @rule(size=st.integers(1, 30))
    def append_and_fail(self, size: int) -> None:
        self.writer.prepare(500)
        append(self.writer, size)
        self.writer.discard()

    @rule(tail=st.binary(max_size=200))
    def crash(self, tail: bytes) -> None:
        number = self.writer.segment
        path = self.writer.path_of(number)
        self.writer.close()
        if number:
            with path.open("ab") as file:
                file.write(tail)
        self.writer = open_writer(self.directory, SETTINGS, self.clock)
        for name in READERS:
            self.writer.retention.register(name, self.committed[name][0])
            self.readers[name].close()
            self.readers[name] = LogReader.open(self.directory, 0, *self.committed[name])
            self.seen[name] = self.committed[name][1]

    @rule()
    def rotate(self) -> None:
        self.writer.rotate()

    @rule(name=st.sampled_from(READERS), size=st.integers(1, 3000))
    def read(self, name: str, size: int) -> None:
        got = values(self.readers[name].read(size, end=self.writer.durable_end))
        assert got == list(range(self.seen[name], self.seen[name] + len(got)))
        self.seen[name] += len(got)

    @rule(name=st.sampled_from(READERS), size=st.integers(1, 3000), age=st.integers(0, 5), anew=st.booleans())
    def read_up_to_a_former_end(self, name: str, size: int, age: int, anew: bool) -> None:
        if anew:
            self.readers[name].close()
            self.readers[name] = LogReader.open(self.directory, 0, self.readers[name].position, self.seen[name])
        end = self.ends[max(0, len(self.ends) - 1 - age)]
        if end >= self.readers[name].position:
            frames = self.readers[name].read(size, end=end)
            got = values(frames)
            assert got == list(range(self.seen[name], self.seen[name] + len(got)))
            assert all(frame.end <= end for frame in frames)
            self.seen[name] += len(got)

    @rule(name=st.sampled_from(READERS))
    def commit(self, name: str) -> None:
        self.committed[name] = (self.readers[name].position, self.seen[name])
        self.writer.retention.commit(name, self.readers[name].position)

    @rule(seconds=st.integers(1, 200))
    def sweep(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.writer.retention.sweep()

    @precondition(lambda self: hasattr(self, "writer"))
    @invariant()
    def rows_are_counted_and_nothing_is_lost(self) -> None:
        assert self.writer.next_row == self.durable
        assert all(reader.lost == {} for reader in self.readers.values())

    def teardown(self) -> None:
        if not hasattr(self, "writer"):
            return
        for name in READERS:
            while got := values(self.readers[name].read(500)):
                assert got == list(range(self.seen[name], self.seen[name] + len(got)))
                self.seen[name] += len(got)
            assert self.seen[name] == self.durable
            self.readers[name].close()
        assert self.writer.retention.room.used == sum(s.path.stat().st_size for s in list_segments(self.directory, 0))
        self.writer.close()
        shutil.rmtree(self.directory)


LogModel.TestCase.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)
TestLogModel = LogModel.TestCase
