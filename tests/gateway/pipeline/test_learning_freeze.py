"""Learning frozen in maintenance windows, in the data plane: the file, frames over borders, ends, restarts."""

from __future__ import annotations

import errno
import os
import struct
import threading
from pathlib import Path
from typing import Any

import crc32c
import msgspec
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from structlog.testing import capture_logs

from gateway.baseline import snapshot
from gateway.baseline.detector import Baseline, Observation
from gateway.baseline.offline import run_series
from gateway.baseline.settings import DetectionSettings
from gateway.clock import ManualClock
from gateway.errors import StateError
from gateway.pipeline import learning_freeze
from gateway.pipeline.baseline_store import BaselineStore, ScorerCounts
from gateway.pipeline.learning_freeze import LearningFreeze
from gateway.pipeline.resharding import joined_baselines
from gateway.selfmetrics import REGISTRY
from gateway.series.index import SeriesIndex
from gateway.telemetry import kind
from gateway.telemetry.columns import Definitions
from gateway.telemetry.frame import Frame, LogPosition
from gateway.telemetry.freeze_status import FreezeStatus
from gateway.telemetry.freeze_window import (
    FILE_NAME,
    MOST_BYTES,
    MOST_WINDOWS,
    FreezeWindow,
    LabelCondition,
    encode_windows,
    write_windows,
)
from gateway.telemetry.labels import encode_label_blob
from kernels.series_state import SLOW_FIELDS

START_MS = 1_700_006_400_000
STEP_MS = 60_000
SERIES = 6
UNBOUNDED = np.empty(0)


def frame_of(times_ms: NDArray[np.int64], values: NDArray[np.float64]) -> Frame:
    at, n = LogPosition(1, 64), len(values)
    received_ns = int(times_ms.max()) * 10**6
    nothing = Definitions.from_blobs([], np.empty(0, np.uint8))
    return Frame(0, 0, at, at, 0, n, received_ns, np.zeros(n, np.uint32), times_ms, values, None, 0, nothing)


class Shard:
    """Gauges of jobs a and b in turn, an index that knows them, and what scores them."""

    def __init__(self, directory: Path, *, limit: int = 1000, series: int = SERIES) -> None:
        self.index = SeriesIndex(100, arena_bytes=1 << 20)
        labels = [{"__name__": "m", "job": "ab"[n % 2], "n": str(n)} for n in range(series)]
        blobs = [encode_label_blob(one) for one in labels]
        kinds = np.full(series, kind.GAUGE, np.uint8)
        self.sids = self.index.define(Definitions.from_blobs(blobs, kinds))
        self.baseline = Baseline(DetectionSettings(max_frozen_series=limit))
        self.path = directory / FILE_NAME
        self.clock = ManualClock(start_ns=(START_MS + 50 * STEP_MS) * 10**6)
        self.freeze = LearningFreeze(self.path, self.index, self.baseline, self.clock)

    def publish(self, *windows: FreezeWindow) -> None:
        write_windows(self.path, encode_windows(windows))
        self.freeze.reload()

    def feed(self, sids: Any, times_ms: Any, values: Any) -> Observation:
        sids, times_ms = np.asarray(sids, np.uint32), np.asarray(times_ms, np.int64)
        frame = frame_of(times_ms, np.asarray(values, np.float64))
        return self.freeze.observe(sids, frame, UNBOUNDED)

    def slow_fields(self) -> list[bytes]:
        """Of each series."""
        states = self.baseline.states
        return [b"".join(states[name][sid].tobytes() for name in SLOW_FIELDS) for sid in self.sids.tolist()]


def window(start: int, end: int, job: str = "a", number: str = "1") -> FreezeWindow:
    """Of one job, in steps since the start."""
    condition = LabelCondition("service", "=", job)
    return FreezeWindow(number, (condition,), ((START_MS + start * STEP_MS, START_MS + end * STEP_MS),))


