"""A worker's place in the data directory, which the first worker holds for a moment longer than it needs to."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest

from gateway.clock import SystemClock
from gateway.config import load_config
from gateway.data_role import DataRole
from gateway.errors import ConfigError
from gateway.pipeline.resharding import prepare_workers
from gateway.pipeline.sharding import Sharding
from gateway.pipeline.workers import lock_path


def role(data_dir: Path, worker: int) -> DataRole:
    assignments = [f"server.data_dir={data_dir}", "server.workers=2"]
    return DataRole(load_config(None, environment={}, assignments=assignments), SystemClock(), worker)


def held(data_dir: Path, worker: int) -> int:
    descriptor = os.open(lock_path(data_dir, worker), os.O_CREAT | os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


async def test_the_second_worker_waits_for_the_first_to_let_go_of_its_place(tmp_path: Path) -> None:
    prepare_workers(tmp_path, 2)
    descriptor = held(tmp_path, 1)
    second = role(tmp_path, 1)
    found: list[Sharding | None] = []
    waiting = threading.Thread(target=lambda: found.append(second._take_place(tmp_path)))
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive(), "it neither gives up nor goes on"
    os.close(descriptor)
    waiting.join()
    assert [type(one) for one in found] == [Sharding]
    await second.stop()


async def test_the_first_worker_of_a_second_gateway_is_refused_at_once(tmp_path: Path) -> None:
    descriptor = held(tmp_path, 0)
    first = role(tmp_path, 0)
    with pytest.raises(ConfigError, match="in use by another gateway"):
        first._take_place(tmp_path)
    os.close(descriptor)
    await first.stop()
