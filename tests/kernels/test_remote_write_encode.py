import struct

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from kernels.remote_write_encode import BAD_PLACE, FILL_SLACK, fill_rows, size_rows
from tests.reference.remote_write import write_request

BLOBS = st.lists(st.binary(min_size=0, max_size=300), min_size=1, max_size=6)
TIMES = st.one_of(st.integers(0, 2**42), st.integers(-(2**63), 2**63 - 1))
FLOAT_BITS = st.integers(0, 2**64 - 1)


def place(blobs: list[bytes]) -> tuple[np.ndarray, list[int]]:
    arena = np.frombuffer(b"".join(blobs) or b"", np.uint8)
    return arena, [sum(len(b) for b in blobs[:i]) for i in range(len(blobs))]


def encode_all(arena, starts, lengths, times, values, max_rows, max_bytes) -> list[bytes]:
    """All rows as requests; checks that nothing behind the slack changes."""
    out_bodies = []
    first = 0
    while first < len(starts):
        rows, size = size_rows(starts, lengths, times, first, max_rows, max_bytes, arena.size)
        assert rows > 0
        out = np.full(size + FILL_SLACK, 0xAA, np.uint8)
        assert fill_rows(arena, starts, lengths, times, values, first, rows, size, out) == size
        out_bodies.append(out[:size].tobytes())
        first += rows
    return out_bodies


@settings(max_examples=150, deadline=None)
@given(BLOBS, st.data())
def test_bytes_are_those_of_the_reference(blobs, data):
    blobs = [b + bytes([i]) for i, b in enumerate(blobs)]  # no two blobs begin at one place
    picks = data.draw(st.lists(st.tuples(st.integers(0, len(blobs) - 1), TIMES, FLOAT_BITS), max_size=30))
    max_rows = data.draw(st.integers(1, 40))
    arena, places = place(blobs)
    starts = np.array([places[i] for i, _, _ in picks], np.int64)
    lengths = np.array([len(blobs[i]) for i, _, _ in picks], np.uint32)
    times = np.array([t for _, t, _ in picks], np.int64)
    values = np.array([b for _, _, b in picks], np.uint64).view(np.float64)
    bodies = encode_all(arena, starts, lengths, times, values, max_rows, 2**30)
    rows = [(blobs[i], t, struct.unpack("<d", struct.pack("<Q", bits))[0]) for i, t, bits in picks]
    expected = [write_request(rows[at : at + max_rows]) for at in range(0, len(rows), max_rows)]
    assert bodies == expected


def test_a_block_stops_before_the_series_that_passes_the_byte_limit():
    arena = np.zeros(1000, np.uint8)
    starts = np.arange(0, 1000, 100, dtype=np.int64)
    lengths, times = np.full(10, 100, np.uint32), np.full(10, 1_700_000_000_000, np.int64)
    rows, size = size_rows(starts, lengths, times, 0, 1000, 300, arena.size)
    assert rows == 2
    assert size <= 300
    assert size_rows(starts, lengths, times, 9, 1000, 1, arena.size)[0] == 1, "one series always goes"


def test_places_outside_the_arena_are_told_and_not_read():
    times = np.zeros(1, np.int64)
    for start, length in ((-1, 4), (97, 4), (2**62, 4), (0, 101), (2**63 - 1, 2**32 - 1)):
        starts, lengths = np.array([start], np.int64), np.array([length], np.uint32)
        assert size_rows(starts, lengths, times, 0, 10, 1000, 100) == (0, BAD_PLACE)


def test_an_output_without_slack_is_refused():
    arena, starts, lengths = np.zeros(10, np.uint8), np.zeros(1, np.int64), np.full(1, 10, np.uint32)
    times, values = np.zeros(1, np.int64), np.zeros(1)
    rows, size = size_rows(starts, lengths, times, 0, 10, 1000, 10)
    out = np.zeros(size + FILL_SLACK - 1, np.uint8)
    assert fill_rows(arena, starts, lengths, times, values, 0, rows, size, out) == BAD_PLACE
    assert fill_rows(arena, starts, lengths, times, values, 0, 2, 500, np.zeros(1000, np.uint8)) == BAD_PLACE
    assert not out.any()
