"""Label sets as numbers of pairs against their twin, as series come, go, and come again in the place of others."""

from __future__ import annotations

import threading
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from gateway.forward.remote_write_encoder import PackedRows, RemoteWriteEncoder
from gateway.series import index as index_module
from gateway.series.index import UNRESOLVED, SeriesIndex
from gateway.telemetry.columns import Definitions
from gateway.telemetry.label_sets import blobs_of, placed
from gateway.telemetry.labels import encode_label_blob
from kernels.label_sets import (
    FIRST_FREE,
    HEAD,
    LAST,
    UNIT,
    X_ARENA_END,
    X_FREE_BYTES,
    gather_blobs,
    keep_sets_with,
    pair_number,
    size_class,
)
from kernels.label_values import keep_blobs_with, label_values
from tests.reference.label_sets_twin import PairsTwin, labels_of, value_of

# Few names and values, so that labels are shared; some of more than 4 KiB, and bytes that are no labels.
label_blob = st.dictionaries(
    st.sampled_from(["a", "ab", "b", "pod"]),
    st.one_of(st.sampled_from(["1", "2", "x" * 130, "y" * 5000]), st.text("01", min_size=1, max_size=8)),
    min_size=1,
).map(encode_label_blob)
with_rubbish = st.tuples(label_blob, st.binary(max_size=9)).map(b"".join)
blob = st.one_of(label_blob, label_blob, st.binary(min_size=1, max_size=40), with_rubbish)
step = st.one_of(
    st.tuples(st.just("define"), st.lists(blob, max_size=12), st.integers(0, 1), st.integers(0, 100)),
    st.tuples(st.just("define"), st.lists(blob, max_size=12), st.integers(0, 1), st.integers(0, 100)),
    st.tuples(st.just("expire"), st.integers(0, 100)),
    st.tuples(
        st.just("release"),
    ),
)


def definitions(blobs: list[bytes]) -> Definitions:
    return Definitions.from_blobs(blobs, np.ones(len(blobs), np.uint8))


def users_of(index: SeriesIndex, label: bytes) -> tuple[int, int]:
    """(number, users) of a pair; number 0 if there is none."""
    number = pair_number(np.frombuffer(label, np.uint8), index._seed, index._pair_slots, index._arena)
    return number, int.from_bytes(index._arena[number * UNIT : number * UNIT + 4].tobytes(), "little")


def check_places(index: SeriesIndex, live: dict[bytes, int], numbers: set[int]) -> None:
    """No chunk lies within another, and those in use and the free ones are all there is."""
    chunks = []
    for text, sid in live.items():
        chunks.append((int(index.label_sets[sid]) * UNIT, size_class(4 * len(labels_of(text)))[1]))
    for number in numbers:
        length = int.from_bytes(index._arena[number * UNIT + 4 : number * UNIT + 8].tobytes(), "little")
        chunks.append((number * UNIT, size_class(HEAD + length)[1]))
    chunks.sort()
    for (begin, size), (after, _) in pairwise([*chunks, (int(index._state[X_ARENA_END]), 0)]):
        assert begin + size <= after
    used = sum(size for _, size in chunks)
    assert used + index._state[X_FREE_BYTES] == index._state[X_ARENA_END] - FIRST_FREE


@settings(max_examples=120, deadline=None)
@given(st.lists(step, max_size=15))
def test_pairs_are_counted_freed_and_used_again(steps: list[tuple]) -> None:
    index, twin = SeriesIndex(arena_bytes=1 << 16), PairsTwin()
    live: dict[bytes, int] = {}
    seen: dict[bytes, int] = {}
    pinned: dict[bytes, int] = {}
    numbers: dict[bytes, int] = {}
    for action, *values in steps:
        if action == "define":
            blobs, pin, seen_ms = values
            for text, sid in zip(blobs, index.define(definitions(blobs), pin=pin, seen_ms=seen_ms), strict=True):
                if text not in live:
                    twin.enter(text)
                    seen[text], pinned[text] = 0, 0
                live[text], seen[text] = int(sid), max(seen[text], seen_ms)
                pinned[text] |= pin
        elif action == "expire":
            index.expire(values[0])
            for text in [t for t in live if seen[t] < values[0] and not pinned[t]]:
                twin.leave(text)
                del live[text]
        else:
            index.release(np.array(list(live.values()), np.uint32), 1)
            pinned = dict.fromkeys(live, 0)
        assert index.pair_count == len(twin.users)
        found = {label: users_of(index, label) for label in twin.users}
        assert {label: users for label, (_, users) in found.items()} == twin.users
        assert len({number for number, _ in found.values()}) == len(found)
        stayed = {label: number for label, number in numbers.items() if label in twin.users}
        assert all(found[label][0] == number for label, number in stayed.items()), "no pair moves while it is used"
        assert all(users_of(index, label)[0] == 0 for label in numbers if label not in twin.users)
        numbers = {label: number for label, (number, _) in found.items()}
        check_places(index, live, set(numbers.values()))
        assert {text: index.blob(sid) for text, sid in live.items()} == {text: text for text in live}
        sids = np.array(list(live.values()), np.uint32)
        pieces = [
            p.area[int(b) : int(b) + int(n)].tobytes()
            for p in blobs_of(index, sids) for b, n in zip(p.begins, p.lengths, strict=True)
        ]  # fmt: skip
        assert pieces == list(live)
        for value in ("1", "x" * 130):
            wanted = encode_label_blob({"ab": value})
            assert index.find([("ab", "=", value)], 99) == sorted(s for t, s in live.items() if wanted in labels_of(t))


