import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernels.log_rows import find_rows, note_blocks

ROWS = st.lists(st.tuples(st.integers(0, 12), st.integers(-5, 5)), max_size=30)
SLOTS = st.lists(st.integers(-1, 3), max_size=10)


@given(ROWS, SLOTS, st.integers(-6, 6), st.integers(-6, 6))
def test_rows_of_wanted_series_within_the_time_are_found_in_order(rows, slots, start, end):
    ids, times = np.array([s for s, _ in rows], np.uint32), np.array([t for _, t in rows], np.int64)
    found = np.full(len(rows), -7, np.int64)
    n = find_rows(ids, times, np.array(slots, np.int32), start, end, found)
    expected = [
        row for row, (sid, time) in enumerate(rows) if sid < len(slots) and slots[sid] >= 0 and start <= time <= end
    ]
    assert found[:n].tolist() == expected
    assert set(found[n:].tolist()) <= {-7}


def test_the_shortest_column_ends_the_rows():
    found = np.zeros(2, np.int64)
    ids, times = np.zeros(4, np.uint32), np.zeros(4, np.int64)
    assert find_rows(ids, times, np.zeros(1, np.int32), 0, 0, found) == 2
    assert find_rows(ids, times[:1], np.zeros(1, np.int32), 0, 0, found) == 1


@given(st.lists(st.integers(0, 12), max_size=30), st.integers(0, 63), st.lists(st.integers(0, 2**64 - 1), max_size=10))
def test_the_block_is_added_to_what_each_series_occurs_in(ids, bit, before):
    occurs_in = np.array(before, np.uint64)
    note_blocks(np.array(ids, np.uint32), np.uint64(1 << bit), occurs_in)
    assert occurs_in.tolist() == [was | (1 << bit) if sid in ids else was for sid, was in enumerate(before)]
