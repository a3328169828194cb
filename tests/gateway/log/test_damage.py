"""A log cut or damaged at any byte: what is whole is read, what is lost is counted, and writing goes on."""

from __future__ import annotations

import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.clock import ManualClock
from gateway.errors import DiskFailed, StateError
from gateway.log import segment_writer
from gateway.log.offsets import Offset, OffsetFile
from gateway.log.reader import LogReader
from gateway.log.recovery import recover
from gateway.log.segment import FRAME_MAGIC, SEGMENT_HEADER_BYTES, list_segments, segment_path
from gateway.log.writer import LogWriter
from gateway.telemetry.frame import LogPosition
from tests.gateway.log.rows import OS, append, definitions, open_writer, read_all, values, write

SIZES = (2, 1, 3, 2)


@pytest.fixture
def small_log(tmp_path: Path) -> tuple[Path, list[LogPosition], bytes]:
    """Directory, the frames' ends (the segment header's first), and the bytes of the one segment."""
    writer = open_writer(tmp_path)
    ends = [LogPosition(1, SEGMENT_HEADER_BYTES), *(f.end for f in write(writer, *SIZES))]
    writer.close()
    return tmp_path, ends, segment_path(tmp_path, 0, 1).read_bytes()


def rows_before(count: int) -> list[int]:
    return list(range(sum(SIZES[:count])))


def test_a_log_cut_at_any_byte_keeps_its_whole_frames(small_log: tuple[Path, list[LogPosition], bytes]) -> None:
    directory, ends, data = small_log
    path = segment_path(directory, 0, 1)
    for size in range(len(data) + 1):
        path.write_bytes(data[:size])
        whole = sum(end.offset <= size for end in ends) - 1
        found = recover(directory, 0)
        if whole > 0:
            assert found.end == ends[whole]
            assert (found.next_row, found.torn_bytes) == (sum(SIZES[:whole]), size - ends[whole].offset)
            frames, reader = read_all(directory)
            assert values(frames) == rows_before(whole)
            assert reader.lost == {}
        else:
            assert (found.end, found.next_row) == (None, 0)
    # And from each frame's torn beginning the log goes on.
    for size in range(0, len(data), 37):
        shutil.rmtree(directory / "edge-0")
        (directory / "edge-0").mkdir()
        path.write_bytes(data[:size])
        writer = open_writer(directory)
        kept = writer.next_row
        write(writer, 4)
        writer.close()
        frames, reader = read_all(directory)
        assert values(frames) == list(range(kept + 4))
        assert reader.lost == {}


def test_a_flipped_bit_anywhere_costs_one_frame_and_is_counted(
    small_log: tuple[Path, list[LogPosition], bytes],
) -> None:
    directory, ends, data = small_log
    path = segment_path(directory, 0, 1)
    for at in range(len(data)):
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        path.write_bytes(damaged)
        frames, reader = read_all(directory)
        hit = sum(end.offset <= at for end in ends) - 1  # -1: the segment header, which frames do without
        expected = [r for i in range(len(SIZES)) if i != hit for r in rows_before(i + 1)[sum(SIZES[:i]) :]]
        assert values(frames) == expected, at
        assert sum(reader.lost.values()) == (SIZES[hit] if 0 <= hit < len(SIZES) - 1 else 0), at
        if reader.lost:
            assert set(reader.lost) == {"corrupt_frame"}


