import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.series_runs import runs_of_series
from tests.reference.remote_write import by_series

ROWS = st.lists(st.tuples(st.integers(0, 7), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False)), max_size=40)


def outputs(n):
    return np.zeros(n, np.uint32), np.zeros(n, np.int64), np.full(n, -7, np.int64), np.full(n, -7.0)


@settings(max_examples=200, deadline=None)
@given(ROWS, st.integers(0, 3))
def test_rows_are_brought_together_as_the_twin_does(rows, behind):
    count = len(rows)
    behind = [(1, 1, 1.0)] * behind  # rows beyond the count are none
    sids = np.array([r[0] for r in rows + behind], np.uint32)
    times = np.array([r[1] for r in rows + behind], np.int64)
    values = np.array([r[2] for r in rows + behind], np.float64)
    slots = np.zeros(8, np.uint32)
    series, ends, placed_times, placed_values = outputs(count)
    runs = runs_of_series(sids, times, values, count, slots, series, ends, placed_times, placed_values)
    assert not slots.any()
    if runs == count:
        assert (placed_times == -7).all(), "rows that are in order already are not copied"
        placed_times, placed_values = times, values
    expected = by_series(rows)
    assert series[:runs].tolist() == [sid for sid, _ in expected]
    assert ends[:runs].tolist() == np.cumsum([len(samples) for _, samples in expected]).tolist()
    flat = [sample for _, samples in expected for sample in samples]
    assert list(zip(placed_times[:count].tolist(), placed_values[:count].tolist(), strict=True)) == flat


def test_arrays_that_do_not_fit_together_are_refused_and_the_slots_left_clean():
    def call(sids, times=3, values=3, count=3, slots=4, out=3):
        made = np.zeros(slots, np.uint32)
        runs = runs_of_series(
            np.array(sids, np.uint32), np.zeros(times, np.int64), np.zeros(values), count, made, *outputs(out)
        )
        assert not made.any()
        return runs

    assert call([1, 2, 1]) == 2
    assert call([1, 2]) == -1
    assert call([1, 2, 4]) == -1
    assert call([1, 2, 2**32 - 1]) == -1
    assert call([1, 2, 1], times=2) == -1
    assert call([1, 2, 1], values=2) == -1
    assert call([1, 2, 1], out=2) == -1
    assert call([1, 2, 1], count=-1) == -1
