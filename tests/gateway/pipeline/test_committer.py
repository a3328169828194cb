"""What one group commit takes: what is here, and what is being decoded, for which it waits a little."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gateway.clock import SystemClock
from gateway.log.settings import LogSettings
from gateway.log.writer import LogWriter
from gateway.pipeline.committer import Committer
from gateway.series.edge_table import EdgeTable
from gateway.telemetry.frame import Frame
from tests.gateway.ingest.receivers import columns_of


@pytest.fixture
def frames() -> list[Frame]:
    return []


@pytest.fixture
def committer(tmp_path: Path, frames: list[Frame]) -> Iterator[Committer]:
    writer = LogWriter.open(tmp_path, 0, LogSettings(), SystemClock())
    found = Committer(writer, EdgeTable(1000), SystemClock(), frames.append)
    yield found
    found.stop()
    writer.close()


def test_a_commit_waits_for_a_request_under_way(committer: Committer, frames: list[Frame]) -> None:
    asked = threading.Event()
    with ThreadPoolExecutor(2) as threads:

        def more_coming() -> bool:
            if not asked.is_set():
                asked.set()
                threads.submit(committer.accept_blocking, columns_of(3), received_ns=2, body_bytes=1)
                while committer._queue.empty():
                    pass
                return True
            return False

        committer.more_coming = more_coming
        first = threads.submit(committer.accept_blocking, columns_of(5), received_ns=1, body_bytes=1)
        committer.start()
        assert first.result(10).rows == 5
    assert [len(frame) for frame in frames] == [8]
    assert frames[0].received_ns == 1


def test_a_commit_does_not_wait_for_ever_for_what_does_not_come(committer: Committer, frames: list[Frame]) -> None:
    committer.more_coming = lambda: True
    committer.start()
    assert committer.accept_blocking(columns_of(5), received_ns=1, body_bytes=1).rows == 5
    assert [len(frame) for frame in frames] == [5]
    committer.stop()
    assert not committer._thread.is_alive()
