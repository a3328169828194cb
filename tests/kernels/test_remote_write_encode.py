import struct

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.telemetry import kind
from kernels import remote_write_encode
from kernels.remote_write_encode import BAD_PLACE, FILL_SLACK, SEVEN_BYTES, SIX_BYTES, fill_runs, size_runs
from tests.reference.remote_write import write_request

BLOBS = st.lists(st.binary(min_size=0, max_size=300), min_size=1, max_size=6)
EDGES = [int(edge) + step for edge in (SIX_BYTES, SEVEN_BYTES) for step in (-1, 0, 1)]
TIMES = st.one_of(st.integers(0, 2**42), st.integers(-(2**63), 2**63 - 1), st.sampled_from(EDGES))
FLOAT_BITS = st.integers(0, 2**64 - 1)
RUNS = st.lists(
    st.tuples(st.integers(0, 5), st.lists(st.tuples(TIMES, FLOAT_BITS), min_size=1, max_size=6)), max_size=12
)


def place(blobs: list[bytes], cuts: list[int]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Arena, sets, lengths, as tight as it can be; each blob in pieces of the sizes `cuts`, which come round."""
    arena, sets = bytearray(8), []
    for blob in blobs:
        numbers, at, turn = [], 0, 0
        while at < len(blob):
            piece = blob[at : at + cuts[turn % len(cuts)]]
            numbers.append(len(arena) // 8)
            arena += struct.pack("<II", 1, len(piece)) + piece
            arena += bytes(-len(arena) % 8)
            at, turn = at + len(piece), turn + 1
        sets.append(len(arena) // 8)
        arena += b"".join(struct.pack("<I", n) for n in numbers)
        arena += bytes(-len(arena) % 8)
    lengths = np.array([len(b) for b in blobs], np.uint32)
    return np.frombuffer(bytes(arena), np.uint8), np.array(sets, np.uint32), lengths


def encode_all(arena, sets, lengths, kinds, series, ends, times, values, max_rows, max_bytes):
    """All rows as requests, and the rows of target_info in each; checks that nothing behind the slack changes."""
    bodies = []
    run = row = 0
    while row < len(times):
        next_run, last, size, apart = size_runs(series, ends, times, lengths, kinds, run, row, max_rows, max_bytes)
        assert row < last <= row + max_rows
        out = np.full(size + FILL_SLACK, 0xAA, np.uint8)
        assert fill_runs(arena, series, ends, times, values, sets, lengths, run, row, last, size, out) == size
        bodies.append((out[:size].tobytes(), apart))
        run, row = next_run, last
    return bodies


def test_the_numbers_agree_with_telemetry():
    assert remote_write_encode.CLASS_BITS == kind.CLASS_MASK
    assert remote_write_encode.TARGET_INFO_CLASS == kind.TARGET_INFO


@settings(max_examples=150, deadline=None)
@given(BLOBS, st.lists(st.integers(1, 90), min_size=1, max_size=4), RUNS, st.integers(1, 40))
def test_bytes_are_those_of_the_reference(blobs, cuts, picked, max_rows):
    picked = [(sid % len(blobs), samples) for sid, samples in picked]
    arena, sets, lengths = place(blobs, cuts)
    kinds = np.array([kind.TARGET_INFO if sid == 1 else kind.COUNTER for sid in range(len(blobs))], np.uint8)
    series = np.array([sid for sid, _ in picked], np.uint32)
    ends = np.cumsum([len(samples) for _, samples in picked]).astype(np.int64)
    times = np.array([t for _, samples in picked for t, _ in samples], np.int64)
    values = np.array([b for _, samples in picked for _, b in samples], np.uint64).view(np.float64)
    bodies = encode_all(arena, sets, lengths, kinds, series, ends, times, values, max_rows, 2**30)
    rows = [
        (bytearray(blobs[sid]) if first else None, sid, t, struct.unpack("<d", struct.pack("<Q", bits))[0])
        for sid, samples in picked
        for first, (t, bits) in zip([True] + [False] * len(samples), samples, strict=False)
    ]
    expected = []
    for at in range(0, len(rows), max_rows):
        part, blob = [], None
        for new, sid, t, value in rows[at : at + max_rows]:
            blob = bytearray(blobs[sid]) if new is not None or blob is None else blob  # a run of its own each
            part.append((blob, t, value))
        expected.append((write_request(part), sum(sid == 1 for _, sid, _, _ in rows[at : at + max_rows])))
    assert bodies == expected


def ten_series():
    """Arrays of ten runs of one row, each with 100 bytes of labels."""
    return (
        np.arange(10, dtype=np.uint32), np.arange(1, 11), np.full(10, 1_700_000_000_000, np.int64),
        np.full(10, 100, np.uint32), np.zeros(10, np.uint8),
    )  # fmt: skip


def test_a_block_stops_before_the_series_that_passes_the_byte_limit():
    run, row, size, _ = size_runs(*ten_series(), 0, 0, 1000, 300)
    assert (run, row) == (2, 2)
    assert size <= 300
    assert size_runs(*ten_series(), 9, 9, 1000, 1)[:2] == (10, 10), "one series always goes"


def fill_one(arena, set_at, length, room):
    """What comes of one row of a series, and how much behind the room for it was written."""
    out = np.zeros(room + FILL_SLACK + 64, np.uint8)
    written = fill_runs(
        arena, np.zeros(1, np.uint32), np.ones(1, np.int64), np.zeros(1, np.int64), np.zeros(1),
        np.array([set_at], np.uint32), np.array([length], np.uint32), 0, 0, 1, room, out[: room + FILL_SLACK],
    )  # fmt: skip
    return written, int(np.count_nonzero(out[room + FILL_SLACK :]))


def test_places_outside_the_arena_are_told_and_not_read():
    arena, sets, lengths = place([b"x" * 20, b"y" * 50], [10])
    for set_at, length in ((sets[0], 21), (sets[0], 15), (len(arena) // 8, 20), (2**32 - 1, 20), (0, 20), (1, 20)):
        assert fill_one(arena, set_at, length, 200) == (BAD_PLACE, 0)
    assert fill_one(arena, sets[1], lengths[1], 65)[0] == 65
    for number in (2**31 - 1, 2**32 - 1, len(arena) // 8, len(arena) // 8 - 1):
        wrong = arena.copy()
        wrong[int(sets[0]) * 8 :][:4] = np.frombuffer(struct.pack("<I", number), np.uint8)
        assert fill_one(wrong, sets[0], 20, 200) == (BAD_PLACE, 0)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(0, 30) | st.integers(0, 2**32 - 1), max_size=40), st.integers(0, 25), st.integers(0, 90),
    st.integers(0, 120),
)  # fmt: skip
def test_an_arena_that_is_none_is_read_within_bounds(content, set_at, length, room):
    arena = np.array(content, np.uint32).view(np.uint8)
    written, beyond = fill_one(arena, set_at, length, room)
    assert written == BAD_PLACE or written == 1 + 1 + length + 12 + 1
    assert beyond == 0


def test_runs_that_do_not_fit_their_arrays_are_told():
    def size(series=(0, 1), ends=(1, 2), times=2, run=0, row=0):
        columns = np.array(series, np.uint32), np.array(ends, np.int64), np.zeros(times, np.int64)
        tables = np.full(2, 10, np.uint32), np.zeros(2, np.uint8)
        return size_runs(*columns, *tables, run, row, 10, 1000)[2]

    assert size() == 2 * (2 + 10 + 13)
    assert size(series=(2, 1)) == BAD_PLACE
    assert size(series=(2**32 - 1, 1)) == BAD_PLACE
    assert size(ends=(1, 3)) == BAD_PLACE
    assert size(ends=(0, 2)) == BAD_PLACE
    assert size(run=-1) == BAD_PLACE
    assert size(row=-1) == BAD_PLACE
    assert size(run=2, row=2) == 0


def test_an_output_without_slack_is_refused():
    series, ends, times, lengths, kinds = ten_series()
    arena, sets, _ = place([b"x" * 100] * 10, [30])
    values = np.zeros(10)
    _, last, size, _ = size_runs(series, ends, times, lengths, kinds, 0, 0, 3, 1000)

    def fill(size, last=last, room=0, run=0, row=0):
        out = np.zeros(size + FILL_SLACK + room, np.uint8)
        written = fill_runs(arena, series, ends, times, values, sets, lengths, run, row, last, size, out)
        return written, int(np.count_nonzero(out[size + FILL_SLACK :]))

    assert fill(size) == (size, 0)
    assert fill(size, room=-1)[0] == BAD_PLACE
    assert fill(size - 30) == (BAD_PLACE, 0)
    assert fill(size, last=11) == (BAD_PLACE, 0)
    assert fill(size, run=10) == (BAD_PLACE, 0)
    assert fill(size, run=-1) == (BAD_PLACE, 0)
    assert fill(size, row=-1) == (BAD_PLACE, 0)
