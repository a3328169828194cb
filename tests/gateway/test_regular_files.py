"""A fifo, a directory, a device or a file of a hundred gigabytes stands where a file of the data directory or of the
command line should. Every reader says so at once, with the path."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from structlog.testing import capture_logs

from gateway.baseline import snapshot
from gateway.errors import DiskFailed, GatewayError, StateError
from gateway.log.offsets import OffsetFile
from gateway.log.recovery import recover
from gateway.log.segment import list_segments, segment_path, strangers
from gateway.log.sharing import EdgePageReader, edge_page_path, read_committed, tell_committed
from gateway.pipeline.hash_key import load_or_make_hash_key
from gateway.pipeline.sharding import Sharding
from gateway.pipeline.workers import read_workers, workers_path
from gateway.telemetry.frame import LogPosition

NO_FILES = ("fifo", "directory", "device", "socket")


def plant(path: Path, what: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if what == "fifo":
        os.mkfifo(path)
    elif what == "directory":
        path.mkdir()
    elif what == "socket":
        with contextlib.chdir(path.parent), socket.socket(socket.AF_UNIX) as listener:
            listener.bind(path.name)  # the whole path may be too long for an address
    elif what == "device":
        path.symlink_to("/dev/zero")
    else:
        with path.open("wb") as file:
            file.truncate(100 * 2**30)
    return path


@pytest.mark.parametrize("what", [*NO_FILES, "sparse"])
@pytest.mark.parametrize(
    ("name", "read", "error"),
    [
        ("scorer-0.offset", lambda path: OffsetFile(path).load(), StateError),
        ("hash.key", lambda path: load_or_make_hash_key(path.parent), StateError),
        ("state/workers.json", lambda path: read_workers(path.parent.parent), StateError),
        ("baseline-0-1.snapshot", snapshot.read, StateError),
    ],
    ids=["offset", "key", "workers", "snapshot"],
)
def test_what_is_no_file_or_has_no_end_is_a_declared_error_with_the_path(
    tmp_path: Path, name: str, read: Callable[[Path], object], error: type[GatewayError], what: str
) -> None:
    path = plant(tmp_path / name, what)
    with pytest.raises(error, match=str(path)):
        read(path)


def test_the_workers_file_is_where_the_test_says(tmp_path: Path) -> None:
    assert workers_path(tmp_path) == tmp_path / "state" / "workers.json"


@pytest.mark.parametrize("what", NO_FILES)
def test_a_page_of_an_edge_that_is_no_file_is_a_declared_error(tmp_path: Path, what: str) -> None:
    path = plant(edge_page_path(tmp_path, 0), what)
    with pytest.raises(DiskFailed, match=str(path)):
        EdgePageReader(tmp_path, 0).read()


def test_a_page_that_cannot_be_read_is_said_once_and_not_at_every_look(tmp_path: Path) -> None:
    path = plant(edge_page_path(tmp_path, 0), "fifo")
    looks = iter([False] * 10 + [True])
    watch = SimpleNamespace(
        _run_dir=tmp_path,
        _feeds=[],
        layout=SimpleNamespace(workers=1),
        _stopping=SimpleNamespace(wait=lambda _seconds: next(looks)),
    )
    with capture_logs() as logs:
        Sharding._look(cast(Sharding, watch))
    assert [line["error"] for line in logs] == [f"{path}: not a regular file"]


@pytest.mark.parametrize("what", [*NO_FILES, "sparse"])
def test_what_a_worker_told_is_nothing_where_it_is_no_file(tmp_path: Path, what: str) -> None:
    plant(tmp_path / "committed-0.json", what)
    assert read_committed(tmp_path, 0) == {}


@pytest.mark.parametrize("what", ["fifo", "device"])
def test_what_lies_in_the_place_of_a_temporary_file_is_replaced(tmp_path: Path, what: str) -> None:
    plant(tmp_path / "committed-0.tmp", what)
    tell_committed(tmp_path, 0, {"scorer": [LogPosition(1, 2)]})
    assert read_committed(tmp_path, 0) == {"scorer": [LogPosition(1, 2)]}
    plant(tmp_path / "a.snapshot.tmp", what)
    snapshot.write(tmp_path / "a.snapshot", snapshot.BaselineSnapshot.empty())
    assert len(snapshot.read(tmp_path / "a.snapshot").records) == 0
    assert (tmp_path / "a.snapshot").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("what", NO_FILES)
def test_a_segment_that_is_no_file_is_left_out_and_said(tmp_path: Path, what: str) -> None:
    path = plant(segment_path(tmp_path, 0, 1), what)
    assert list_segments(tmp_path, 0) == []
    with capture_logs() as logs:
        found = recover(tmp_path, 0)
    assert (found.end, found.next_segment) == (None, 2), "its number is taken"
    assert [line["path"] for line in logs] == [str(path)]


def test_a_segment_that_is_removed_while_one_looks_is_no_stranger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = segment_path(tmp_path, 0, 1)
    link = segment_path(tmp_path, 0, 2)
    gone.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "nothing")
    monkeypatch.setattr(Path, "glob", lambda _self, _pattern: iter([gone, link]))  # as it was a moment ago
    assert strangers(tmp_path, 0) == [link]
