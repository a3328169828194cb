"""Learning frozen: what is put back, what goes on, and what is kept of whom."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gateway.baseline import snapshot
from gateway.baseline.detector import Baseline
from gateway.baseline.freeze import (
    GRACE_S,
    KEPT,
    FreezeStore,
    begin_anew,
    grace_s,
    kept_of,
    restore_records,
    usual_of_days,
)
from gateway.baseline.offline import OfflineResult, run_series
from gateway.baseline.parameters import parameters
from gateway.baseline.settings import DetectionSettings
from gateway.errors import StateError
from gateway.telemetry import kind
from kernels.days import USUAL, Variation, follow_days, settle_muted
from kernels.moment import MATURE_SAMPLES, Moment, arrive
from kernels.prediction import Deviation, scale_of
from kernels.series_state import (
    FAST_FIELDS,
    OPENED,
    SEASON,
    SHIFTED_FIELDS,
    SLOW_FIELDS,
    STATE,
    STEP_FIELDS,
)

DAY_S = 86_400.0
START_S = 1_700_006_400.0
ONE = np.zeros(1, np.uint32)


def test_every_field_is_of_one_group() -> None:
    assert sorted([*SLOW_FIELDS, *SHIFTED_FIELDS, *FAST_FIELDS]) == sorted(STATE.names or ())
    assert set(STEP_FIELDS) <= set(SLOW_FIELDS)


def fed(baseline: Baseline, times_s: NDArray[np.float64], values: NDArray[np.float64]) -> NDArray[np.float32]:
    """One gauge, row by row in one batch; gives the scores."""
    n = len(values)
    return baseline.observe(
        np.zeros(n, np.uint32), (times_s * 1000).astype(np.int64), values, None,
        np.full(1, kind.GAUGE, np.uint8), np.zeros(1, np.uint32), int(times_s[-1]) * 10**9,
    ).score  # fmt: skip


def daily(days: float, step_s: float, rng: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    times = START_S + np.arange(round(days * DAY_S / step_s)) * step_s
    return times, 100 + 20 * np.sin(2 * np.pi * times / DAY_S) + rng.normal(0, 2, len(times))


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    step_s=st.sampled_from([15.0, 60.0, 300.0, 3600.0]),
    lasting=st.integers(1, 600),
    chaos=st.sampled_from(["shift", "noise", "zero", "still", "scale", "calm"]),
)
def test_slow_fields_are_those_of_before_and_fast_ones_those_of_the_live_run(
    seed: int, step_s: float, lasting: int, chaos: str
) -> None:
    rng = np.random.default_rng(seed)
    times, values = daily(1.5 if step_s < 100 else 20.0, step_s, rng)
    at = len(values) - lasting if len(values) > lasting + MATURE_SAMPLES + 1 else MATURE_SAMPLES + 2
    piece = values[at:]
    if chaos == "shift":
        piece += rng.uniform(-500, 500)
    elif chaos == "noise":
        piece += rng.normal(0, 300, len(piece))
    elif chaos in ("zero", "still"):
        piece[:] = 0.0 if chaos == "zero" else piece[0]
    elif chaos == "scale":
        piece *= rng.uniform(0.0, 50.0)
    live, held = Baseline(DetectionSettings()), Baseline(DetectionSettings())
    fed(live, times[:at], values[:at])
    fed(held, times[:at], values[:at])
    before = held.records(ONE)[0][0].copy()
    held.freeze(ONE)
    assert held.frozen.count == 1
    np.testing.assert_array_equal(fed(live, times[at:], piece), fed(held, times[at:], piece))
    held.restore(ONE)
    assert held.frozen.idle
    after, other = held.records(ONE)[0][0], live.records(ONE)[0][0]
    for name in SLOW_FIELDS:
        np.testing.assert_array_equal(after[name], before[name], err_msg=name)
    for name in FAST_FIELDS:
        np.testing.assert_array_equal(after[name], other[name], err_msg=name)
    age_ms = int(other["last_ms"]) - int(after["first_ms"])
    assert age_ms == int(before["last_ms"]) - int(before["first_ms"]), "age is what was learned from"
    assert after["busy"] >> 4 == before["busy"] >> 4
    assert after["busy"] & 15 == other["busy"] & 15
    assert after["fallback"] == before["levels"][1]
    assert all(np.isfinite(after[name]).all() for name in STATE.names or ())
    assert np.isfinite(fed(held, times[-1:] + step_s, values[:1])).all()


def test_another_step_is_left_as_it_is() -> None:
    rng = np.random.default_rng(1)
    times, values = daily(1.5, 15.0, rng)
    baseline = Baseline(DetectionSettings())
    fed(baseline, times, values)
    before = float(baseline.records(ONE)[0][0]["interval"])
    baseline.freeze(ONE)
    later = times[-1] + 60.0 * np.arange(1, 200)
    fed(baseline, later, 100 + rng.normal(0, 2, len(later)))
    baseline.restore(ONE)
    after = baseline.records(ONE)[0][0]
    assert before == pytest.approx(15.0, rel=0.01)
    assert after["interval"] == pytest.approx(60.0, rel=0.1)


def test_a_series_that_is_new_begins_anew_and_keeps_its_counter() -> None:
    baseline = Baseline(DetectionSettings())
    baseline.freeze(ONE)
    assert (baseline.frozen.count, baseline.frozen.new) == (0, 1)
    times, values = daily(0.2, 60.0, np.random.default_rng(1))
    fed(baseline, times, values)
    assert baseline.states["count"][0] > MATURE_SAMPLES
    assert baseline.frozen_rows(ONE).tolist() == [0], "a snapshot has to tell of it"
    baseline.restore(ONE)
    (record,) = baseline.records(ONE)[0]
    assert (record["count"], record["raw"], record["raw_ms"]) == (0, values[-1], int(times[-1]) * 1000)
    fed(baseline, times[-1:] + 60.0, values[:1])
    assert baseline.states["first_ms"][0] == int(times[-1] + 60.0) * 1000


def arriving(record: Any, at_ms: int) -> Moment:
    return arrive(record, at_ms, parameters(DetectionSettings()))


@pytest.mark.parametrize("samples", [MATURE_SAMPLES, MATURE_SAMPLES + 1])
def test_a_series_begins_anew_if_nothing_of_it_was_judged_by_its_past(samples: int) -> None:
    records = np.zeros(1, STATE)
    records["count"], records["interval"], records["last_ms"] = samples - 1, 3600.0, 200 * 3_600_000
    mature = arriving(records[0], 201 * 3_600_000).mature
    assert records["count"][0] == samples
    frozen = FreezeStore(10)
    frozen.freeze(ONE, records)
    assert (frozen.count, frozen.new) == ((1, 0) if mature else (0, 1))


deviations = st.floats(0.0, 1e6, width=32)


@settings(max_examples=200, deadline=None)
@given(q_dev=deviations, short=deviations, long=deviations.filter(lambda x: x > 1e-6))
def test_what_is_usual_of_days_is_as_the_kernels_have_it(q_dev: float, short: float, long: float) -> None:
    records = np.zeros(1, STATE)
    records["q_dev"], records["short_dev"], records["long_dev"] = q_dev, short, long
    (usual,) = usual_of_days(records)
    record = records[0]
    now = Moment(0, 0, 60.0, 60.0, True, True, False)
    scale = scale_of(record, 0.0)
    days = follow_days(record, now, Deviation(0.0, 0.0, 0.0, 0.0, 0.0, scale, 0.0, 0.0, 1.0))
    assert usual == pytest.approx(days.usual, rel=1e-6)
    for q, muted in ((1.01 * USUAL * usual, SEASON), (0.99 * USUAL * usual, 0)):
        records["q"], records["muted"], records["last_ms"] = q, 0, 86_400_000 * 20
        restore_records(records, kept_of(records))
        assert records["muted"][0] == muted
        records["muted"] = SEASON
        settle_muted(record, now, days._replace(distance=q), Variation(0.0, 0.0, 1.0))
        assert records["muted"][0] == muted


def test_an_alert_of_a_series_that_begins_anew_goes_on_and_ends() -> None:
    records = np.zeros(1, STATE)
    records["open"], records["severity"], records["opened_ms"], records["count"] = 2, 3, 7, 90
    begin_anew(records)
    assert (records["open"], records["severity"], records["opened_ms"], records["count"]) == (2, 3, 7, 0)


def after_window(chaos_hours: int, fault: float, frozen: bool, *, late_s: float = 0.0) -> tuple[OfflineResult, float]:
    """Planned chaos in the tenth day of a daily pattern with noise of 2, and half an hour of `fault` an hour later."""
    rng = np.random.default_rng(7)
    times, values = daily(14.0, 60.0, rng)
    first, behind = 1440 * 9 + 600, 1440 * 9 + 600 + 60 * chaos_hours
    factors = np.repeat(rng.uniform(0.2, 2.5, (behind - first) // 10 + 1), 10)[: behind - first]
    values[first:behind] *= factors
    values[behind + 60 : behind + 90] += fault
    end = float(times[behind]) - late_s
    return run_series(times, values, frozen=[(float(times[first]), end)] if frozen else []), end


def opened(result: OfflineResult, since_s: float) -> list[float]:
    changes = result.transitions[result.transitions["kind"] == OPENED]
    return [float(t) / 1000 - since_s for t in changes["opened_ms"] if t >= since_s * 1000]


@pytest.mark.parametrize("hours", [2, 8, 24, 72])
@pytest.mark.parametrize("late_s", [0.0, 600.0])
def test_the_way_back_to_the_old_level_is_no_alert(hours: int, late_s: float) -> None:
    result, end = after_window(hours, 0.0, frozen=True, late_s=late_s)
    assert opened(result, end) == []


@pytest.mark.parametrize("hours", [8, 24, 72])
def test_a_fault_after_a_window_is_found_that_learning_would_have_hidden(hours: int) -> None:
    frozen, end = after_window(hours, 24.0, frozen=True)
    assert any(3600 <= moment <= 3600 + 1800 for moment in opened(frozen, end))
    learning, end = after_window(hours, 24.0, frozen=False)
    assert not any(3600 <= moment <= 3600 + 1800 for moment in opened(learning, end))


def test_the_example_of_the_documentation_holds() -> None:
    """docs/context.md, "Maintenance"."""
    rng = np.random.default_rng(1)
    midnight = START_S + 3 * DAY_S
    assert midnight % DAY_S == 0.0
    times = np.arange(midnight - 3 * DAY_S, midnight + 7200.0, 15.0)
    values = 100 + rng.normal(0, 2, len(times))
    work = (times >= midnight - 6600.0) & (times < midnight - 120.0)
    values[work] = np.repeat(rng.uniform(50, 400, len(times)), 20)[: work.sum()]
    fault = (times >= midnight + 1200.0) & (times < midnight + 1800.0)
    values[fault] += 30.0
    frozen = run_series(times, values, frozen=[(midnight - 7200.0, midnight)])
    learning = run_series(times, values)
    assert opened(frozen, midnight - 7200.0)[0] == pytest.approx(600.0, abs=60.0), "the work"
    (told,) = opened(frozen, midnight)
    assert 1200.0 <= told < 1800.0
    assert opened(learning, midnight) == []


def test_scores_within_a_window_are_those_of_any_other_time() -> None:
    frozen, end = after_window(24, 0.0, frozen=True)
    learning, _ = after_window(24, 0.0, frozen=False)
    within = frozen.times_s <= end + GRACE_S - 60.0
    np.testing.assert_array_equal(frozen.score[within], learning.score[within])


def test_the_grace_is_a_quarter_of_an_hour_or_some_samples() -> None:
    assert grace_s(np.array([0.0, 15.0, 300.0, 3600.0], np.float32)).tolist() == [900.0, 900.0, 3600.0, 7200.0]


class Model:
    """What is kept, in a dictionary."""

    def __init__(self) -> None:
        self.kept: dict[int, int] = {}
        self.new: set[int] = set()
        self.refused: set[int] = set()


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), limit=st.integers(0, 400))
def test_what_is_kept_is_of_the_series_it_was_taken_from(seed: int, limit: int) -> None:
    rng = np.random.default_rng(seed)
    frozen, model = FreezeStore(limit), Model()
    for _ in range(30):
        sids = rng.choice(3000, int(rng.integers(1, 500)), replace=False).astype(np.uint32)
        if rng.random() < 0.5:
            sids = sids[~frozen.holds(sids)]
            records = np.zeros(len(sids), STATE)
            records["count"] = rng.integers(0, 100, len(sids))
            records["day_s"] = stamps = rng.integers(0, 2**31, len(sids))
            frozen.freeze(sids, records)
            for sid, count, stamp in zip(sids.tolist(), records["count"].tolist(), stamps.tolist(), strict=True):
                if count <= MATURE_SAMPLES:
                    model.new.add(sid)
                elif len(model.kept) < limit:
                    model.kept[sid] = stamp
                else:
                    model.refused.add(sid)
        elif rng.random() < 0.5:
            frozen.forget(sids)
            for sid in sids.tolist():
                model.kept.pop(sid, None)
                model.new.discard(sid)
                model.refused.discard(sid)
        else:
            sids = sids[frozen.holds(sids)]
            records = np.zeros(len(sids), STATE)
            records["raw"], records["day_s"] = sids, 5
            frozen.restore(sids, records)
            for sid, raw, stamp in zip(sids.tolist(), records["raw"], records["day_s"].tolist(), strict=True):
                assert raw == sid
                expected = 0 if sid in model.new else 5 if sid in model.refused else model.kept[sid]
                assert stamp == expected
                model.kept.pop(sid, None)
                model.new.discard(sid)
                model.refused.discard(sid)
        assert (frozen.count, frozen.new, frozen.refused) == (len(model.kept), len(model.new), len(model.refused))
        assert set(frozen.sids().tolist()) == {*model.kept, *model.new, *model.refused}
        every = np.arange(3100, dtype=np.uint32)
        rows = frozen.rows(every, np.zeros(3100, np.uint32))
        assert rows.tolist() == sorted(model.kept)
        assert frozen.records(every[rows])["day_s"].tolist() == [model.kept[sid] for sid in rows.tolist()]
    assert frozen.nbytes <= 540 * max(2 * limit, 512) + 4 * 2 * 3100, "room for more is bounded"
    frozen.forget(np.arange(3000, dtype=np.uint32))
    assert frozen.idle


def test_knowledge_kept_is_written_and_read_with_its_record(tmp_path: Path) -> None:
    baseline = Baseline(DetectionSettings())
    times, values = daily(0.5, 60.0, np.random.default_rng(1))
    fed(baseline, times, values)
    baseline.freeze(ONE)
    baseline.freeze(np.array([2], np.uint32))  # nothing is known of it, so there is nothing to tell
    before = baseline.frozen.records(ONE)
    fed(baseline, times + DAY_S, values * 9)
    sids = np.arange(3, dtype=np.uint32)
    keys = np.arange(48, dtype=np.uint8).reshape(3, 16)
    path = tmp_path / "baselines"
    snapshot.write(path, snapshot.take(baseline, sids, keys))
    read = snapshot.read(path)
    assert read.frozen.tolist() == [0]
    other = Baseline(DetectionSettings())
    snapshot.restore(other, read, np.array([5, 3, 4]), np.zeros(3, np.uint32))
    moved = np.array([5], np.uint32)
    assert other.frozen.count == 1
    np.testing.assert_array_equal(other.frozen.records(moved), before)
    other.restore(moved)
    baseline.restore(ONE)
    np.testing.assert_array_equal(other.records(moved)[0], baseline.records(ONE)[0])


PINNED = (8, 696, 536, 1578202697, 2167119437)
"""Version; sizes and digests of a record and of what is kept of one."""
LAYOUTS_FROM, LAYOUTS_END = 40, 48
"""Bytes of the header that versions 6 and 7 do not have."""


def written_as(path: Path, baseline: Baseline, version: int) -> None:
    """As a former version did, which had the same records."""
    snapshot.write(path, snapshot.take(baseline, ONE, np.zeros((1, 16), np.uint8)))
    content = bytearray(path.read_bytes())
    struct.pack_into("<I", content, 8, version)
    del content[LAYOUTS_FROM:LAYOUTS_END]
    path.write_bytes(content)


def test_another_layout_of_records_needs_another_version() -> None:
    digests = snapshot.layout_digest(STATE), snapshot.layout_digest(KEPT)
    assert (snapshot.VERSION, STATE.itemsize, KEPT.itemsize, *digests) == PINNED, "count VERSION up, and pin this anew"


def test_a_snapshot_of_version_7_with_frozen_series_is_refused_for_its_unknown_layout(tmp_path: Path) -> None:
    baseline = Baseline(DetectionSettings())
    fed(baseline, *daily(0.1, 60.0, np.random.default_rng(1)))
    baseline.freeze(ONE)
    assert baseline.frozen.count == 1
    written_as(tmp_path / "baselines", baseline, 7)
    with pytest.raises(StateError, match="frozen series of layout 7"):
        snapshot.read(tmp_path / "baselines")


def test_fields_of_equal_size_that_changed_places_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    baseline = Baseline(DetectionSettings())
    fed(baseline, *daily(0.1, 60.0, np.random.default_rng(1)))
    baseline.freeze(ONE)
    path = tmp_path / "baselines"
    snapshot.write(path, snapshot.take(baseline, ONE, np.zeros((1, 16), np.uint8)))
    swapped = {"short_dev": "long_dev", "long_dev": "short_dev"}
    names = [swapped.get(name, name) for name in KEPT.names or ()]
    other = np.dtype([(name, KEPT[name]) for name in names], align=True)
    assert other.itemsize == KEPT.itemsize
    monkeypatch.setattr(snapshot, "KEPT", other)
    monkeypatch.setattr(snapshot, "_DIGEST", snapshot.layout_digest(STATE, other))
    with pytest.raises(StateError, match="other places"):
        snapshot.read(path)


@pytest.mark.parametrize("version", [6, 7])
def test_a_snapshot_of_a_version_without_layouts_is_read_and_freezes_nothing(tmp_path: Path, version: int) -> None:
    baseline = Baseline(DetectionSettings())
    times, values = daily(0.1, 60.0, np.random.default_rng(1))
    fed(baseline, times, values)
    path = tmp_path / "baselines"
    written_as(path, baseline, version)
    read = snapshot.read(path)
    np.testing.assert_array_equal(read.records, baseline.records(ONE)[0])
    assert len(read.frozen) == len(read.kept) == 0


def test_a_snapshot_that_names_a_frozen_series_it_does_not_hold_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "baselines"
    taken = snapshot.BaselineSnapshot(
        np.zeros((1, 16), np.uint8), np.zeros(1, np.uint32), np.zeros(1, STATE), 0, np.array([1]), np.zeros(1, KEPT)
    )
    snapshot.write(path, taken)
    with pytest.raises(StateError, match="does not hold"):
        snapshot.read(path)


def test_rows_of_a_snapshot_take_what_is_kept_with_them() -> None:
    records = np.zeros(4, STATE)
    kept = kept_of(records[:2])
    kept["count"] = 60, 70
    whole = snapshot.BaselineSnapshot(
        np.arange(64, dtype=np.uint8).reshape(4, 16), np.arange(4, dtype=np.uint32), records, 9, np.array([1, 3]), kept
    )
    part = whole.only(np.array([3, 0]))
    assert part.deadlines.tolist() == [3, 0]
    assert (part.frozen.tolist(), part.kept["count"].tolist()) == ([0], [70])


def test_putting_back_nothing_is_fine() -> None:
    restore_records(np.zeros(0, STATE), np.zeros(0, KEPT))
