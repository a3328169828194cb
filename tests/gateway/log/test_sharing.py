"""What workers tell each other of the log."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest

from gateway.errors import DiskFailed
from gateway.log.sharing import (
    DurableEnd,
    EdgePage,
    EdgePageReader,
    edge_page_path,
    forget_committed,
    read_committed,
    tell_committed,
)
from gateway.telemetry.frame import LogPosition

LAST = 20_000


def _write(directory: Path) -> None:
    page = EdgePage(directory, 0)
    for number in range(1, LAST + 1):
        page.tell(DurableEnd(LogPosition(number, number * 8), number * 3))
    page.close()


def test_a_page_is_read_whole_while_another_process_writes_it(tmp_path: Path) -> None:
    reader = EdgePageReader(tmp_path, 0)
    assert reader.read() == DurableEnd(LogPosition(0, 0), 0)  # there is none yet
    process = multiprocessing.get_context("spawn").Process(target=_write, args=(tmp_path,))
    process.start()
    seen = 0
    while seen < LAST:
        end = reader.read()
        assert end.position.offset == 8 * end.position.segment
        assert end.next_row == 3 * end.position.segment
        assert end.position.segment >= seen
        seen = end.position.segment
        assert process.is_alive() or reader.read().position.segment == LAST
    process.join()
    reader.close()


def test_a_page_that_is_made_anew_goes_on_from_its_last_end(tmp_path: Path) -> None:
    end = DurableEnd(LogPosition(3, 640), 77)
    EdgePage(tmp_path, 0).tell(end)
    EdgePage(tmp_path, 0)
    assert EdgePageReader(tmp_path, 0).read() == end


def test_a_damaged_page_is_not_believed(tmp_path: Path) -> None:
    EdgePage(tmp_path, 0).tell(DurableEnd(LogPosition(3, 640), 77))
    path = edge_page_path(tmp_path, 0)
    content = bytearray(path.read_bytes())
    content[9] ^= 1
    path.write_bytes(content)
    with pytest.raises(DiskFailed):
        EdgePageReader(tmp_path, 0).read()


def test_committed_positions_are_told_and_forgotten(tmp_path: Path) -> None:
    assert read_committed(tmp_path, 1) == {}
    tell_committed(tmp_path, 1, {"scorer": [LogPosition(1, 64), LogPosition(2, 128)]})
    assert read_committed(tmp_path, 1) == {"scorer": [LogPosition(1, 64), LogPosition(2, 128)]}
    (tmp_path / "committed-2.json").write_bytes(b"{")
    assert read_committed(tmp_path, 2) == {}
    forget_committed(tmp_path)
    assert read_committed(tmp_path, 1) == {}
