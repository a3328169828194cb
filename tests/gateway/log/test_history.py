"""Scans of the log against a plain list of what was written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.log import growing_index
from gateway.log.history import LogHistory
from gateway.log.segment import list_segments
from gateway.log.segment_index import SegmentIndex
from gateway.log.writer import LogWriter
from gateway.telemetry.columns import Definitions, ExemplarColumns
from tests.gateway.log.rows import NOTHING, open_writer, write

SERIES = 40


def fill(
    writer: LogWriter, frames: int, seed: int, first: int = 0, rotate: bool | None = None
) -> list[tuple[int, int, float]]:
    """Frames of shuffled series in several segments; (series, time, value) of every row. rotate: before the first."""
    draw, rows = np.random.default_rng(seed), []
    for number in range(first, first + frames):
        if number % 15 == 0 if rotate is None else rotate:
            writer.rotate()
        before = writer.segment
        fresh = writer.prepare() != before
        chosen = draw.permutation(SERIES)[: draw.integers(1, 12)]
        times = draw.integers(0, 100, len(chosen)) + 100 * number
        values = draw.random(len(chosen))
        every = Definitions.from_blobs([b"series %d" % (SERIES - i) for i in range(SERIES)], np.ones(SERIES, np.uint8))
        writer.append(
            ids=(SERIES - chosen - 1).astype(np.uint32),
            times_ms=times,
            values=values,
            starts_ms=None,
            definitions=every if fresh else NOTHING,
            first_new_id=0 if fresh else SERIES,
            counted_rows=len(chosen),
            received_ns=0,
        )
        writer.sync()
        rows += list(zip((chosen + 1).tolist(), times.tolist(), values.tolist(), strict=True))
    return rows


@pytest.mark.parametrize(("start", "end"), [(0, 10**6), (1200, 4321), (5_000, 5_001), (10**7, 10**8)])
def test_a_scan_finds_exactly_the_samples_asked_for(tmp_path: Path, start: int, end: int) -> None:
    rows = fill(open_writer(tmp_path), 70, seed=start)
    history = LogHistory(tmp_path, 0)
    wanted = {b"series 3", b"series 40", b"series 11"}
    for _ in range(2):  # the second time from the index files
        result = history.scan(lambda blob: blob in wanted, start, end)
        got = {s.blob: list(zip(s.times_ms.tolist(), s.values.tolist(), strict=True)) for s in result.series}
        expected: dict[bytes, dict[int, float]] = {}
        for series, time, value in rows:
            if b"series %d" % series in wanted and start <= time <= end:
                expected.setdefault(b"series %d" % series, {})[time] = value
        assert got == {blob: sorted(samples.items()) for blob, samples in expected.items()}
        assert not result.truncated
        history = LogHistory(tmp_path, 0)


def test_the_index_of_the_open_segment_is_read_on_as_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(growing_index, "FIRST_WIDTH", 16)  # so that blocks double several times
    writer = open_writer(tmp_path)
    history = LogHistory(tmp_path, 0)
    growing: list[growing_index.GrowingIndex] = []
    rows: list[tuple[int, int, float]] = []
    for turn in range(6):
        # Ten frames at a time: the segment is rotated at the first and grows by the others, question by question.
        for frame in range(10):
            rows += fill(writer, 1, seed=100 * turn + frame, first=10 * turn + frame, rotate=frame == 0)
            found = history.scan(lambda _: True, 0, 10**9).series
            got = {s.blob: dict(zip(s.times_ms.tolist(), s.values.tolist(), strict=True)) for s in found}
            expected: dict[bytes, dict[int, float]] = {}
            for series, time, value in rows:
                expected.setdefault(b"series %d" % series, {})[time] = value
            assert got == expected
            if history._growing is not None and history._growing not in growing:
                growing.append(history._growing)
    assert len(growing) == 6  # one a segment, kept from question to question


@given(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=20))
def test_two_blocks_become_one(sets: list[int]) -> None:
    expected = [sum(1 << b for b in range(32) if (one >> 2 * b) & 3) for one in sets]
    assert growing_index.halved(np.array(sets, np.uint64)).tolist() == expected


def test_an_index_is_written_read_and_made_again(tmp_path: Path) -> None:
    fill(open_writer(tmp_path), 20, seed=1)
    segment = list_segments(tmp_path, 0)[0]
    built = SegmentIndex.of_closed(segment)
    path = segment.path.with_suffix(".idx")
    data = path.read_bytes()
    for damaged in (data, data[:-1], data[:50] + b"\xff" + data[51:], b""):
        path.write_bytes(damaged)
        loaded = SegmentIndex.of_closed(segment)
        for name in SegmentIndex.__slots__:
            np.testing.assert_array_equal(getattr(loaded, name), getattr(built, name))
        assert path.read_bytes() == data


def test_limits_are_told(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    fill(writer, 20, seed=2)
    result = LogHistory(tmp_path, 0).scan(lambda _: True, 0, 10**6, max_series=5)
    assert len(result.series) <= 5
    assert result.truncated
    assert LogHistory(tmp_path / "empty", 0).scan(lambda _: True, 0, 10**6).series == []


def test_exemplars_come_with_their_series(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    writer.prepare()
    exemplars = ExemplarColumns(
        rows=np.array([1, 0, 1, 1], np.uint32),
        times_ms=np.array([300, 100, 200, 9_000], np.int64),
        values=np.array([0.3, 0.1, np.inf, 0.9]),
        trace_ids=np.arange(64, dtype=np.uint8).reshape(4, 16),
        span_ids=np.arange(32, dtype=np.uint8).reshape(4, 8),
    )
    writer.append(
        ids=np.array([0, 1], np.uint32),
        times_ms=np.array([100, 300], np.int64),
        values=np.array([1.0, 2.0]),
        starts_ms=None,
        definitions=Definitions.from_blobs([b"a", b"b"], np.ones(2, np.uint8)),
        first_new_id=0,
        counted_rows=2,
        received_ns=0,
        exemplars=exemplars,
    )
    writer.sync()
    (found,) = LogHistory(tmp_path, 0).scan(lambda blob: blob == b"b", 0, 1000).series
    assert [(t.time, t.value) for t in found.exemplars] == [(0.3, 0.3)], "of this series, in the span, finite"
    assert found.exemplars[0].trace_id == bytes(range(16)).hex()


def test_a_segment_closed_since_its_end_was_looked_up_gets_no_short_index(tmp_path: Path) -> None:
    writer = open_writer(tmp_path)
    first, *_ = write(writer, 3, 2, 4)
    writer.rotate()
    write(writer, 1)
    history = LogHistory(tmp_path, 0)
    (found,) = history.scan(lambda _: True, 0, 10**6, durable_end=first.end).series
    assert found.values.tolist() == [0, 1, 2]
    (found,) = history.scan(lambda _: True, 0, 10**6).series
    assert len(found.values) == 4  # a repeated time once; the longest frame has four
    assert found.values.tolist() == [9, 6, 7, 8]
