"""Rows of every kind reach the detector as the values their kind means; batches change nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from gateway.baseline.parameters import parameters
from gateway.baseline.settings import DetectionSettings
from gateway.telemetry import kind
from kernels.score import TOTAL_LATE, TOTAL_REPEATED, TOTAL_SKIPPED, TOTAL_TAKEN, score_batch, score_series
from kernels.series_state import P_STALE, STATE, TRANSITION
from tests.reference.baseline_twin import Row, bucket_quantile, rates

START_MS = 1_700_000_000_000
PARAMETERS = parameters(DetectionSettings())
PARAMETERS[P_STALE] = 0.0


class Batch:
    """`score_batch` with its many arrays, for a few series."""

    def __init__(self, kinds: list[int], bounds: list[float] | None = None) -> None:
        self.kinds = np.array(kinds, np.uint8)
        self.bounds = np.array(bounds if bounds is not None else [], np.float64)
        self.states = np.zeros(len(kinds), STATE)
        self.generations = np.zeros(len(kinds), np.uint32)
        self.totals = np.zeros(4, np.int64)

    def run(self, sids: Any, times: Any, values: Any, starts: Any = ()) -> NDArray[np.float64]:
        """Rows' (score, expected, lower, upper), float64[n, 4]."""
        n = len(sids)
        score, bands = np.zeros(n, np.float32), [np.zeros(n) for _ in range(3)]
        score_batch(
            self.states, np.zeros(1, STATE), np.array(sids, np.uint32), np.array(times, np.int64),
            np.array(values, np.float64), np.array(starts, np.int64), self.kinds, self.generations, self.bounds,
            np.zeros(len(self.kinds), np.uint32), 0, PARAMETERS, score, *bands, np.zeros(n, np.uint8), self.totals,
            np.zeros(n, TRANSITION),
        )  # fmt: skip
        return np.column_stack([score, *bands])


def alone(times: list[int], values: list[float]) -> NDArray[np.float64]:
    """The same values as one gauge."""
    n = len(times)
    columns = [np.zeros(n) for _ in range(4)]
    score_series(
        np.zeros(1, STATE), 0, np.array(times, np.int64), np.array(values, np.float64), PARAMETERS, False, *columns,
        np.zeros(n, np.int64), np.zeros(n), np.zeros(2 * n + 2, TRANSITION),
    )  # fmt: skip
    columns[0] = columns[0].astype(np.float32)
    return np.column_stack(columns)


def scored(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    return rows[~np.isnan(rows[:, 1])]


increments = st.lists(st.tuples(st.integers(-3, 120), st.floats(0, 1e6), st.integers(0, 20)), min_size=1, max_size=60)


@settings(max_examples=40, deadline=None)
@given(given_rows=increments, delta=st.booleans())
def test_counter_is_scored_as_its_rate(given_rows: list[tuple[int, float, int]], delta: bool) -> None:
    rows: list[Row] = []
    time, total = START_MS, 0.0
    for seconds, increment, chance in given_rows:
        time += seconds * 1000
        total = increment if delta or chance == 0 else total + increment  # 0: the counter starts again
        rows.append((time, total, time - 5000 if delta and chance % 2 else None))
    batch = Batch([kind.COUNTER | (kind.DELTA if delta else 0)])
    starts = [start or 0 for _, _, start in rows]
    got = batch.run([0] * len(rows), [r[0] for r in rows], [r[1] for r in rows], starts)
    expected = rates(rows, delta)
    want = alone([t for t, _ in expected], [v for _, v in expected])
    np.testing.assert_array_equal(scored(got), want)


@settings(max_examples=25, deadline=None)
@given(
    counts=st.lists(st.lists(st.integers(0, 50), min_size=4, max_size=4), min_size=3, max_size=30),
    mean=st.floats(0.01, 10),
)
def test_histogram_is_scored_as_rate_mean_and_quantile(counts: list[list[int]], mean: float) -> None:
    bounds = [0.1, 1.0, 5.0, np.inf]
    kinds = [kind.HISTOGRAM_COUNT, kind.HISTOGRAM_SUM] + [kind.HISTOGRAM_BUCKET] * 4
    batch = Batch(kinds, [np.nan, np.nan, *bounds])
    sids, times, values = [], [], []
    running = np.zeros(4)
    rate, average, quantile = [], [], []
    total_sum = 0.0
    for number, buckets in enumerate(counts):
        running += buckets
        total_sum += mean * sum(buckets)
        time = START_MS + number * 15_000
        sids += range(6)
        times += [time] * 6
        values += [running.sum(), total_sum, *np.cumsum(running)]
        if number:
            rate.append((time, sum(buckets) / 15))
            if sum(buckets):
                previous = values[-12 + 1]
                average.append((time, (total_sum - previous) / sum(buckets)))
                estimate = bucket_quantile(0.95, bounds, list(np.cumsum(buckets)))
                assert estimate is not None
                quantile.append((time, estimate))
    got = batch.run(sids, times, values)
    for sid, want in ((0, rate), (1, average), (5, quantile)):
        mine = scored(got[np.array(sids) == sid])
        assert len(mine) == len(want)
        np.testing.assert_allclose(mine, alone([t for t, _ in want], [v for _, v in want]), rtol=1e-6, atol=1e-9)
    assert np.isnan(got[np.isin(sids, [2, 3, 4]), 1]).all()
    assert batch.totals[TOTAL_TAKEN] == len(sids)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000), parts=st.integers(1, 9))