def rows(first: int, behind: int, rng: np.random.Generator, series: int = SERIES) -> tuple[Any, Any, Any]:
    """All series at each step, in the order in which senders send."""
    steps = np.arange(first, behind)
    times = np.repeat(START_MS + steps * STEP_MS, series)
    sids = np.tile(np.arange(series, dtype=np.uint32), len(steps))
    return sids, times, 100.0 + 10 * np.sin(times / 5e6) + rng.normal(0, 1, len(times))


def failures(reason: str) -> float:
    found = REGISTRY.get_sample_value("gateway_baseline_freeze_file_failures_total", {"reason": reason})
    assert found is not None
    return found


def with_spans(*spans: tuple[int, int], windows: int = 1) -> bytes:
    """A payload whose windows have these."""
    one = {"id": "1", "conditions": [["service", "=", "b"]], "spans": spans}
    return msgspec.msgpack.encode({"windows": [one] * windows})


SOUND = {
    "long": bytes(MOST_BYTES + 1),
    "spans": with_spans((0, 10), (-(2**63), 2**64 - 1)),
    "many": with_spans((0, 10), windows=MOST_WINDOWS + 1),
    "deep": b"\x82\xa1x" + b"\x91" * 100_000 + b"\xc0" + msgspec.msgpack.encode({"windows": []})[1:],
    "text": with_spans((0, 10)).replace(b"service", b"serv\xff\xfee"),
}
"""Payloads that have a good checksum and cannot be used."""


def checked(payload: bytes) -> bytes:
    """A file as `write_checked` makes it."""
    return struct.pack("<8sIIQ", b"GWFREEZE", 1, crc32c.crc32c(payload), len(payload)) + payload


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 10**6), shuffled=st.booleans())
def test_frames_over_borders_are_scored_as_each_series_alone(tmp_path: Path, seed: int, shuffled: bool) -> None:
    rng = np.random.default_rng(seed)
    shard = Shard(tmp_path)
    borders = [(100, 160), (170, 171), (230, 300)]
    of_a = [window(start, end, "a", str(start)) for start, end in borders[:2]]
    shard.publish(*of_a, window(*borders[2], "b", "other"))
    sids, times, values = rows(0, 360, rng)
    values[(times >= START_MS + 110 * STEP_MS) & (times < START_MS + 290 * STEP_MS)] *= rng.uniform(0.5, 2.0)
    order = np.arange(len(sids))
    if shuffled:  # of a backlog: each series in its order, but not with the others
        order = np.argsort(
            rng.integers(0, 4, SERIES)[sids] * 40 + times // STEP_MS - START_MS // STEP_MS, kind="stable"
        )
    observed: dict[int, list[float]] = {sid: [] for sid in range(SERIES)}
    at = 0
    while at < len(order):
        part = order[at : (at := at + int(rng.integers(1, 400)))]
        found = shard.feed(sids[part], times[part], values[part])
        assert found.scored == len(part)
        assert (np.diff(found.transitions["row"]) >= 0).all()
        np.testing.assert_array_equal(found.exceeding, np.flatnonzero(found.score >= 0.5))
        for sid, score in zip(sids[part].tolist(), found.score.tolist(), strict=True):
            observed[sid].append(score)
    for sid in range(SERIES):
        own = sids == sid
        frozen = [
            (START_MS / 1000 + 60 * s, START_MS / 1000 + 60 * e) for s, e in (borders[2:] if sid % 2 else borders[:2])
        ]
        alone = run_series(times[own] / 1000, values[own], frozen=frozen)
        np.testing.assert_allclose(observed[sid], alone.score[~alone.extra], atol=1e-6)


