"""Columns found from many headers at once are those that one frame's view has."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.clock import SystemClock
from gateway.log.frame_columns import FrameColumns
from gateway.log.segment import FRAME_HEADER_BYTES, FrameHeader, frame_view, list_segments, map_segment
from gateway.log.settings import LogSettings
from gateway.log.writer import LogWriter
from gateway.telemetry.columns import Definitions
from gateway.telemetry.frame import LogPosition

NONE = Definitions(np.empty(0, np.uint8), np.zeros(1, np.uint32), np.empty(0, np.uint8))


def _written(directory: Path, sizes: list[tuple[int, bool]]) -> list[int]:
    """A segment of frames with so many rows, with start times or without; where each begins."""
    begins = []
    writer = LogWriter.open(directory, 0, LogSettings(durability="os"), SystemClock())
    for number, (rows, starts) in enumerate(sizes):
        writer.prepare()
        begins.append(writer.end.offset)
        times = np.arange(rows) + 1000 * number
        writer.append(
            ids=np.arange(rows, dtype=np.uint32) * 3,
            times_ms=times,
            values=times * 0.5,
            starts_ms=times - 7 if starts else None,
            definitions=NONE,
            first_new_id=0,
            counted_rows=rows,
            received_ns=0,
        )
        writer.sync()
    writer.close()
    return begins


def _check(columns: FrameColumns, mapped: mmap.mmap) -> None:
    for number, at in enumerate(columns.begins.tolist()):
        header = FrameHeader.parse(mapped, at)
        assert header is not None
        frame = frame_view(header, np.frombuffer(mapped[at : at + header.nbytes], np.uint8), 0, LogPosition(0, 0))
        rows = np.arange(header.rows)
        assert columns.rows[number] == header.rows
        assert columns.words[columns.ids_at[number] + rows].tolist() == frame.ids.tolist()
        assert columns.longs[columns.times_at[number] + rows].tolist() == frame.times_ms.tolist()
        assert columns.doubles[columns.values_at[number] + rows].tolist() == frame.values.tolist()


@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=6))
def test_columns_are_those_of_each_frame(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[tuple[int, bool]]
) -> None:
    directory = tmp_path_factory.mktemp("log")
    begins = _written(directory, sizes)
    [segment] = list_segments(directory, 0)
    with map_segment(segment) as mapped:
        data = np.frombuffer(mapped, np.uint8)
        columns = FrameColumns.of(data, np.array(begins, np.int64), segment.end, segment.nonce)
        assert columns.begins.tolist() == begins
        _check(columns, mapped)
        del columns, data


def test_what_a_damaged_header_promises_beyond_the_end_is_left_out(tmp_path: Path) -> None:
    begins = _written(tmp_path, [(4, False), (4, True), (4, False)])
    [segment] = list_segments(tmp_path, 0)
    data = np.fromfile(segment.path, np.uint8)
    wanted = np.array(begins, np.int64)
    assert len(FrameColumns.of(data, wanted, len(data) - 8, segment.nonce)) == 2  # the last one is cut off
    assert len(FrameColumns.of(data, wanted, len(data), 1 + (segment.nonce or 0))) == 0
    for place in range(FRAME_HEADER_BYTES):
        damaged = data.copy()
        damaged[begins[1] + place] = 0xFF
        columns = FrameColumns.of(damaged, wanted, len(data), segment.nonce)
        assert set(begins) - {begins[1]} <= set(columns.begins.tolist())
        last = columns.ids_at + columns.rows
        assert (columns.rows >= 0).all()
        assert (last <= len(columns.words)).all()
        assert (columns.values_at + columns.rows <= len(columns.longs)).all()


def test_places_that_are_no_frame_are_left_out() -> None:
    data = np.zeros(4096, np.uint8)
    assert len(FrameColumns.of(data, np.array([-8, 0, 3, 4096, 4000, 2**62], np.int64), 4096, None)) == 0