def test_how_rows_are_batched_changes_nothing(seed: int, parts: int) -> None:
    rng = np.random.default_rng(seed)
    n = 400
    sids = rng.integers(0, 5, n)
    times = START_MS + np.arange(n) * 3000 + rng.integers(-4000, 4000, n)
    values = rng.normal(size=n) * 10.0 ** rng.integers(-3, 3) + sids * 100
    kinds = [kind.GAUGE, kind.UNKNOWN, kind.SUMMARY_QUANTILE, kind.COUNTER | kind.NON_MONOTONIC, kind.GAUGE]
    whole, split = Batch(kinds), Batch(kinds)
    one = whole.run(sids, times, values)
    pieces = np.array_split(np.arange(n), parts)
    many = np.concatenate([split.run(sids[rows], times[rows], values[rows]) for rows in pieces])
    np.testing.assert_array_equal(one, many)
    assert whole.states.tobytes() == split.states.tobytes()
    np.testing.assert_array_equal(whole.totals, split.totals)


def test_fates_are_counted_apart() -> None:
    batch = Batch([kind.GAUGE, kind.TARGET_INFO])
    batch.run([0, 0, 0, 0, 1], [START_MS, START_MS, START_MS - 1, START_MS + 1, START_MS], [1, 2, 3, np.nan, 1])
    assert list(batch.totals[[TOTAL_TAKEN, TOTAL_LATE, TOTAL_REPEATED, TOTAL_SKIPPED]]) == [2, 1, 1, 1]


def test_a_reused_id_starts_anew() -> None:
    batch = Batch([kind.GAUGE])
    batch.run([0] * 50, START_MS + np.arange(50) * 1000, np.arange(50.0))
    batch.generations[0] = 7
    batch.run([0], [START_MS + 60_000], [5.0])
    assert batch.states[0]["count"] == 1
    assert batch.states[0]["generation"] == 7


@settings(max_examples=30, deadline=None)
@given(
    values=st.lists(
        st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, 5e-324, 1.7e308, -1.7e308]),
        min_size=1,
        max_size=80,
    ),
    steps=st.lists(st.integers(-(2**40), 2**40), min_size=80, max_size=80),
    family=st.integers(0, 255),
)
def test_any_value_leaves_a_usable_state(values: list[float], steps: list[int], family: int) -> None:
    batch = Batch([family], [1.0])
    times = START_MS + np.cumsum(steps[: len(values)])
    batch.run([0] * len(values), times, values, times - 1000)
    after = batch.run([0] * 3, int(times.max()) + np.array([1, 2, 3]) * 60_000, [1.0, 2.0, 3.0])
    assert ((after[:, 0] >= 0) & (after[:, 0] <= 1)).all()


@pytest.mark.parametrize("extreme", [1e31, 3.5e38, 1e100, 1.7e308])
def test_one_extreme_value_does_not_make_a_series_deaf(extreme: float) -> None:
    values = np.random.default_rng(7).normal(10.0, 1.0, 1200)
    values[400] = extreme
    values[1100:] = 60.0
    batch = Batch([kind.GAUGE])
    rows = batch.run([0] * len(values), START_MS + np.arange(len(values)) * 60_000, values)
    assert np.isfinite(rows[20:]).all()
    assert rows[450:1100, 3].max() < 50.0, "the band is that of ordinary values again"
    assert rows[1100:1110, 0].max() >= 0.5


@pytest.mark.parametrize("size", [1e100, 1.7e308])
def test_a_series_of_extreme_values_has_scores(size: float) -> None:
    values = size * np.random.default_rng(7).uniform(-1.0, 1.0, 600)
    rows = Batch([kind.GAUGE]).run([0] * len(values), START_MS + np.arange(len(values)) * 60_000, values)
    assert np.isfinite(rows[20:]).all()
    assert ((rows[:, 0] >= 0.0) & (rows[:, 0] <= 1.0)).all()


def test_a_record_stays_within_its_budget() -> None:
    assert STATE.itemsize <= 700