def test_late_rows_neither_freeze_nor_restore(tmp_path: Path) -> None:
    shard = Shard(tmp_path)
    rng = np.random.default_rng(1)
    shard.feed(*rows(0, 100, rng))
    shard.publish(window(100, 130))
    shard.feed(*rows(100, 101, rng))
    assert shard.baseline.frozen.count == 3
    shard.feed([0, 0], [START_MS + 50 * STEP_MS, START_MS + 101 * STEP_MS], [1.0, 100.0])
    assert shard.baseline.frozen.count == 3
    shard.feed(*rows(102, 146, rng))
    assert shard.baseline.frozen.count == 0
    shard.feed([0], [START_MS + 120 * STEP_MS], [100.0])
    assert shard.baseline.frozen.count == 0


def test_what_falls_silent_in_a_window_is_restored_when_it_is_over(tmp_path: Path) -> None:
    shard = Shard(tmp_path)
    rng = np.random.default_rng(1)
    sids, times, values = rows(0, 100, rng)
    shard.feed(sids, times, values)
    known = shard.slow_fields()
    shard.publish(window(100, 130))
    sids, times, values = rows(100, 110, rng)
    shard.feed(sids, times, values * 3)
    only = sids % 2 == 1
    for step in range(110, 144):
        sids, times, values = rows(step, step + 1, rng)
        shard.feed(sids[only[:SERIES]], times[only[:SERIES]], values[only[:SERIES]])
        shard.freeze.advance()
        assert shard.baseline.frozen.count == 3
    sids, times, values = rows(145, 146, rng)
    shard.feed(sids[only[:SERIES]], times[only[:SERIES]], values[only[:SERIES]])
    shard.freeze.advance()
    assert shard.baseline.frozen.idle
    assert shard.slow_fields()[::2] == known[::2]


def test_a_window_that_is_deleted_or_changed_lets_go_of_what_it_does_not_cover(tmp_path: Path) -> None:
    shard = Shard(tmp_path)
    rng = np.random.default_rng(1)
    shard.feed(*rows(0, 100, rng))
    shard.publish(window(100, 10_000))
    shard.feed(*rows(100, 101, rng))
    assert shard.freeze.status().series == 3
    shard.publish(window(100, 10_000, "b"))  # another job
    shard.feed(*rows(101, 102, rng))
    assert shard.baseline.frozen.holds(shard.sids).tolist() == [False, True] * 3
    shard.publish()
    shard.freeze.advance()
    status = shard.freeze.status()
    assert status == FreezeStatus(windows=0, series=0, new_series=0, refused_series=0, bytes=status.bytes, problem="")
    assert shard.baseline.frozen.idle


def test_new_series_of_a_window_begin_anew_and_too_many_go_on_learning(tmp_path: Path) -> None:
    shard = Shard(tmp_path, limit=1)
    rng = np.random.default_rng(1)
    sids, times, values = rows(0, 100, rng)
    known = sids != 4
    shard.feed(sids[known], times[known], values[known])
    shard.publish(window(100, 200))
    shard.feed(*rows(100, 101, rng))
    status = shard.freeze.status()
    assert (status.series, status.new_series, status.refused_series) == (1, 1, 1)
    shard.feed(*rows(101, 200, rng))
    shard.feed(*rows(215, 216, rng))
    assert shard.baseline.frozen.idle
    assert shard.baseline.states["count"][:SERIES].tolist() == [201, 201, 201, 201, 1, 201]


def test_an_expired_series_takes_what_is_kept_of_it_along(tmp_path: Path) -> None:
    shard = Shard(tmp_path)
    rng = np.random.default_rng(1)
    shard.feed(*rows(0, 100, rng))
    shard.publish(window(100, 200))
    shard.feed(*rows(100, 101, rng))
    shard.baseline.forget(shard.sids[:1])
    assert shard.baseline.frozen.count == 2
    shard.freeze.forget(shard.sids[:1])
    shard.feed(*rows(101, 102, rng))
    assert (shard.baseline.frozen.count, shard.baseline.frozen.new) == (2, 1), "it is another series now"


