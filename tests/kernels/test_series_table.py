"""The edge table's and the index' kernels against their twins."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.series.index import SeriesIndex
from gateway.telemetry.columns import Definitions
from kernels import series_table as table
from tests.reference.series_twin import EdgeTwin, IndexTwin

# Few distinct halves, so that slots collide, wrap around and share half their hash.
halves = st.sampled_from([0, 1, 7, 8, 15, 2**32 - 1, 2**32, 2**32 + 7, 2**63, 2**64 - 1])
hashes = st.tuples(halves, st.sampled_from([1, 2, 2**31, 2**32 - 1]))


@settings(max_examples=80, deadline=None)
@given(st.lists(st.lists(hashes, max_size=40), min_size=1, max_size=5), st.integers(1, 50))
def test_local_ids_are_the_twins(segments: list[list[tuple[int, int]]], limit: int) -> None:
    twin = EdgeTwin(limit)
    previous = np.zeros(2, np.uint64)
    for keys in segments:
        state = np.zeros(table.E_STATE, np.int64)
        state[table.E_LIMIT], state[table.E_PREVIOUS] = limit, len(twin.previous)
        slots = np.zeros(2 * 8, np.uint64)
        n = len(keys)
        high, low = (np.array([k[i] for k in keys], np.uint64) for i in (0, 1))
        ids, rows, old = np.empty(n, np.uint32), np.empty(n, np.int64), np.empty(n, np.int64)
        row = 0
        while (row := table.resolve_hashes(high, low, row, slots, previous, state, ids, rows, old)) < n:
            larger = np.zeros(2 * len(slots), np.uint64)
            assert table.copy_slots(slots, larger, int(state[table.E_NEXT_ID])) == state[table.E_NEXT_ID]
            slots = larger
        new = int(state[table.E_NEW])
        assert (ids.tolist(), rows[:new].tolist(), old[:new].tolist()) == twin.resolve(keys)
        assert state[table.E_REFUSED] == (ids == table.REFUSED).sum()
        previous = slots
        twin.rotate()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30), st.integers(0, 30))), st.integers(0, 20))
def test_copies_stay_inside_their_arrays(pieces: list[tuple[int, int, int]], size: int) -> None:
    source = np.arange(20, dtype=np.uint8) + np.uint8(1)
    out = np.zeros(size, np.uint8)
    expected = bytearray(size)
    done = 0
    for begin, length, target in pieces:
        if begin + length > len(source) or target + length > size:
            break
        expected[target : target + length] = source[begin : begin + length].tobytes()
        done += 1
    columns = list(zip(*pieces, strict=True)) or [(), (), ()]
    result = table.copy_blobs(
        source, np.array(columns[0], np.uint64), np.array(columns[1], np.uint32), np.array(columns[2], np.int64), out
    )
    assert result == done
    assert out.tobytes() == bytes(expected)


blob = st.one_of(st.binary(min_size=1, max_size=40), st.integers(1, 3).map(lambda n: b"x" * 4000 * n))
definition = st.tuples(blob, st.sampled_from([0, 1, 2, 0x12]))
step = st.one_of(
    st.tuples(st.just("define"), st.lists(definition, max_size=12), st.integers(0, 3), st.integers(0, 100)),
    st.tuples(st.just("expire"), st.integers(0, 100)),
    st.tuples(st.just("release"), st.integers(1, 2)),
)


@settings(max_examples=80, deadline=None)
@given(st.lists(step, max_size=15))
def test_the_index_is_the_twin(steps: list[tuple]) -> None:
    index, twin = SeriesIndex(arena_bytes=1 << 16), IndexTwin()
    generations: dict[int, int] = {}
    for action, *given_values in steps:
        if action == "define":
            items, pin, seen = given_values
            kinds = np.array([k for _, k in items], np.uint8)
            sids = index.define(Definitions.from_blobs([b for b, _ in items], kinds), pin=pin, seen_ms=seen)
            for (text, kind), sid in zip(items, sids.tolist(), strict=True):
                known = text in twin.by_blob
                assert twin.same(text, kind, sid, pin, seen)
                generation = int(index.generations[sid])
                assert known == (generations.get(sid) == generation)
                generations[sid] = generation
        elif action == "expire":
            assert set(index.expire(given_values[0]).tolist()) == twin.expire(given_values[0])
        else:
            live = np.array(sorted(twin.by_blob.values()), np.uint32)
            index.release(live, given_values[0])
            for sid in twin.pinned:
                twin.pinned[sid] &= ~given_values[0]
        assert index.active_count == len(twin.by_blob)
        for text, sid in twin.by_blob.items():
            assert index.sid_of(text) == sid
            assert index.blob(sid) == text
            assert index.kinds[sid] == twin.kinds[sid]
