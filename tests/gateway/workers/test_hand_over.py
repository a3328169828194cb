"""What a worker had open when it is no longer run is ended by the first one, once."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gateway.baseline.freeze import FreezeStore
from gateway.baseline.group_detector import GroupDetector
from gateway.baseline.limit_settings import LimitSettings
from gateway.clock import ManualClock
from gateway.pipeline import group_watch, limit_watch
from gateway.pipeline.group_watch import GroupWatch
from gateway.pipeline.limit_watch import LimitWatch
from gateway.pipeline.resharding import prepare_workers
from gateway.pipeline.watches import Watch
from gateway.series.index import SeriesIndex
from gateway.telemetry.anomaly import Anomaly
from gateway.telemetry.state_file import write_checked


def anomaly(name: str) -> Anomaly:
    return Anomaly(
        id=name, time=1.0, series={"service": name}, value=5.0, expected=0.0, lower=0.0, upper=None, score=0.7,
        severity="high", reasons=["because"], detected_ns=1,
    )  # fmt: skip


def write(state: Path, kind: str, worker: int, names: list[str]) -> None:
    found = [anomaly(name) for name in names]
    path = state / f"{kind}-{worker}.state"
    if kind == "groups":
        content = msgspec.msgpack.encode(group_watch._State({}, found))
        write_checked(path, group_watch._MAGIC, group_watch.VERSION, [content])
    else:
        write_checked(path, limit_watch._MAGIC, limit_watch.VERSION, [msgspec.msgpack.encode(found)])


def watch(state: Path, kind: str) -> Watch:
    index, path = SeriesIndex(), state / f"{kind}-0.state"
    if kind == "groups":
        return GroupWatch(GroupDetector(), index, index.blob, path, ManualClock(), FreezeStore(0))
    return LimitWatch(LimitSettings(), index, path, ManualClock())


@pytest.mark.parametrize("kind", ["groups", "limits"])
def test_fewer_workers_end_what_the_others_had_open(tmp_path: Path, kind: str) -> None:
    prepare_workers(tmp_path, 3)
    state = tmp_path / "state"
    for worker, names in enumerate((["a"], ["b", "c"], ["d"])):
        write(state, kind, worker, names)
    prepare_workers(tmp_path, 1)
    assert [path.name for path in state.glob(f"{kind}-*")] == [f"{kind}-0.state"]
    ended = watch(state, kind).advance(5_000)
    assert {found.id: found.state for found in ended} == dict.fromkeys("abcd", "resolved")
    assert prepare_workers(tmp_path, 1) is not None, "and nothing is handed over again"


@pytest.mark.parametrize("kind", ["groups", "limits"])
def test_a_damaged_file_of_a_worker_that_is_gone_keeps_nobody_from_starting(tmp_path: Path, kind: str) -> None:
    prepare_workers(tmp_path, 2)
    state = tmp_path / "state"
    write(state, kind, 0, ["a"])
    (state / f"{kind}-1.state").write_bytes(b"no state")
    prepare_workers(tmp_path, 1)
    assert [found.id for found in watch(state, kind).advance(5_000)] == ["a"]


def test_more_workers_leave_what_is_open_where_it_is(tmp_path: Path) -> None:
    prepare_workers(tmp_path, 1)
    state = tmp_path / "state"
    write(state, "groups", 0, ["a"])
    before = (state / "groups-0.state").read_bytes()
    prepare_workers(tmp_path, 2)
    assert (state / "groups-0.state").read_bytes() == before