@pytest.mark.parametrize("damage", ["flip", "cut", "newer", "large", "empty", "long", "spans", "many", "deep", "text"])
def test_a_file_that_cannot_be_used_is_declared_and_what_was_known_holds_on(tmp_path: Path, damage: str) -> None:
    shard = Shard(tmp_path)
    rng = np.random.default_rng(1)
    shard.feed(*rows(0, 100, rng))
    shard.publish(window(100, 200))
    content = bytearray(shard.path.read_bytes())
    if damage == "flip":
        content[-1] ^= 1
    elif damage == "cut":
        del content[-3:]
    elif damage == "newer":
        struct.pack_into("<I", content, 8, 2)
    elif damage == "large":
        content += bytes(2 * MOST_BYTES)
    elif damage == "empty":
        content.clear()
    before = failures("damaged")
    shard.path.write_bytes(content if damage not in SOUND else checked(SOUND[damage]))
    with capture_logs() as logged:
        shard.freeze.advance()
        shard.freeze.advance()
    assert len(logged) == 1, "once, not every second"
    assert failures("damaged") == before + 1
    assert REGISTRY.get_sample_value("gateway_baseline_freeze_problem") == 1
    assert str(shard.path) in shard.freeze.status().problem
    shard.feed(*rows(100, 101, rng))
    assert shard.baseline.frozen.count == 3
    shard.publish(window(100, 200))
    assert shard.freeze.status().problem == ""
    assert REGISTRY.get_sample_value("gateway_baseline_freeze_problem") == 0


def test_a_file_that_the_disk_did_not_give_is_read_at_the_next_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = Shard(tmp_path)
    write_windows(shard.path, encode_windows([window(100, 200)]))

    def refused(path: Path) -> list[FreezeWindow]:
        raise OSError(errno.EIO, "Input/output error", str(path))

    with monkeypatch.context() as broken:
        broken.setattr(learning_freeze, "read_windows", refused)
        shard.freeze.reload()
    assert str(shard.path) in shard.freeze.status().problem
    shard.freeze.reload()
    assert shard.freeze.status().problem == ""
    rng = np.random.default_rng(1)
    shard.feed(*rows(0, 101, rng))
    assert shard.baseline.frozen.count == 3


def test_more_than_fits_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="limit"):
        write_windows(tmp_path / FILE_NAME, bytes(MOST_BYTES + 1))
    assert not (tmp_path / FILE_NAME).exists()


@pytest.mark.parametrize("what", ["device", "fifo", "directory", "loop"])
def test_what_is_no_file_is_a_problem_and_neither_fills_memory_nor_stops_the_scorer(tmp_path: Path, what: str) -> None:
    shard = Shard(tmp_path)
    rng = np.random.default_rng(1)
    shard.feed(*rows(0, 100, rng))
    shard.publish(window(100, 200))
    shard.path.unlink()
    if what == "device":
        shard.path.symlink_to("/dev/null")  # /dev/zero is read alike, and would take the memory of who runs this
    elif what == "fifo":
        os.mkfifo(shard.path)
    elif what == "directory":
        shard.path.mkdir()
    else:
        shard.path.symlink_to(shard.path)
    reason = "disk" if what == "loop" else "damaged"
    before = failures(reason)
    done = threading.Thread(target=shard.freeze.advance, daemon=True)
    done.start()
    done.join(20)
    assert not done.is_alive()
    assert failures(reason) == before + 1
    problem = shard.freeze.status().problem
    assert str(shard.path) in problem
    assert what == "loop" or "not a regular file" in problem
    shard.feed(*rows(100, 101, rng))
    assert shard.baseline.frozen.count == 3, "what was known holds on"


def test_a_file_that_is_removed_is_a_loss_and_what_was_known_holds_on(tmp_path: Path) -> None:
    shard = Shard(tmp_path)
    shard.freeze.advance()
    assert shard.freeze.status().problem == "", "nobody has published any yet"
    rng = np.random.default_rng(1)
    shard.feed(*rows(0, 100, rng))
    shard.publish(window(100, 200))
    shard.path.unlink()
    before = failures("removed")
    shard.freeze.advance()
    shard.freeze.advance()
    assert "is gone" in shard.freeze.status().problem
    assert failures("removed") == before + 1
    shard.feed(*rows(100, 101, rng))
    assert (shard.baseline.frozen.count, shard.freeze.status().windows) == (3, 1)
    shard.publish(window(100, 200))
    assert shard.freeze.status().problem == ""


