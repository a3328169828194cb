"""How many workers a data directory has, and what the number was before: `state/workers.json`.

A directory that one worker alone ever used has no such file, and nothing of what several need. Else the file says for
how many workers the states in `state/` are made. When the configured number is another, worker 0 makes the states
anew (gateway.pipeline.resharding) before it starts; the others wait until the file bears their number.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

import msgspec
import structlog

from gateway.errors import StateError, Unavailable, UnknownVersion
from gateway.pipeline.shard_feed import FormerWorkers
from gateway.telemetry.frame import LogPosition
from gateway.telemetry.state_file import open_kept, read_regular, store_file

log = structlog.get_logger(__name__)

FORMAT_VERSION: Final = 1
_WAIT_SECONDS: Final = 60.0
LOCK_SECONDS: Final = 15.0
"""How long a worker's lock is waited for: by the first, for one that is ending; by the others, for the first, which
shows them their states before it lets go of their locks."""
_LOOK_SECONDS: Final = 0.05


class Former(msgspec.Struct, frozen=True):
    """A former number of workers and how far each had come: positions[shard][edge]."""

    count: int
    scorer: list[list[LogPosition]]
    forwarder: list[list[LogPosition]]


class WorkersFile(msgspec.Struct, frozen=True, omit_defaults=True):
    """workers: the present number. edges: how many edges' logs there are. until: by edge, where its log ended when the
    number last changed. former: earlier numbers whose frames may still have to be read, oldest first."""

    version: int
    workers: int
    edges: int
    until: list[LogPosition] = []
    former: list[Former] = []

    def former_of(self, reader: str) -> list[FormerWorkers]:
        """As a feed of this reader ("scorer" or "forwarder") needs it."""
        return [FormerWorkers(f.count, getattr(f, reader)) for f in self.former]


def workers_path(data_dir: Path) -> Path:
    """Where the file is."""
    return data_dir / "state" / "workers.json"


def read_workers(data_dir: Path) -> WorkersFile | None:
    """None where one worker alone has used the directory. Raises StateError."""
    return read_workers_at(workers_path(data_dir))


def read_workers_at(path: Path) -> WorkersFile | None:
    """The same of a file anywhere. Raises StateError."""
    try:
        found = msgspec.json.decode(read_regular(path), type=WorkersFile)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.MsgspecError) as error:
        raise StateError(f"{path} cannot be read: {error}") from error
    if found.version > FORMAT_VERSION:
        raise UnknownVersion(path, found.version, FORMAT_VERSION)
    return found


def write_workers(data_dir: Path, content: WorkersFile) -> None:
    """Raises DiskFailed."""
    store_file(workers_path(data_dir), msgspec.json.encode(content))


def wait_for_workers(data_dir: Path, workers: int) -> WorkersFile:
    """For every worker but the first: wait until the states are made for `workers`. Raises Unavailable, StateError."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while True:
        found = read_workers(data_dir)
        if found is not None and found.workers == workers:
            return found
        if time.monotonic() > deadline:
            raise Unavailable(f"the first worker has not made the states for {workers} workers")
        time.sleep(_LOOK_SECONDS)


def lock_path(data_dir: Path, worker: int) -> Path:
    """What a worker holds locked while it runs; that of the first is the directory's lock."""
    return data_dir / ("lock" if worker == 0 else f"lock-{worker}")


def locked_within(descriptor: int, seconds: float) -> bool:
    """Lock an open file for this process alone; whether it could be had in time (0: asked once). Waits."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_LOOK_SECONDS)


@contextmanager
def others_stopped(data_dir: Path, workers: range) -> Iterator[None]:
    """Hold the locks of these workers, so that none of them runs meanwhile. Raises StateError."""
    with ExitStack() as stack:
        for worker in workers:
            descriptor = open_kept(lock_path(data_dir, worker))
            stack.callback(os.close, descriptor)
            if not locked_within(descriptor, LOCK_SECONDS):
                raise StateError(f"worker {worker} of {data_dir} runs, so its state cannot be taken")
        yield
