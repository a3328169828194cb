"""A feed gives every durable frame once, in order, whether its reader keeps up or not."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import numpy as np
import pytest

from gateway.clock import SystemClock
from gateway.errors import DiskFailed
from gateway.log.reader import LogReader
from gateway.log.settings import LogSettings
from gateway.log.writer import LogWriter
from gateway.pipeline.feed import AsyncFeed, DurableFeed, ThreadFeed
from gateway.series.index import SeriesIndex
from gateway.series.local_ids import LocalIds
from gateway.telemetry.columns import Definitions
from gateway.telemetry.frame import Frame, LogPosition
from gateway.telemetry.labels import encode_label_blob

NOTHING = Definitions.from_blobs([], np.empty(0, np.uint8))


def _open(directory: Path) -> LogWriter:
    writer: LogWriter = LogWriter.open(directory, 0, LogSettings(), SystemClock())
    return writer


def _append(writer: LogWriter, feed: DurableFeed | None, number: int, rows: int = 10) -> None:
    writer.prepare()
    new = Definitions.from_blobs([encode_label_blob({"__name__": "m"})], np.array([1], np.uint8))
    frame = writer.append(
        ids=np.zeros(rows, np.uint32),
        times_ms=np.arange(rows, dtype=np.int64) + number * 1000,
        values=np.full(rows, float(number)),
        starts_ms=None,
        definitions=new if writer.end.offset < 200 else NOTHING,
        first_new_id=0 if writer.end.offset < 200 else 1,
        counted_rows=rows,
        received_ns=number * 10**9,  # so far apart that each stays a frame of its own
    )
    writer.sync()
    if feed is not None:
        feed.publish(frame)


def _feed(directory: Path, writer: LogWriter, queue_bytes: int) -> DurableFeed:
    local_ids = LocalIds(SeriesIndex(100), "test")
    return DurableFeed("test", directory, 0, local_ids, writer.retention, writer.durable_end, queue_bytes=queue_bytes)


@pytest.mark.parametrize("queue_bytes", [1, 2_000, 10**9])
def test_every_frame_once_in_order(tmp_path: Path, queue_bytes: int) -> None:
    writer = _open(tmp_path)
    for number in range(5):
        _append(writer, None, number)
    feed = _feed(tmp_path, writer, queue_bytes)
    reader = ThreadFeed(feed)
    seen: list[float] = []

    def read() -> None:
        while len(seen) < 200:
            seen.extend(float(r.frame.values[0]) for r in reader.next_frames(3_000, timeout=5.0))

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    for number in range(5, 200):
        _append(writer, feed, number)
    thread.join(30)
    assert seen == [float(n) for n in range(200)]
    writer.close()


def test_a_reader_that_falls_behind_again_and_again_reads_the_definitions_before_its_place_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[LogPosition] = []
    whole = LogReader.definitions_before

    def definitions_before(reader: LogReader) -> list[Frame]:
        asked.append(reader.position)
        return whole(reader)

    monkeypatch.setattr(LogReader, "definitions_before", definitions_before)
    writer = _open(tmp_path)
    _append(writer, None, 0)
    middle = writer.durable_end
    _append(writer, None, 1)
    feed = _feed(tmp_path, writer, 1)
    feed.seek(middle)
    seen: list[float] = []
    for number in range(2, 8, 2):
        while not feed.idle:
            seen.extend(float(r.frame.values[0]) for r in feed.poll(10**6))
        for more in (number, number + 1):  # the second does not fit into the queue
            _append(writer, feed, more)
        assert not feed.idle
    while not feed.idle:
        seen.extend(float(r.frame.values[0]) for r in feed.poll(10**6))
    assert seen == [float(n) for n in range(1, 8)]
    assert asked == [middle]
    feed.seek(middle)
    feed.poll(1)
    assert asked == [middle, middle], "what lies elsewhere may not be known"
    writer.close()


def test_seek_goes_back_and_resolves_the_same_series(tmp_path: Path) -> None:
    writer = _open(tmp_path)
    feed = _feed(tmp_path, writer, 10**9)
    feed.poll(1000)
    for number in range(4):
        _append(writer, feed, number)
    first = [r for _ in range(4) for r in feed.poll(1)]
    feed.seek(first[2].frame.start, 20)
    again = feed.poll(10**6)
    assert [float(r.frame.values[0]) for r in again] == [2.0, 3.0]
    assert again[0].sids.tolist() == first[2].sids.tolist()
    feed.seek(LogPosition(0, 0))
    assert len(feed.poll(10**6)) == 4
    writer.close()


def test_frames_received_together_are_taken_as_one(tmp_path: Path) -> None:
    writer = _open(tmp_path)
    feed = _feed(tmp_path, writer, 10**9)
    feed.poll(1000)
    for _ in range(3):
        _append(writer, feed, 0)
    _append(writer, feed, 1)
    together, apart = feed.poll(10**6)
    assert (len(together.frame), together.frame.counted_rows, len(apart.frame)) == (30, 30, 10)
    assert together.end == apart.frame.start
    writer.close()


@pytest.mark.parametrize("at_once", [1, 10**6])
def test_frames_before_the_place_a_reader_had_come_to_are_not_taken_with_those_behind_it(
    tmp_path: Path, at_once: int
) -> None:
    """It has sent the former already: together they would be sent, and counted, again."""
    writer = _open(tmp_path)
    feed = _feed(tmp_path, writer, 10**9)
    feed.poll(1000)
    ends = [writer.durable_end]
    for _ in range(5):
        _append(writer, feed, 0)
        ends.append(writer.durable_end)
    for come_to in range(6):
        feed.seek(LogPosition(0, 0), until=ends[come_to])
        taken = []
        while not feed.idle:
            taken += feed.poll(at_once)
        assert sum(len(r.frame) for r in taken) == 50
        assert [r for r in taken if r.frame.start < ends[come_to] < r.frame.end] == []
        assert sum(len(r.frame) for r in taken if r.frame.end <= ends[come_to]) == 10 * come_to
    writer.close()


async def test_a_poll_that_failed_is_made_again(tmp_path: Path) -> None:
    writer = _open(tmp_path)
    _append(writer, None, 1)
    feed = _feed(tmp_path, writer, 10**9)
    reader = AsyncFeed(feed, asyncio.get_running_loop())
    reader.seek(LogPosition(0, 0))
    path = writer.path_of(1)
    hidden = path.with_suffix(".hidden")
    path.rename(hidden)
    path.mkdir()  # opens, and cannot be read
    with pytest.raises((DiskFailed, IsADirectoryError)):
        await asyncio.wait_for(reader.next_frames(1000), 10.0)
    path.rmdir()
    hidden.rename(path)
    (frame,) = await asyncio.wait_for(reader.next_frames(1000), 10.0)
    assert frame.frame.values[0] == 1.0
    await reader.close()
    writer.close()
