import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernels.recently_seen import note_seen

ROWS = st.lists(st.tuples(st.integers(0, 12), st.integers(-5, 5)), max_size=20)


@given(ROWS, st.integers(-6, 6))
def test_rows_behind_the_limit_mark_their_series(rows, limit):
    seen = np.full(8, 3, np.uint32)
    note_seen(np.array([s for s, _ in rows], np.uint32), np.array([t for _, t in rows], np.int64), limit, 9, seen)
    recent = {sid for sid, time in rows if time > limit}
    assert seen.tolist() == [9 if sid in recent else 3 for sid in range(8)]


def test_a_shorter_column_ends_the_rows():
    seen = np.zeros(4, np.uint32)
    note_seen(np.array([1, 2], np.uint32), np.array([5]), 0, 7, seen)
    assert seen.tolist() == [0, 7, 0, 0]
