"""The live detector: batches of many series, silence, expiry, snapshots."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from crc32c import crc32c

from gateway.baseline import snapshot
from gateway.baseline.detector import Baseline, Observation
from gateway.baseline.offline import run_series
from gateway.baseline.settings import DetectionSettings
from gateway.errors import StateError
from gateway.telemetry import kind
from kernels import series_state as state

START_MS = 1_700_000_000_000
STEP_MS = 15_000
SERIES = 20


class Feed:
    """Gauges of 100 with noise of 1, one batch a step, arriving as they are made."""

    def __init__(self, baseline: Baseline) -> None:
        self.baseline = baseline
        self.kinds = np.full(SERIES, kind.GAUGE, np.uint8)
        self.generations = np.zeros(SERIES, np.uint32)
        self.rng = np.random.default_rng(2)
        self.step = 0
        self.transitions: list[Any] = []

    def now_ms(self) -> int:
        return START_MS + self.step * STEP_MS

    def send(self, steps: int, only: Any = range(SERIES), add: dict[int, float] | None = None) -> Observation:
        for _ in range(steps):
            self.step += 1
            sids = np.array(only, np.uint32)
            values = 100 + self.rng.normal(size=SERIES)
            for sid, extra in (add or {}).items():
                values[sid] += extra
            observation = self.baseline.observe(
                sids, np.full(len(sids), self.now_ms(), np.int64), values[sids], None, self.kinds, self.generations,
                self.now_ms() * 1_000_000,
            )  # fmt: skip
            self.transitions += [*observation.transitions, *self.baseline.advance(self.now_ms())]
        return observation


@pytest.fixture
def feed() -> Feed:
    return Feed(Baseline(DetectionSettings(), capacity=4))


def test_a_fault_opens_and_closes_one_alert_of_its_series(feed: Feed) -> None:
    feed.send(200)
    assert not feed.transitions
    observation = feed.send(8, add={3: 50.0})
    assert 3 in observation.exceeding
    feed.send(20)
    assert {int(t["sid"]) for t in feed.transitions} == {3}
    kinds = [int(t["kind"]) for t in feed.transitions]
    assert kinds[0] == state.OPENED
    assert kinds[-1] == state.CLOSED
    assert kinds.count(state.OPENED) == 1
    words = feed.baseline.explain(feed.transitions[0])
    assert "% above the usual level" in words[0]


def test_counts_add_up(feed: Feed) -> None:
    feed.send(3)
    same = np.full(SERIES, feed.now_ms(), np.int64)
    sids = np.arange(SERIES, dtype=np.uint32)
    values = np.ones(SERIES)
    again = feed.baseline.observe(sids, same, values, None, feed.kinds, feed.generations, 0)
    assert (again.scored, again.repeated, again.late, again.skipped) == (0, SERIES, 0, 0)
    late = feed.baseline.observe(sids, same - 1, values, None, feed.kinds, feed.generations, 0)
    assert late.late == SERIES


def test_a_series_that_stops_is_found_while_others_go_on(feed: Feed) -> None:
    feed.send(100)
    feed.send(6, only=[s for s in range(SERIES) if s != 5])
    (stopped,) = feed.transitions
    assert (int(stopped["sid"]), int(stopped["reason"])) == (5, state.STALE)
    assert feed.baseline.explain(stopped)[0].startswith("no data for")
    feed.send(1)
    assert int(feed.transitions[-1]["kind"]) == state.CLOSED


def test_the_last_series_to_stop_is_found_on_the_wall_clock(feed: Feed) -> None:
    feed.send(100)
    found = feed.baseline.advance(feed.now_ms() + 10 * STEP_MS)
    assert len(found) == SERIES


def test_a_recording_does_not_stop_on_the_wall_clock(feed: Feed) -> None:
    feed.send(100)
    sids = np.arange(SERIES, dtype=np.uint32)
    times = np.full(SERIES, feed.now_ms() + STEP_MS, np.int64)
    much_later = (feed.now_ms() + 86_400_000) * 1_000_000
    feed.baseline.observe(sids, times, np.full(SERIES, 100.0), None, feed.kinds, feed.generations, much_later)
    assert len(feed.baseline.advance(feed.now_ms() + 86_400_000)) == 0


def test_forgetting_closes_what_was_open(feed: Feed) -> None:
    feed.send(200)
    feed.send(6, add={1: 80.0})
    closed = feed.baseline.forget(np.array([0, 1], np.uint32))
    assert [int(t["sid"]) for t in closed] == [1]
    assert int(closed[0]["closing"]) == state.FORGOTTEN
    assert feed.baseline.states["count"][1] == 0


def test_disabled_scores_nothing() -> None:
    feed = Feed(Baseline(DetectionSettings(enabled=False)))
    assert feed.send(3).skipped == SERIES


def test_live_and_offline_say_the_same(feed: Feed) -> None:
    rng = np.random.default_rng(9)
    n = 2000
    times = START_MS + np.arange(n, dtype=np.int64) * STEP_MS
    values = 50 + rng.normal(size=n)
    values[1500:1600] += 30
    offline = run_series(times / 1000, values)
    one = np.zeros(1, np.uint32)
    scores = [
        float(
            feed.baseline.observe(one, times[i : i + 1], values[i : i + 1], None, feed.kinds, feed.generations, 0)
            .score[0]
        )
        for i in range(n)
    ]  # fmt: skip
    np.testing.assert_allclose(scores, offline.score, atol=1e-6)


def test_snapshot_round_trip(feed: Feed, tmp_path: Path) -> None:
    feed.send(120)
    sids = np.arange(SERIES, dtype=np.uint32)
    keys = np.arange(SERIES * 16, dtype=np.uint16).astype(np.uint8).reshape(SERIES, 16)
    path = tmp_path / "baselines"
    snapshot.write(path, snapshot.take(feed.baseline, sids, keys))
    read = snapshot.read(path)
    np.testing.assert_array_equal(read.keys, keys)
    other = Baseline(DetectionSettings())
    moved = np.arange(SERIES, dtype=np.int64)[::-1].copy()
    moved[3] = -1
    snapshot.restore(other, read, moved, np.full(SERIES, 9, np.uint32))
    assert other.watermark_ms == feed.now_ms()
    for old, new in enumerate(moved):
        if new >= 0:
            assert other.states["count"][new] == feed.baseline.states["count"][old]
            assert other.states["generation"][new] == 9


def test_old_data_sent_again_beside_live_series_is_no_silence(feed: Feed) -> None:
    """A series whose past is sent while others are live counts as heard when its points arrive."""
    live, old = range(SERIES - 1), np.array([SERIES - 1], np.uint32)
    day_ms = 86_400_000
    for _ in range(80):
        feed.send(1, only=live)
        feed.baseline.observe(
            old, np.array([feed.now_ms() - day_ms]), 100 + feed.rng.normal(size=1), None, feed.kinds, feed.generations,
            feed.now_ms() * 1_000_000,
        )  # fmt: skip
    assert feed.transitions == [], [(t["sid"], t["reason"]) for t in feed.transitions]
    feed.send(20, only=live)
    silent = [(t["sid"], t["reason"]) for t in feed.transitions]
    assert silent == [(SERIES - 1, state.STALE)], "and it is found silent once it stops"


ORDER_3 = """
    last_ms raw_ms raw previous first_ms interval silence_steps count generation levels slope reference
    candidate fallback slow slow_before slow_before_s fallback_s losses short_dev long_dev candidate_dev stride
    step onset season_then usual_dev recent_dev q q_dev log_short log_long log_usual log_dev run_sum run_side
    run_count calm quiet zero_run held repeats longest_hole longest_repeat zero_share active score began_ms
    opened_ms severity open chosen log_known recent hour_now muted hour_samples hours block_s day_s muted_s peak
    peak_mean peak_top log_sum error_sum origin pending today yesterday week recent_score known_days learned_s
    gaps gap_excess season_gain loss_with loss_without unit cell_sum cell_now cell_count log_hours day_hours
    seen cells
