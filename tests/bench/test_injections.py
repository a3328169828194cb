"""Injected faults: fixed by their seed, of the size they say, and nowhere near a label."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from bench.detection import context_cases, injections, silent
from bench.detection.detectors import Gateway
from bench.detection.injections import FAULTS, Floats, Injector, Slice, seed_of
from bench.detection.maintenance import at_row
from bench.detection.peers_sketch import Sketch
from bench.detection.recordings import Recording, data_root
from bench.detection.spread import robust_sigma, running_median, usual_spread
from gateway.alerting.context import AnomalyContext
from gateway.alerting.context_settings import ContextSettings
from gateway.alerting.journal import Journal
from gateway.alerting.markers import Markers
from gateway.baseline.scorecard import Opening


def _background(days: int = 21, seed: int = 5) -> Recording:
    """Three weeks at a minute with a daily season of 30 σ."""
    rng = np.random.default_rng(seed)
    times: Floats = 1_499_644_800.0 + 60.0 * np.arange(days * 1440, dtype=np.float64)
    values: Floats = 100 + 30 * np.sin(2 * np.pi * times / 86400) + rng.normal(0, 1, len(times))
    values = values.astype(np.float64)
    return Recording("made", "one", times, values, np.zeros(len(times), np.int8), 60.0, [])


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_is_the_same_for_the_same_seed_and_changes_only_its_own_rows(kind: str) -> None:
    twin = _background()
    made = []
    for _ in range(2):
        injector = Injector(twin, np.random.default_rng(11))
        fault = injector.inject(kind)
        assert fault is not None
        made.append(injector.finished([fault]))
    first, second = made
    assert first.faults == second.faults
    assert np.array_equal(first.recording.values, second.recording.values, equal_nan=True)
    fault = first.faults[0]
    inside = (twin.times_s >= fault.start) & (twin.times_s <= fault.end)
    if kind == "stale":
        assert np.array_equal(first.recording.times_s, twin.times_s[~inside])
    else:
        changed = first.recording.values != twin.values
        assert changed.any()
        assert not (changed & ~inside).any()
    assert fault.start <= fault.end
    assert fault.clock <= fault.end


def test_another_seed_makes_other_faults() -> None:
    twin = _background()
    faults = [Injector(twin, np.random.default_rng(seed)).inject("shift") for seed in (1, 2)]
    assert faults[0] != faults[1]


def test_the_twin_is_left_alone() -> None:
    twin = _background()
    before = twin.values.copy()
    injector = Injector(twin, np.random.default_rng(1))
    for kind in FAULTS:
        injector.inject(kind)
    assert np.array_equal(twin.values, before)


def test_faults_keep_away_from_each_other_and_from_masked_spans() -> None:
    twin = _background()
    start = float(twin.times_s[0])
    twin = replace(twin, neutral=[Opening(start + 86400 * 3, start + 86400 * 15)])
    injector = Injector(twin, np.random.default_rng(4))
    faults = [fault for kind in FAULTS for _ in range(3) if (fault := injector.inject(kind)) is not None]
    assert len(faults) > 5
    ordered = sorted(faults, key=lambda f: f.start)
    for fault in ordered:
        assert not (fault.start < twin.neutral[0].end and twin.neutral[0].start < fault.end)
        assert fault.start >= start + 86400
    for one, other in pairwise(ordered):
        assert other.start - one.end >= 6 * 3600


def test_a_robust_sigma_is_the_noise_not_the_season() -> None:
    assert robust_sigma(_background(2).values) == pytest.approx(1.0, rel=0.1)


def test_a_usual_spread_is_that_of_the_values_and_at_least_the_noise() -> None:
    noise = np.random.default_rng(4).normal(size=1440)
    wave = 50.0 * np.sin(np.arange(1440) / 1440 * 2 * np.pi)
    assert usual_spread(wave + noise) > 20 * robust_sigma(wave + noise)
    assert usual_spread(noise) >= robust_sigma(noise)
    assert usual_spread(noise) < 1.2 * robust_sigma(noise)


def test_the_sketch_votes_four_of_six_and_learns_nothing_meanwhile() -> None:
    times = 60.0 * np.arange(4 * 1440)
    values = 100.0 + np.random.default_rng(5).normal(size=len(times))
    values[5000:5060] += 30.0
    values[5300:5303] += 30.0
    alert = Sketch()(times, values, "gauge", 60.0).alert
    assert np.flatnonzero(alert)[0] == 5003
    assert alert[5003:5060].all()
    assert not alert[5100:].any(), "three samples are no vote"


def test_running_median_passes_over_missing_values() -> None:
    x = np.arange(100.0)
    x[40] = np.nan
    assert np.allclose(running_median(x)[20:80], np.arange(100.0)[20:80], atol=0.6)


def test_the_seed_of_a_slice_names_the_slice() -> None:
    one, other = Slice("wsd", "a", 0, 0), Slice("wsd", "a", 0, 1)
    assert seed_of(1, one) == seed_of(1, one) != seed_of(1, other) != seed_of(2, other)


@pytest.mark.parametrize("name", list(silent.CASES))
def test_cases_that_must_stay_silent_can_be_repeated(name: str) -> None:
    twin = _background(14)
    one, other = (silent.CASES[name](twin, np.random.default_rng(3)) for _ in range(2))
    assert one is not None
    assert other is not None
    assert np.array_equal(one[0].values, other[0].values)
    assert np.array_equal(one[0].times_s, other[0].times_s)
    same_rows = len(one[0].values) == len(twin.values)
    assert not (
        same_rows and np.array_equal(one[0].values, one[1].values) and np.array_equal(one[0].times_s, twin.times_s)
    )


def test_people_are_told_of_a_shift_unless_a_marker_or_a_window_explains_it() -> None:
    twin = _background(days=6)
    row = 5 * 1440
    nothing = AnomalyContext(ContextSettings(), Markers(Journal(), retention=10**19))
    changed, context = context_cases.deployed(twin, row, np.random.default_rng(3))
    assert context_cases.told(changed, Gateway(), nothing, [])
    assert context_cases.told(changed, Gateway(), context, []) == []
    worked_on, window = context_cases.maintained(twin, row, np.random.default_rng(3))
    assert context_cases.told(worked_on, Gateway(), nothing, [])
    assert context_cases.told(worked_on, Gateway(), nothing, [window]) == []


def test_a_real_slice_is_the_same_for_the_same_seed() -> None:
    root = data_root()
    if not (root / "wsd").is_dir():
        pytest.skip(f"the recordings are not at {root} (GATEWAY_DETECTION_DATA)")
    piece = injections.plan(root, quick=True)[0]
    one, other, third = (injections.inject(root, piece, seed) for seed in (7, 7, 8))
    assert one is not None
    assert other is not None
    assert third is not None
    assert one.faults == other.faults != third.faults
    assert np.array_equal(one.recording.values, other.recording.values, equal_nan=True)
    assert len(one.faults) >= 1


def test_without_recordings_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert injections.plan(tmp_path, quick=False) == []


def test_a_fault_goes_where_the_placement_says() -> None:
    twin = _background()
    for kind in ("shift", "spike", "zero", "variance_up"):
        fault = Injector(twin, np.random.default_rng(3), at_row(12_345)).inject(kind)
        assert fault is not None
        assert fault.start == twin.times_s[12_345]
        assert fault.end - fault.start <= 7200.0
    assert Injector(twin, np.random.default_rng(3), at_row(len(twin.times_s) - 5)).inject("shift") is None
