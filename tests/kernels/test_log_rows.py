import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kernels.log_rows import find_rows, note_blocks

FRAMES = st.lists(st.lists(st.tuples(st.integers(0, 12), st.integers(-5, 5)), max_size=8), max_size=6)
SLOTS = st.lists(st.integers(-1, 3), max_size=10)


def _memory(frames):
    """Times of a frame, then its ids, padded to 8 bytes, one frame behind the other: the bytes and where they begin."""
    data, times_at, ids_at = b"", [], []
    for rows in frames:
        times_at.append(len(data) // 8)
        data += np.array([t for _, t in rows], np.int64).tobytes()
        ids_at.append(len(data) // 4)
        data += np.array([s for s, _ in rows], np.uint32).tobytes()
        data += bytes(-len(data) % 8)
    whole = np.frombuffer(data, np.uint8)
    return whole.view(np.uint32), whole.view(np.int64), np.array(ids_at, np.int64), np.array(times_at, np.int64)


def _search(frames, slots, start, end, most=100):
    ids, times, ids_at, times_at = _memory(frames)
    counts = np.array([len(rows) for rows in frames], np.int64)
    found = np.full((2, most), -7, np.int64)
    n = find_rows(ids, times, ids_at, times_at, counts, np.array(slots, np.int32), start, end, found[0], found[1])
    assert set(found[:, n:].ravel().tolist()) <= {-7}
    return list(zip(*found[:, :n].tolist(), strict=True))


def _slow(frames, slots, start, end):
    return [
        (frame, row)
        for frame, rows in enumerate(frames)
        for row, (sid, time) in enumerate(rows)
        if sid < len(slots) and slots[sid] >= 0 and start <= time <= end
    ]


@given(FRAMES, SLOTS, st.integers(-6, 6), st.integers(-6, 6))
def test_rows_of_wanted_series_within_the_time_are_found_in_order(frames, slots, start, end):
    assert _search(frames, slots, start, end) == _slow(frames, slots, start, end)


@given(FRAMES, st.integers(0, 5))
def test_the_search_ends_when_what_it_fills_is_full(frames, most):
    assert _search(frames, [0] * 13, -6, 6, most) == _slow(frames, [0] * 13, -6, 6)[:most]


@given(
    st.lists(st.tuples(*[st.integers(-(2**62), 2**62) | st.integers(-4, 12)] * 3), max_size=6),
)
def test_columns_that_do_not_lie_in_the_memory_have_no_rows(places):
    ids, times = np.zeros(8, np.uint32), np.zeros(4, np.int64)
    ids_at, times_at, counts = (np.array([p[k] for p in places], np.int64) for k in range(3))
    frames, rows = np.zeros(64, np.int64), np.zeros(64, np.int64)
    n = find_rows(ids, times, ids_at, times_at, counts, np.zeros(1, np.int32), 0, 0, frames, rows)
    inside = [c if c >= 0 and 0 <= i <= 8 - c and 0 <= t <= 4 - c else 0 for i, t, c in places]
    assert n == sum(inside)


@given(st.lists(st.integers(0, 12), max_size=30), st.integers(0, 63), st.lists(st.integers(0, 2**64 - 1), max_size=10))
def test_the_block_is_added_to_what_each_series_occurs_in(ids, bit, before):
    occurs_in = np.array(before, np.uint64)
    note_blocks(np.array(ids, np.uint32), np.uint64(1 << bit), occurs_in)
    assert occurs_in.tolist() == [was | (1 << bit) if sid in ids else was for sid, was in enumerate(before)]