"""  # fields of a record as versions 2 and 3 had them


@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_a_snapshot_of_a_former_version_is_read(feed: Feed, tmp_path: Path, version: int) -> None:
    feed.send(120)
    sids = np.arange(SERIES, dtype=np.uint32)
    now = feed.baseline.states[:SERIES]
    gone = {"longest_hole": "alerts", "run_sum": "day_usual"} if version == 2 else {}
    unknown = ("busy",) if version == 5 else ("busy", "novel")
    unknown += ("usual_dev", "recent_dev", "recent_score") if version == 2 else ()
    fields: list[Any] = []
    order = [name for name in state.STATE.names or () if name not in unknown] if version >= 4 else ORDER_3.split()
    for name in order:
        fields += [(gone[name], np.float32)] if name in gone else []
        fields += [] if name in unknown else [(name, state.STATE[name])]
    former = np.zeros(SERIES, np.dtype(fields, align=True))
    assert former.dtype.itemsize == 696, "what former versions wrote"
    for name in set(former.dtype.names or ()) & set(state.STATE.names or ()):
        former[name] = now[name]
    path = tmp_path / "baselines"
    keys, deadlines = np.zeros((SERIES, 16), np.uint8), np.zeros(SERIES, np.uint32)
    body = keys.tobytes() + deadlines.tobytes() + former.tobytes()
    header = struct.pack("<8sIIQQI4x", b"GWBASELN", version, former.dtype.itemsize, SERIES, 7, crc32c(body))
    path.write_bytes(header + body)
    read = snapshot.read(path)
    other = Baseline(DetectionSettings())
    snapshot.restore(other, read, sids.astype(np.int64), np.zeros(SERIES, np.uint32))
    for name in set(state.STATE.names or ()) - set(unknown):
        np.testing.assert_array_equal(other.states[name][:SERIES], now[name], err_msg=name)
    for name in unknown:
        want = now["long_dev"] if name == "usual_dev" else 0.0
        np.testing.assert_array_equal(other.states[name][:SERIES], want, err_msg=name)


@pytest.mark.parametrize("at", [0, 9, 40, 200, -1])
def test_a_damaged_snapshot_is_refused(feed: Feed, tmp_path: Path, at: int) -> None:
    feed.send(5)
    sids = np.arange(SERIES, dtype=np.uint32)
    path = tmp_path / "baselines"
    snapshot.write(path, snapshot.take(feed.baseline, sids, np.zeros((SERIES, 16), np.uint8)))
    data = bytearray(path.read_bytes())
    data[at] ^= 0x55
    path.write_bytes(data)
    with pytest.raises(StateError):
        snapshot.read(path)