def test_damage_in_a_closed_segment_is_counted_when_its_successor_is_read(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    frames = write(writer, 2, 3)
    writer.rotate()
    write(writer, 4)
    path = writer.path_of(1)
    damaged = bytearray(path.read_bytes())
    damaged[frames[1].start.offset + 100] ^= 0xFF
    path.write_bytes(damaged)
    got, reader = read_all(tmp_path)
    assert values(got) == [0, 1, 5, 6, 7, 8]
    assert reader.lost == {"corrupt_frame": 3}


def test_a_missing_segment_is_counted(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    for _ in range(3):
        write(writer, 2)
        writer.rotate()
    writer.path_of(2).unlink()
    got, reader = read_all(tmp_path)
    assert values(got) == [0, 1, 4, 5]
    assert reader.lost == {"missing_segment": 2}
    again = LogReader.open(tmp_path, 0, LogPosition(2, 200), 2)
    assert values(again.read(1000)) == [4, 5]
    assert again.lost == {"missing_segment": 2}


def test_renamed_and_copied_segments_are_read_once_and_in_order(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    for _ in range(3):
        write(writer, 2)
        writer.rotate()
    one, two, three = (writer.path_of(n) for n in (1, 2, 3))
    writer.close()
    one.rename(tmp_path / "aside")
    two.rename(one)
    (tmp_path / "aside").rename(two)
    shutil.copy(three, three.with_name("0000000000000009.seg"))
    (three.parent / "0000000000000004.seg").touch()
    (three.parent / "notes.seg").write_text("not a segment at all, " * 10)
    got, reader = read_all(tmp_path)
    assert values(got) == [0, 1, 2, 3, 4, 5]
    assert reader.lost == {}
    writer = open_writer(tmp_path)
    assert writer.next_row == 6
    assert values(write(writer, 1)) == [6]


def test_a_frame_planted_in_a_label_is_not_taken_for_one(tmp_path: Path) -> None:
    sender = open_writer(tmp_path / "elsewhere")
    (frame,) = write(sender, 1)
    planted = sender.path_of(1).read_bytes()[SEGMENT_HEADER_BYTES:]
    assert planted.startswith(FRAME_MAGIC)
    sender.close()
    writer = open_writer(tmp_path)
    writer.prepare()
    first = append(writer, 1, definitions(bytes(-frame.blobs_at % 8) + planted))
    append(writer, 1)
    writer.sync()
    path = writer.path_of(1)
    damaged = bytearray(path.read_bytes())
    damaged[first.start.offset] ^= 1
    path.write_bytes(damaged)
    got, reader = read_all(tmp_path)
    assert values(got) == [1]
    assert reader.lost == {"corrupt_frame": 1}


def test_a_newer_format_is_refused_not_misread(small_log: tuple[Path, list[LogPosition], bytes]) -> None:
    from crc32c import crc32c

    directory, _, data = small_log
    header = bytearray(data[:SEGMENT_HEADER_BYTES])
    header[8] = 3
    header[60:64] = crc32c(bytes(header[:60])).to_bytes(4, "little")
    segment_path(directory, 0, 1).write_bytes(bytes(header) + data[SEGMENT_HEADER_BYTES:])
    with pytest.raises(StateError, match="version 3"):
        list_segments(directory, 0)


@contextmanager
def files_no_larger_than(size: int) -> Iterator[None]:
    """The operating system refuses writes beyond `size` (EFBIG after a partial write), as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_refused_write_loses_only_what_was_not_acknowledged(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    (frame,) = write(writer, 3)
    with files_no_larger_than(frame.end.offset + 500):
        for _ in range(2):
            before = writer.prepare()
            append(writer, 1000)
            with pytest.raises(DiskFailed):
                writer.sync()
            assert writer.next_row == 3
            assert values(read_all(tmp_path)[0]) == [0, 1, 2]
        with files_no_larger_than(10), pytest.raises(DiskFailed):
            writer.prepare()
    assert writer.prepare() > before
    write(writer, 2)
    writer.close()
    frames, reader = read_all(tmp_path)
    assert values(frames) == [0, 1, 2, 3, 4]
    assert reader.lost == {}
    assert open_writer(tmp_path).next_row == 5


class _FailingFsync(LogWriter):
    broken = False

    def _fsync(self, fd: int) -> None:
        if self.broken:
            raise OSError(5, "Input/output error")
        super()._fsync(fd)


def test_after_a_failed_fsync_the_segment_is_never_written_again(tmp_path: Path) -> None:
    settings = OS.__class__(durability="fsync")
    writer = _FailingFsync.open(tmp_path, 0, settings, ManualClock())
    write(writer, 2)
    writer.broken = True
    writer.prepare()
    append(writer, 3)
    with pytest.raises(DiskFailed, match="fsync"):
        writer.sync()
    with pytest.raises(DiskFailed):
        writer.prepare()
    writer.broken = False
    assert writer.prepare() == 2
    write(writer, 2)
    frames, reader = read_all(tmp_path)
    assert values(frames) == [0, 1, 2, 3]
    assert reader.lost == {}


@pytest.mark.parametrize("durability", ["fsync", "os"])
def test_nothing_is_acknowledged_that_stands_in_a_removed_segment(tmp_path: Path, durability: str) -> None:
    writer = open_writer(tmp_path, OS.__class__(durability=durability))
    write(writer, 2)
    kept = tmp_path / "kept"
    (tmp_path / "edge-0").rename(kept)
    write(writer, 1)  # a file that was moved is still there
    shutil.rmtree(kept)
    append(writer, 3)
    with pytest.raises(DiskFailed, match="the segment was removed by somebody else"):
        writer.sync()
    with pytest.raises(DiskFailed, match="a log segment cannot be created"):
        writer.prepare()
    (tmp_path / "edge-0").mkdir()
    write(writer, 2)
    frames, _ = read_all(tmp_path)
    assert values(frames) == [3, 4]


def test_a_file_system_that_counts_no_names_is_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segment_writer, "_has_name", lambda descriptor: False)
    write(open_writer(tmp_path), 2)
    frames, _ = read_all(tmp_path)
    assert len(values(frames)) == 2


def test_a_given_up_tail_that_could_not_be_cut_is_not_read(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    write(writer, 2)
    writer.prepare()
    append(writer, 3)
    kept = writer.path_of(1).read_bytes()
    writer.sync()
    unacknowledged = writer.path_of(1).read_bytes()
    writer.path_of(1).write_bytes(kept)
    shutil.rmtree(tmp_path / "edge-0")
    # The same history with the frame given up, and its bytes back as if the cut had never reached the disk.
    writer = open_writer(tmp_path)
    write(writer, 2)
    writer.prepare()
    append(writer, 3)
    writer.discard()
    with writer.path_of(1).open("ab") as file:
        file.write(unacknowledged[len(kept) :])
    write(writer, 1)
    frames, reader = read_all(tmp_path)
    assert values(frames) == [0, 1, 2]
    assert reader.lost == {}


def test_offsets_survive_and_damage_is_told(tmp_path: Path) -> None:
    file = OffsetFile(tmp_path / "offsets" / "forward")
    assert file.load() is None
    for offset in (Offset(LogPosition(1, 64), 0), Offset(LogPosition(7, 4096), 12345, b"totals")):
        file.commit(offset)
        assert OffsetFile(tmp_path / "offsets" / "forward").load() == offset
    data = (tmp_path / "offsets" / "forward").read_bytes()
    for size in range(len(data)):
        (tmp_path / "offsets" / "forward").write_bytes(data[:size])
        with pytest.raises(StateError):
            file.load()
    for at in range(len(data)):
        (tmp_path / "offsets" / "forward").write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        with pytest.raises(StateError):
            file.load()


def test_an_offset_that_cannot_be_written_leaves_the_former_one(tmp_path: Path) -> None:
    file = OffsetFile(tmp_path / "forward")
    file.commit(Offset(LogPosition(1, 64), 5))
    with files_no_larger_than(10), pytest.raises(DiskFailed):
        file.commit(Offset(LogPosition(2, 64), 9))
    assert file.load() == Offset(LogPosition(1, 64), 5)
