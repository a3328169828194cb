"""Mapped pages that cannot be had: an error where they are asked for, not the end of the process.

A page behind the end of its file stands for one that the disk cannot give: to touch either is SIGBUS.
"""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path

import pytest

from gateway.errors import DiskFailed
from gateway.log.recovery import recover
from gateway.telemetry import readable
from tests.gateway.series.test_series import Edge

PAGE = mmap.PAGESIZE


def test_a_page_that_cannot_be_had_is_an_error_and_the_others_are_not(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * 4 * PAGE)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    os.truncate(path, 2 * PAGE)
    readable.require_readable(mapped, path, 0, 2 * PAGE)
    readable.require_readable(mapped, path, 3 * PAGE, 3 * PAGE)
    for begin, end in ((PAGE, 3 * PAGE), (2 * PAGE + 5, 2 * PAGE + 6), (0, None)):
        with pytest.raises(OSError, match="cannot be read") as failed:
            readable.require_readable(mapped, path, begin, end)
        assert failed.value.errno == errno.EIO
    assert mapped[PAGE : PAGE + 1] == b"a"


def refuse(mapped: mmap.mmap, path: Path, begin: int = 0, end: int | None = None) -> None:
    raise OSError(errno.EIO, "a page cannot be read", str(path))


def refuse_to_read(*_: object) -> int:
    raise OSError(errno.EIO, "an error of the disk")


def test_labels_are_read_from_requests_where_the_previous_segment_cannot_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    edge = Edge(tmp_path)
    edge.put(list(range(600)))
    edge.writer.rotate()
    assert edge.put(list(range(300)))[1] == 0, "copied out of the segment before"
    monkeypatch.setattr(os, "preadv", refuse_to_read)
    frame, asked = edge.put([0, *range(300, 600)])
    assert asked == len(frame.definitions) == 300
    monkeypatch.undo()
    assert edge.put([*range(600), 700])[1] == 1, "a file that failed is not tried again; everything is known by now"
    edge.writer.close()


def test_a_log_whose_end_cannot_be_read_names_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    edge = Edge(tmp_path)
    edge.put([1, 2, 3])
    edge.writer.close()
    monkeypatch.setattr(readable, "require_readable", refuse)
    with pytest.raises(DiskFailed, match=r"\.seg cannot be read: a page cannot be read"):
        recover(tmp_path, 0)