def test_what_was_given_up_is_room_for_what_comes() -> None:
    index = SeriesIndex()

    def generation(number: int) -> list[bytes]:
        return [
            encode_label_blob({"__name__": "m", "job": f"j{i % 7}", "pod": f"p{number:04d}-{i:04d}"})
            for i in range(500)
        ]

    index.define(definitions(generation(0)), seen_ms=0)
    end, slots = int(index._state[X_ARENA_END]), len(index._pair_slots)
    for number in range(1, 60):
        assert len(index.expire(number)) == 500
        assert index.pair_count == 0
        index.define(definitions(generation(number)), seen_ms=number)
        assert index.pair_count == 508
    assert index._state[X_ARENA_END] == end
    assert len(index._pair_slots) == slots


def test_a_pair_with_more_users_than_can_be_counted_is_kept() -> None:
    index = SeriesIndex()
    index.define(definitions([encode_label_blob({"a": "1", "b": str(i)}) for i in range(3)]))
    shared = encode_label_blob({"a": "1"})
    number, users = users_of(index, shared)
    assert users == 3
    index._arena[number * UNIT : number * UNIT + 4] = 0xFF
    index.define(definitions([encode_label_blob({"a": "1", "c": "x"})]))
    assert users_of(index, shared) == (number, 2**32 - 1)
    assert len(index.expire(1)) == 4
    assert users_of(index, shared) == (number, 2**32 - 1)
    assert index.pair_count == 1


def test_without_room_a_series_remains_unresolved_and_the_others_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module.sets, "MOST_BYTES", 1 << 16)
    index = SeriesIndex(arena_bytes=1 << 12)
    small = [encode_label_blob({"a": str(i)}) for i in range(100)]
    large = encode_label_blob({"a": "x" * 70_000})
    with capture_logs() as said:
        sids = index.define(definitions([*small[:50], large, *small[50:], large]))
    assert (sids[50], sids[101]) == (UNRESOLVED, UNRESOLVED)
    assert [index.blob(sid) for sid in np.delete(sids, [50, 101])] == small
    assert [line["series"] for line in said] == [2], "one line for all of a frame"


def test_a_series_of_labels_of_its_own_costs_little_more_than_its_bytes() -> None:
    index = SeriesIndex()
    blobs = [encode_label_blob({f"n{i}_{j:04d}": f"value-{i}-{j:06d}" for j in range(400)}) for i in range(20)]
    index.define(definitions(blobs))
    assert int(index._state[X_ARENA_END]) < sum(map(len, blobs)) + 8000 * (HEAD + 7 + 4) + 4096
    assert [index.blob(sid) for sid in range(20)] == blobs


def test_pinned_series_stay_readable_while_others_come_and_go() -> None:
    index = SeriesIndex(capacity=4096, arena_bytes=1 << 15)
    pin = index.pin_of("reader")
    kept = [encode_label_blob({"__name__": "m", "job": f"j{i % 3}", "pod": f"kept-{i}"}) for i in range(200)]
    sids = index.define(definitions(kept), pin=pin)
    rows = PackedRows(
        index.label_arena, index.label_sets, index.label_lengths, index.kinds, sids,
        np.arange(1, 201, dtype=np.int64), np.full(200, 1_700_000_000_000), np.ones(200),
    )  # fmt: skip
    encoder = RemoteWriteEncoder(1000, 1 << 20, 1)
    expected = [block.body for block in encoder.encode(rows, "snappy")]
    done = threading.Event()

    def come_and_go() -> None:
        for number in range(1, 120):
            blobs = [
                encode_label_blob({"__name__": "m", "job": f"j{i % 3}", "pod": f"{number}-{i}"}) for i in range(300)
            ]
            index.define(definitions(blobs), seen_ms=number)
            index.expire(number)
        done.set()

    thread = threading.Thread(target=come_and_go)
    thread.start()
    wrong = 0
    while not done.is_set():
        now = PackedRows(
            index.label_arena, index.label_sets, index.label_lengths, index.kinds, sids, rows.ends, rows.times_ms,
            rows.values,
        )  # fmt: skip
        wrong += [block.body for block in encoder.encode(now, "snappy")] != expected
        wrong += [block.body for block in encoder.encode(rows, "snappy")] != expected
    thread.join()
    assert wrong == 0
    assert len(index.label_arena) > 1 << 15


