"""What is appended is read: columns, definitions, positions, rotation, hand-over of the durable end, settings."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from gateway.clock import ManualClock
from gateway.errors import DiskFailed, LogFull, StateError
from gateway.log.event_writer import EventWriter
from gateway.log.reader import EventReader, LogReader
from gateway.log.segment import FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES, list_segments
from gateway.log.settings import LogSettings
from gateway.log.sharing import edge_page_path
from gateway.settings_types import ByteSize, Duration
from gateway.telemetry.columns import ExemplarColumns
from gateway.telemetry.frame import Frame, LogPosition
from tests.gateway.log.rows import NOTHING, OS, append, definitions, open_writer, read_all, values, write


def same(left: Frame, right: Frame) -> None:
    for name in (
        "edge",
        "start",
        "end",
        "first_row",
        "counted_rows",
        "received_ns",
        "first_new_id",
        "blobs_at",
    ):
        assert getattr(left, name) == getattr(right, name), name
    for name in ("ids", "times_ms", "values", "starts_ms"):
        np.testing.assert_array_equal(getattr(left, name), getattr(right, name))
    for name in ("kinds", "offsets", "blobs"):
        np.testing.assert_array_equal(getattr(left.definitions, name), getattr(right.definitions, name))
    assert (left.exemplars is None) == (right.exemplars is None)
    if left.exemplars is not None and right.exemplars is not None:
        for name in ExemplarColumns.__slots__:
            np.testing.assert_array_equal(getattr(left.exemplars, name), getattr(right.exemplars, name))


def exemplars(rows: list[int]) -> ExemplarColumns:
    k = len(rows)
    return ExemplarColumns(
        np.array(rows, np.uint32),
        np.arange(k, dtype=np.int64),
        np.arange(k, dtype=np.float64) / 3,
        np.arange(16 * k, dtype=np.uint8).reshape(k, 16),
        np.arange(8 * k, dtype=np.uint8).reshape(k, 8) + np.uint8(1),
    )


@pytest.mark.parametrize("rows", [0, 1, 2, 7, 1000])
@pytest.mark.parametrize("marks", [[], [0], [0, 0, 0]])
def test_a_frame_reads_as_it_was_written(tmp_path: Path, rows: int, marks: list[int]) -> None:
    writer = open_writer(tmp_path)
    writer.prepare()
    draw = np.random.default_rng(rows)
    written = writer.append(
        ids=draw.integers(0, 2, rows).astype(np.uint32),
        times_ms=draw.integers(-5, 2**50, rows),
        values=draw.random(rows),
        starts_ms=draw.integers(0, 2**50, rows),
        definitions=definitions(b"a", b"", b"label blob of some length"),
        first_new_id=0,
        counted_rows=rows,
        received_ns=123,
        exemplars=exemplars(marks) if marks and rows else None,
    )
    end = writer.sync()
    assert written.end == end == writer.end
    read, reader = read_all(tmp_path)
    assert len(read) == 1
    same(read[0], written)
    assert reader.lost == {}
    blob = writer.path_of(1).read_bytes()[written.blobs_at :]
    assert blob.startswith(b"alabel blob")


def test_masked_rows_leave_the_frame_and_take_their_exemplars_with_them(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    writer.prepare()
    frame = writer.append(
        ids=np.arange(4, dtype=np.uint32),
        times_ms=np.arange(4, dtype=np.int64),
        values=np.arange(4, dtype=np.float64),
        starts_ms=np.arange(4, dtype=np.int64),
        definitions=NOTHING,
        first_new_id=0,
        counted_rows=2,
        received_ns=0,
        exemplars=exemplars([1, 3, 0]),
        keep=np.array([False, True, False, True]),
    )
    assert frame.ids.tolist() == [1, 3]
    assert frame.exemplars is not None
    assert frame.exemplars.rows.tolist() == [0, 1]


def test_nothing_is_read_before_sync_nor_beyond_the_given_end(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    first, second = write(writer, 3, 2)
    reader = LogReader.open(tmp_path, 0)
    assert values(reader.read(10_000, end=first.end)) == [0, 1, 2]
    assert reader.read(10_000, end=first.end) == []
    writer.prepare()
    append(writer, 5)
    assert values(reader.read(10_000)) == [3, 4]
    assert reader.position == second.end
    writer.sync()
    assert values(reader.read(10_000, end=writer.durable_end)) == [5, 6, 7, 8, 9]


def test_a_reader_goes_on_in_the_next_segment(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    reader = LogReader.open(tmp_path, 0)
    assert reader.read(1000) == []
    write(writer, 2)
    assert values(reader.read(1000)) == [0, 1]
    writer.rotate()
    write(writer, 2)
    assert values(reader.read(1000)) == [2, 3]
    writer.close()
    writer = open_writer(tmp_path)
    write(writer, 1)
    assert writer.segment == 3
    assert values(reader.read(1000, end=writer.durable_end)) == [4]
    assert reader.lost == {}


@pytest.mark.parametrize("begun", [False, True])
def test_a_reader_stays_in_a_segment_whose_end_lies_beyond_the_given_one(tmp_path: Path, begun: bool) -> None:
    """It was told an end, and the writer has written more and gone on to the next segment before it reads."""
    writer = open_writer(tmp_path)
    first, second, third = write(writer, 3, 2, 4)
    reader = LogReader.open(tmp_path, 0)
    if begun:
        assert values(reader.read(10_000, end=first.end)) == [0, 1, 2]
    writer.rotate()
    write(writer, 1)
    reader.read(10_000, end=second.end)
    assert reader.position == second.end
    assert values(reader.read(10_000, end=third.end)) == [5, 6, 7, 8]
    assert values(reader.read(10_000, end=writer.durable_end)) == [9]
    assert reader.lost == {}


def test_damage_before_the_given_end_does_not_end_the_segment(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    first, second, _ = write(writer, 3, 2, 4)
    path = writer.path_of(1)
    writer.rotate()
    write(writer, 1)
    content = bytearray(path.read_bytes())
    content[second.start.offset + FRAME_HEADER_BYTES + 3] ^= 1
    path.write_bytes(content)
    reader = LogReader.open(tmp_path, 0)
    assert values(reader.read(10_000, end=second.end)) == [0, 1, 2]
    assert reader.position in (first.end, second.end)
    assert values(reader.read(10_000, end=writer.durable_end)) == [5, 6, 7, 8, 9]
    assert reader.lost == {"corrupt_frame": 2}


def test_a_reader_that_begins_in_the_middle_gets_the_definitions_before(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    writer.prepare()
    append(writer, 1, definitions(b"zero", b"one"), 0)
    append(writer, 1)
    append(writer, 1, definitions(b"two"), 2)
    last = append(writer, 1, definitions(b"three"), 3)
    writer.sync()
    reader = LogReader.open(tmp_path, 0, last.start)
    (before,) = reader.definitions_before()
    assert len(before) == 0
    assert before.start.segment == 1
    assert before.first_new_id == 0
    assert [before.definitions.blob(i) for i in range(3)] == [b"zero", b"one", b"two"]
    assert values(reader.read(1000)) == [3]
    assert LogReader.open(tmp_path, 0).definitions_before() == []


def test_a_segment_holds_ten_times_its_definitions_before_it_rotates(tmp_path: Path) -> None:
    """Each segment defines its series anew: with very many series that must stay a small part of what is written."""
    settings = LogSettings(durability="os", segment_bytes=ByteSize(4000), max_bytes=ByteSize(200_000))
    writer = open_writer(tmp_path, settings)
    writer.prepare()
    append(writer, 1, definitions(b"a" * 3000), 0)
    writer.sync()
    writer.prepare(5_000)
    assert writer.segment == 1
    while writer.segment == 1:
        size = writer.end.offset
        append(writer, 20)
        writer.sync()
        writer.prepare(1000)
    assert 28_000 < size < 32_000
    append(writer, 1, definitions(b"b" * 10_000), 0)
    writer.sync()
    while writer.segment == 2:
        size = writer.end.offset
        append(writer, 20)
        writer.sync()
        writer.prepare(1000)
    assert 47_000 < size < 50_000, "never more than a quarter of the log"


def test_segments_rotate_by_size_and_age(tmp_path: Path) -> None:
    clock = ManualClock()
    settings = LogSettings(durability="os", segment_bytes=ByteSize(4000), segment_age=Duration(60))
    writer = open_writer(tmp_path, settings, clock)
    assert writer.prepare() == 1
    write(writer, 100)
    assert writer.prepare(1000) == 1
    assert writer.prepare(3000) == 2
    clock.advance(100)
    assert writer.prepare() == 2  # an empty segment does not age
    write(writer, 1)
    assert writer.prepare() == 2 + 1


def test_one_writer_a_log(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    with pytest.raises(StateError, match="another process"):
        open_writer(tmp_path)
    writer.close()
    writer.close()
    open_writer(tmp_path).close()


def test_a_start_without_frames_leaves_no_litter(tmp_path: Path) -> None:
    for _ in range(3):
        writer = open_writer(tmp_path)
        writer.prepare()
        writer.close()
    assert len(list_segments(tmp_path, 0)) == 1


def test_rows_count_on_from_what_a_reader_committed_when_the_tail_was_lost(tmp_path: Path) -> None:
    writer = open_writer(tmp_path, minimum_row=40)
    (frame,) = write(writer, 2)
    assert frame.first_row == 40
    _, reader = read_all(tmp_path)
    assert reader.lost == {"missing_segment": 40}
    tail = LogReader.open(tmp_path, 0, LogPosition(0, 9_999_999), 40)
    assert values(tail.read(1000)) == [40, 41]
    assert tail.lost == {}


def test_full_of_undelivered_data_refuses_and_recovers_with_delivery(tmp_path: Path) -> None:
    settings = LogSettings(durability="os", max_bytes=ByteSize(20_000))
    writer = open_writer(tmp_path, settings)
    writer.retention.register("forward")
    with pytest.raises(LogFull):
        write(writer, *[100] * 1000)
    rows = writer.next_row
    assert rows >= 500
    with pytest.raises(LogFull):
        write(writer, 100)
    assert values(read_all(tmp_path)[0]) == list(range(rows))
    writer.retention.commit("forward", writer.durable_end)
    write(writer, 100)
    assert writer.next_row == rows + 100
    assert writer.retention.room.used < 20_000


def test_retention_removes_what_is_old_and_delivered_to_all(tmp_path: Path) -> None:
    clock = ManualClock()
    writer = open_writer(tmp_path, LogSettings(durability="os", retention=Duration(3600)), clock)
    for reader in ("forward", "score"):
        writer.retention.register(reader)
    ends = []
    for _ in range(3):
        ends.append(write(writer, 1)[0].end)
        writer.rotate()
        clock.advance(1800)
    write(writer, 1)
    assert writer.retention.sweep() == 0
    writer.retention.commit("forward", ends[2])
    writer.retention.commit("score", ends[0])
    assert writer.retention.sweep() == 1
    assert [s.number for s in list_segments(tmp_path, 0)] == [2, 3, 4]
    writer.retention.commit("score", ends[2])
    assert writer.retention.sweep() == 0  # delivered, but closed half an hour ago
    clock.advance(7200)
    assert writer.retention.sweep() == 2
    assert [s.number for s in list_segments(tmp_path, 0)] == [4]


def test_events_pass_between_writer_and_reader(tmp_path: Path) -> None:
    writer = EventWriter.open(tmp_path, 0, OS, ManualClock())
    reader = EventReader.open(tmp_path, 0)
    events = [b"", b"x", b"twelve bytes" * 100, b"12345678"]
    for event in events:
        writer.append(event)
    writer.sync()
    got = reader.read()
    assert [payload for _, payload in got] == events
    writer.append(b"later")
    writer.sync()
    writer.close()
    assert [payload for _, payload in EventReader.open(tmp_path, 0, got[1][0]).read()] == [*events[2:], b"later"]
    assert reader.position > LogPosition(1, SEGMENT_HEADER_BYTES)


class Watched(EventWriter):
    """Lets a reader look at the moment between the write and its fsync."""

    look = None

    def _fsync(self, fd: int) -> None:
        if self.look is not None:
            self.look()
        super()._fsync(fd)


def test_events_are_seen_when_they_are_durable_and_not_before(tmp_path: Path) -> None:
    writer = Watched.open(tmp_path, 0, LogSettings(), ManualClock())
    reader = EventReader.open(tmp_path, 0)
    early: list[bytes] = []
    for segment in range(3):
        writer.look = lambda: early.extend(payload for _, payload in reader.read())
        writer.append(b"first %d" % segment)
        writer.append(b"second %d" % segment)
        writer.sync()
        writer.look = None
        assert early == []
        assert [payload for _, payload in reader.read()] == [b"first %d" % segment, b"second %d" % segment]
        writer.rotate()


def test_events_of_a_failed_sync_are_never_seen(tmp_path: Path) -> None:
    class Failing(EventWriter):
        broken = False

        def _fsync(self, fd: int) -> None:
            if self.broken:
                raise OSError(5, "Input/output error")
            super()._fsync(fd)

    writer = Failing.open(tmp_path, 0, LogSettings(), ManualClock())
    reader = EventReader.open(tmp_path, 0)
    writer.append(b"kept")
    writer.sync()
    writer.append(b"lost")
    writer.broken = True
    with pytest.raises(DiskFailed):
        writer.sync()
    writer.broken = False
    assert [payload for _, payload in reader.read()] == [b"kept"]
    writer.append(b"later")
    writer.sync()
    assert [payload for _, payload in reader.read()] == [b"later"]


def test_a_reader_of_events_knows_without_the_disk_that_nothing_is_new(tmp_path: Path) -> None:
    reader = EventReader.open(tmp_path, 0)
    assert not reader.is_at_end()  # nobody has told how far it is
    writer = EventWriter.open(tmp_path, 0, LogSettings(), ManualClock())
    assert reader.is_at_end()
    writer.append(b"one")
    assert reader.is_at_end()
    writer.sync()
    assert not reader.is_at_end()
    assert len(reader.read()) == 1
    assert reader.is_at_end()
    writer.rotate()
    assert reader.is_at_end()
    writer.append(b"two")
    writer.sync()
    assert not reader.is_at_end()
    assert len(reader.read()) == 1
    assert reader.is_at_end()


def test_events_of_a_killed_writer_are_seen_once_the_next_one_has_made_them_durable(tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    class Dying(EventWriter):
        def _fsync(self, fd: int) -> None:
            if self._pending:
                raise Killed
            super()._fsync(fd)

    writer = Dying.open(tmp_path, 0, LogSettings(), ManualClock())
    writer.append(b"written, not synced")
    with pytest.raises(Killed):
        writer.sync()
    os.close(writer._lock)
    reader = EventReader.open(tmp_path, 0)
    assert reader.read() == []
    EventWriter.open(tmp_path, 0, LogSettings(), ManualClock())
    assert [payload for _, payload in reader.read()] == [b"written, not synced"]


def test_events_written_before_there_were_pages_are_read(tmp_path: Path) -> None:
    writer = EventWriter.open(tmp_path, 0, OS, ManualClock())
    writer.append(b"old")
    writer.close()
    edge_page_path(tmp_path, 0).unlink()
    assert [payload for _, payload in EventReader.open(tmp_path, 0).read()] == [b"old"]