def test_before_the_first_point_the_wall_clock_says_which_windows_hold(tmp_path: Path) -> None:
    shard = Shard(tmp_path)
    shard.publish(window(0, 100), window(60, 100, number="2"))
    assert shard.freeze.status().windows == 1
    shard.clock.advance(10 * STEP_MS / 1000)
    assert shard.freeze.status().windows == 2
    shard.feed(*rows(10, 11, np.random.default_rng(1)))
    assert shard.freeze.status().windows == 1, "points' own time, since there are some"


def saved(directory: Path, shard: Shard) -> None:
    store = BaselineStore(directory, 0, (1, 2))
    store.finish(store.begin(shard.baseline, shard.sids, shard.index, 0), LogPosition(1, 64), ScorerCounts())


def test_a_window_outlives_restarts_also_of_series_that_are_not_met_again(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    first = Shard(tmp_path)
    first.feed(*rows(0, 100, rng))
    known = first.slow_fields()
    first.publish(window(100, 150))
    sids, times, values = rows(100, 110, rng)
    first.feed(sids, times, values * 5)
    saved(tmp_path, first)

    second = Shard(tmp_path)
    store = BaselineStore(tmp_path, 0, (1, 2))
    store.load()
    assert store.restore(second.baseline, second.sids[:2], second.index) == 2
    assert second.baseline.frozen.count == 1, "of the two, one is in the window"
    store.finish(store.begin(second.baseline, second.sids[:2], second.index, 0), LogPosition(1, 80), ScorerCounts())

    third = Shard(tmp_path)  # the window is over before it starts
    third.publish(window(100, 150))
    store = BaselineStore(tmp_path, 0, (1, 2))
    store.load()
    assert store.restore(third.baseline, third.sids, third.index) == SERIES
    assert third.baseline.frozen.count == 3
    third.feed([1], [START_MS + 170 * STEP_MS], [100.0])
    third.freeze.advance()
    assert third.baseline.frozen.idle
    assert third.slow_fields()[::2] == known[::2]


def test_another_number_of_workers_takes_what_is_kept_along(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    parts = []
    for worker in range(2):
        shard = Shard(tmp_path)
        shard.feed(*rows(0, 100, rng))
        shard.publish(window(100, 150))
        shard.feed(*rows(100, 110 + worker, rng))
        keys = np.zeros((SERIES, 16), np.uint8)
        keys[:, 0] = np.arange(SERIES) + 3 * worker  # three series are in both files, and the second saw more of them
        parts.append(snapshot.take(shard.baseline, shard.sids, keys))
    joined = joined_baselines(parts)
    assert joined.keys[:, 0].tolist() == list(range(9))
    assert joined.records["count"].tolist() == [110] * 3 + [111] * 6
    # Frozen are series 0, 2, 4 of the first, of which the last is the other's series 1, and 0, 2, 4 of the second.
    assert sorted(joined.keys[joined.frozen, 0].tolist()) == [0, 2, 3, 5, 7]
    kept = dict(zip(joined.keys[joined.frozen, 0].tolist(), joined.kept["last_ms"].tolist(), strict=True))
    assert set(kept.values()) == {START_MS + 99 * STEP_MS}


def test_nothing_is_frozen_where_nothing_is_detected(tmp_path: Path) -> None:
    shard = Shard(tmp_path)
    shard.baseline = Baseline(DetectionSettings(enabled=False))
    shard.freeze = LearningFreeze(shard.path, shard.index, shard.baseline, shard.clock)
    shard.publish(window(0, 200))
    assert shard.feed(*rows(100, 101, np.random.default_rng(1))).skipped == SERIES
    assert shard.baseline.frozen.idle
