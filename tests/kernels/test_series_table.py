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
    state = np.zeros(table.E_STATE, np.int64)
    state[table.E_LIMIT], state[table.E_SEGMENT] = limit, 2
    slots = np.zeros(8, np.uint64)
    entries, carried = np.zeros(2 * 4, np.uint64), np.zeros(4, np.uint8)
    for number, keys in enumerate(segments):
        n = len(keys)
        high, low = (np.array([k[i] for k in keys], np.uint64) for i in (0, 1))
        ids, rows, new = np.empty(n, np.uint32), np.empty(n, np.int64), np.empty(n, np.int64)
        row = state[table.E_NEW] = state[table.E_REFUSED] = 0
        while (row := table.resolve_hashes(high, low, row, slots, entries, carried, state, ids, rows, new)) < n:
            used = int(state[table.E_ENTRIES])
            larger = np.zeros(len(slots) + 3, np.uint64)
            assert table.copy_slots(slots, entries, np.arange(used), larger) == used
            slots = larger
            entries = np.concatenate([entries, np.zeros(2 * 2, np.uint64)])
            carried = np.concatenate([carried, np.zeros(2, np.uint8)])
        count = int(state[table.E_NEW])
        old = (carried[new[:count]] != 0).tolist()
        assert (ids.tolist(), rows[:count].tolist(), old) == twin.resolve(keys)
        assert state[table.E_REFUSED] == (ids == table.REFUSED).sum()
        twin.rotate()
        state[table.E_PREVIOUS], state[table.E_NEXT_ID], state[table.E_FRESH] = state[table.E_NEXT_ID], 0, 0
        state[table.E_SEGMENT] += 1
        if state[table.E_ENTRIES] and number % 2:
            # What neither segment has is left out.
            used = int(state[table.E_ENTRIES])
            stays = (entries[1 : 2 * used : 2] >> np.uint64(32)) == np.uint64(state[table.E_SEGMENT] - 1)
            kept = np.flatnonzero(stays)
            fewer = np.zeros(len(slots), np.uint64)
            assert table.copy_slots(slots, entries, np.where(stays, np.cumsum(stays) - 1, -1), fewer) == len(kept)
            slots = fewer
            entries, carried = entries.reshape(-1, 2)[kept].reshape(-1), carried[kept]
            state[table.E_ENTRIES] = len(kept)


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
            assert index.blob(sid) == text
            assert index.kinds[sid] == twin.kinds[sid]
