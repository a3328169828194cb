"""A fifo, a directory, a device or a file of a hundred gigabytes stands where a file of the data directory or of the
command line should. Every reader says so at once, with the path."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
from structlog.testing import capture_logs

from gateway.baseline import snapshot
from gateway.clock import ManualClock
from gateway.config import LoadedConfig, load_config
from gateway.data_role import DataRole
from gateway.errors import DiskFailed, GatewayError, StateError
from gateway.forward.dead_letter import DeadLetterFile, read_letters
from gateway.forward.progress import ProgressFiles
from gateway.log.offsets import OffsetFile
from gateway.log.recovery import recover
from gateway.log.segment import list_segments, segment_path, strangers
from gateway.log.segment_writer import SegmentWriter
from gateway.log.settings import LogSettings
from gateway.log.sharing import EdgePage, EdgePageReader, edge_page_path, read_committed, tell_committed
from gateway.pipeline import group_watch, limit_watch
from gateway.pipeline.hash_key import load_or_make_hash_key
from gateway.pipeline.sharding import Sharding
from gateway.pipeline.workers import others_stopped, read_workers, workers_path
from gateway.telemetry.frame import LogPosition
from gateway.web.data_plane_socket import DataPlaneSocket, DataPlaneView

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


@pytest.mark.parametrize(
    ("name", "magic", "read"),
    [
        ("groups-0.state", b"GWGROUPS", group_watch._read),
        ("limits-0.state", b"GWLIMITS", limit_watch._read),
        ("forward-0.totals", b"GWFWTOTL", lambda path: ProgressFiles(path.parent, 0).read()),
    ],
)
def test_a_file_that_says_it_is_a_hundred_gigabytes_is_not_read(
    tmp_path: Path, name: str, magic: bytes, read: Callable[[Path], object]
) -> None:
    length = 100 * 2**30
    path = tmp_path / name
    with path.open("wb") as file:
        file.write(struct.pack("<8sIIQ", magic, 1, 0, length))
        file.truncate(file.tell() + length)
    with capture_logs() as logs:
        read(path)
    assert ["are the most that are written" in line["error"] for line in logs] == [True]


def test_a_dead_letter_of_no_possible_length_is_not_read(tmp_path: Path) -> None:
    files = DeadLetterFile(tmp_path, 0, 2**20, 2)
    files.append(time=1.0, status=400, words="", rows=1, encoding="snappy", body=b"body")
    [path] = files.paths()
    sound = path.read_bytes()
    path.write_bytes(sound.replace(b'"bytes":4', b'"bytes":1000000000000000'))
    assert list(read_letters(path)) == []
    path.write_bytes(sound.replace(b'"bytes":4', b'"bytes":-1'))
    with pytest.raises(StateError, match="-1 bytes"):
        list(read_letters(path))


@pytest.mark.parametrize("what", NO_FILES)
def test_dead_letters_are_in_a_file(tmp_path: Path, what: str) -> None:
    with pytest.raises(StateError, match="not a regular file"):
        list(read_letters(plant(tmp_path / "letters", what)))


@pytest.mark.parametrize("what", NO_FILES)
@pytest.mark.parametrize(
    ("name", "take"),
    [
        ("edge-0.page", lambda path: EdgePage(path.parent, 0)),
        ("edge-0/lock", lambda path: SegmentWriter.open(path.parents[1], 0, LogSettings(), ManualClock())),
        ("lock-1", lambda path: contextlib.ExitStack().enter_context(others_stopped(path.parent, range(1, 2)))),
        ("lock", lambda path: DataRole(_config(path.parent), ManualClock())._lock(path.parent)),
    ],
    ids=["page", "log", "other-worker", "directory"],
)
def test_what_stands_in_the_place_of_a_lock_or_page_has_to_be_moved_by_a_person(
    tmp_path: Path, name: str, take: Callable[[Path], object], what: str
) -> None:
    path = plant(tmp_path / name, what)
    with pytest.raises(StateError, match=f"{path}: not a regular file; move it away"):
        take(path)


async def test_a_directory_in_the_place_of_the_socket_has_to_be_moved_by_a_person(tmp_path: Path) -> None:
    path = plant(tmp_path / "data.sock", "directory")
    with pytest.raises(StateError, match=f"{path}: a directory; move it away"):
        await DataPlaneSocket(cast(DataPlaneView, None), path).start()


def _config(data_dir: Path) -> LoadedConfig:
    return load_config(None, environment={}, assignments=[f"server.data_dir={data_dir}"])


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