def small_or_any(most: int, bits: int = 32) -> st.SearchStrategy[int]:
    return st.integers(0, most) | st.integers(0, 2**bits - 1)


words = st.lists(st.integers(0, 2**32 - 1) | st.integers(0, 30) | st.integers(LAST, LAST + 30), max_size=40)


@settings(max_examples=300, deadline=None)
@given(
    words, st.integers(0, 3), st.lists(st.tuples(small_or_any(25), small_or_any(80)), max_size=3), st.integers(0, 90)
)
def test_arenas_that_are_none_are_read_within_bounds(
    content: list[int], cut: int, places: list[tuple[int, int]], room: int
) -> None:
    whole = np.array(content, np.uint32).view(np.uint8)
    arena = whole[: max(0, len(whole) - cut)].copy()
    sets = np.array([s for s, _ in places], np.uint32)
    lengths = np.array([n for _, n in places], np.uint32)
    sids = np.array([0, 1, 2, 7], np.uint32)
    around = np.full(room + 64, 0xEE, np.uint8)
    begins = np.array([0, 40, 2**63, 0], np.uint64)
    gather_blobs(arena, sets, lengths, sids, begins, around[32 : 32 + room])
    assert (around[:32] == 0xEE).all()
    assert (around[32 + room :] == 0xEE).all()
    numbers, values, of = np.zeros(4, np.uint32), np.zeros(4, np.int64), np.zeros(4, np.uint32)
    label_values(arena, sets, lengths, sids, np.frombuffer(b"a", np.uint8), numbers, values, of)
    for begin, length in zip(values.tolist(), of.tolist(), strict=True):
        assert begin == -1 or 0 < begin <= begin + length <= len(arena)
    kept = np.ones(5, np.uint8)
    assert keep_sets_with(3, 5, arena, sets, lengths, kept) == int(kept[: len(places)].sum())


@settings(max_examples=150, deadline=None)
@given(st.lists(blob, max_size=8))
def test_values_and_blobs_are_those_of_the_twin(blobs: list[bytes]) -> None:
    index = SeriesIndex(arena_bytes=1 << 16)
    sids = index.define(definitions(blobs))
    n = len(blobs)
    for name in (b"a", b"pod"):
        numbers, begins, lengths = np.zeros(n, np.uint32), np.zeros(n, np.int64), np.zeros(n, np.uint32)
        label_values(
            index.label_arena, index.label_sets, index.label_lengths, sids, np.frombuffer(name, np.uint8),
            numbers, begins, lengths,
        )  # fmt: skip
        values = [
            index.label_arena[b : b + size].tobytes() if b >= 0 else None
            for b, size in zip(begins.tolist(), lengths.tolist(), strict=True)
        ]
        assert values == [value_of(text, name) for text in blobs]
        assert [number == 0 for number in numbers] == [value is None for value in values]
        for i in range(n):
            for j in range(n):
                assert numbers[i] != numbers[j] or values[i] == values[j]
    alone = placed(blobs)
    out = np.zeros(sum(map(len, blobs)), np.uint8)
    begins = np.cumsum([0, *map(len, blobs)])[:-1].astype(np.uint64)
    rows = np.arange(n, dtype=np.uint32)
    assert gather_blobs(alone.arena, alone.sets, alone.lengths, rows, begins, out) == n
    assert out.tobytes() == b"".join(blobs)
    for wanted in [label for text in blobs for label in labels_of(text)]:
        kept = np.ones(n, np.uint8)
        count = keep_blobs_with(np.frombuffer(wanted, np.uint8), n, out, begins, alone.lengths, kept)
        assert kept.tolist() == [wanted in labels_of(text) for text in blobs]
        assert count == kept.sum()


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=60), st.binary(min_size=1, max_size=6), small_or_any(70, 64), small_or_any(70))
def test_blobs_outside_their_area_are_read_within_bounds(area: bytes, entry: bytes, begin: int, length: int) -> None:
    kept = np.ones(1, np.uint8)
    found = keep_blobs_with(
        np.frombuffer(entry, np.uint8), 1, np.frombuffer(area, np.uint8),
        np.array([begin], np.uint64), np.array([length], np.uint32), kept,
    )  # fmt: skip
    assert found == (entry in labels_of(area[begin : begin + length]))
