"""What workers tell each other of the log: how far each edge's is durable, and how far each reader has committed.

An edge's page is a mapped file of 40 bytes that its writer overwrites after each sync; with a checksum, so that a
reader that looks at the wrong moment notices and looks again. It says no more than the log on disk does, so it needs
no sync of its own: what it points to was durable before, and after a crash of the machine the edge's writer says anew
where its log ends. The writer's clock is not in it.

A worker's committed positions are a small file that is replaced. They are told after they are durable in the
reader's own state, so they are never ahead of it; a lost file only keeps segments longer.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from crc32c import crc32c

from gateway.errors import DiskFailed, StateError
from gateway.telemetry.frame import LogPosition
from gateway.telemetry.state_file import make_file, open_kept, open_regular, read_regular

_PAGE: Final = struct.Struct("<8sQQQII")
_MAGIC: Final = b"GWEDGE\x00\x01"
_TRIES: Final = 100
"""A page is overwritten within a microsecond; a hundred torn looks in a row are damage."""


class DurableEnd(NamedTuple):
    """Where an edge's durable log ends, and the row that comes next."""

    position: LogPosition
    next_row: int


def edge_page_path(directory: Path, edge: int) -> Path:
    """The page of an edge; `directory` is the data directory's `run`."""
    return directory / f"edge-{edge}.page"


class EdgePage:
    """The writing side; one thread at a time. Raises DiskFailed when it cannot be made, StateError where something else
    stands in its place."""

    def __init__(self, directory: Path, edge: int) -> None:
        path = edge_page_path(directory, edge)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            descriptor = open_kept(path)
            try:
                if os.fstat(descriptor).st_size != _PAGE.size:
                    os.ftruncate(descriptor, _PAGE.size)
                self._page = mmap.mmap(descriptor, _PAGE.size)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise DiskFailed(f"{path} cannot be used: {error.strerror}") from error

    def tell(self, end: DurableEnd) -> None:
        """Everything before `end` is durable."""
        body = _PAGE.pack(_MAGIC, *end.position, end.next_row, 0, 0)[:-4]
        self._page[:] = body + crc32c(body).to_bytes(4, "little")

    def close(self) -> None:
        """Idempotent."""
        self._page.close()


class EdgePageReader:
    """The reading side, any thread. An edge that has no page yet has an empty log as far as we may read."""

    def __init__(self, directory: Path, edge: int) -> None:
        self._path = edge_page_path(directory, edge)
        self._page: mmap.mmap | None = None
        self._last = DurableEnd(LogPosition(0, 0), 0)

    def read(self) -> DurableEnd:
        """The newest end. Raises DiskFailed for a page that stays unreadable."""
        if self._page is None and not self._open():
            return self._last
        assert self._page is not None
        for _ in range(_TRIES):
            data = self._page[:]
            magic, segment, offset, next_row, _, crc = _PAGE.unpack(data)
            if crc == crc32c(data[:-4]) and magic == _MAGIC:
                self._last = DurableEnd(LogPosition(segment, offset), next_row)
                return self._last
            if data == bytes(_PAGE.size):
                return self._last  # made, but nothing told yet
        raise DiskFailed(f"{self._path} is damaged")

    @property
    def exists(self) -> bool:
        """Whether an edge has ever told; without a page nobody who tells has written the log. Raises DiskFailed."""
        return self._page is not None or self._open()

    def _open(self) -> bool:
        try:
            with open_regular(self._path) as (descriptor, length):
                if length == _PAGE.size:
                    self._page = mmap.mmap(descriptor, _PAGE.size, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise DiskFailed(f"{self._path} cannot be read: {error.strerror}") from error
        except StateError as error:
            raise DiskFailed(str(error)) from error
        return self._page is not None

    def close(self) -> None:
        """Idempotent."""
        if self._page is not None:
            self._page.close()
            self._page = None


def tell_committed(directory: Path, worker: int, committed: dict[str, list[LogPosition]]) -> None:
    """By reader, the committed position in each edge's log, by edge number. Raises DiskFailed."""
    path = directory / f"committed-{worker}.json"
    temporary = path.with_suffix(".tmp")
    try:
        with os.fdopen(make_file(temporary), "wb") as file:
            file.write(msgspec.json.encode(committed))
        temporary.replace(path)
    except OSError as error:
        raise DiskFailed(f"{path} cannot be written: {error.strerror}") from error


def read_committed(directory: Path, worker: int) -> dict[str, list[LogPosition]]:
    """What the worker told last; empty if it has told nothing yet, or what it told cannot be read."""
    try:
        content = read_regular(directory / f"committed-{worker}.json")
        return msgspec.json.decode(content, type=dict[str, list[LogPosition]])
    except (OSError, StateError, msgspec.MsgspecError):
        return {}


def forget_committed(directory: Path) -> None:
    """Remove what former workers told."""
    for path in directory.glob("committed-*.json"):
        path.unlink(missing_ok=True)
