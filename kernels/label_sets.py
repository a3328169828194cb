"""Label sets as numbers of label pairs, both in one arena of chunks that never move.

A *pair* is one label as it stands in a label blob (see telemetry.labels) and is kept once, however many series have it:
a chunk of uint32 users, uint32 length, and the bytes. Its *number* is where that chunk begins, in units of UNIT bytes.
A *set* is a chunk of the uint32 numbers of a series' pairs in their order, the last one with bit 31 (LAST) set. So the
blob of a series is what its pairs say one after another. Where bytes are no label, all from there to the blob's end is
one pair, so that any bytes can be kept.

Pairs are found by open addressing: a slot is a uint32 number, 0 an empty one, TOMBSTONE a place whose pair was freed. A
slot holds no part of the hash; the bytes are compared in any case, and hashed again when the table grows. A pair is
freed when its last user goes. One with 2^32 - 1 users is kept for good, as nobody can tell any more how many it has.

Chunks are multiples of UNIT (powers of two above 4 KiB). A freed one is chained to others of its size and taken again
by the next of that size. What a series brings that no other has stands next to its set, which saves the encoder a way
to memory. Addresses have 31 bits, so an arena has at most MOST_BYTES.
Source: Knuth, TAOCP 3, section 6.4, algorithm L; TAOCP 1, section 2.5, for lists of free blocks by size.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kernels.jit import BYTES, RU1, RU4, RU8, U1, U4, i8, kernel, step, u4, u8
from kernels.prefetch import prefetch
from kernels.protobuf_fields import read_length
from kernels.unaligned import store_u8, store_u32, store_u64
from kernels.wire import fold_multiply, load_u8, load_u32, load_u64, pointer

UNIT: Final = 8
HEAD: Final = 8
"""Bytes of a pair's chunk before its text."""
TOMBSTONE: Final = 0xFFFFFFFF
LAST: Final = 0x80000000
MOST_BYTES: Final = UNIT * 0x7FFFFFFF
SIZE_CLASSES: Final = 4096 // UNIT + 32
FIRST_FREE: Final = UNIT
"""Where an arena begins to be used: number 0 is no pair."""

_NUMBER: Final = np.uint64(0x7FFFFFFF)
_LAST: Final = np.uint64(LAST)
_FOREVER: Final = np.uint64(0xFFFFFFFF)
_AHEAD: Final = 16

# Entries of the index' state vector (int64) that belong to sets and pairs; the others are in kernels.label_index.
X_ARENA_END: Final = 4
X_FREE_BYTES: Final = 5
X_PAIRS: Final = 6
X_USED_PAIR_SLOTS: Final = 7
"""Of live and freed pairs."""


@step
def hash_text(buf: Any, at: Any, count: Any, seed: Any) -> Any:
    """64-bit keyed hash of `count` bytes; the caller has proved at + count <= len(buf). Idea: wyhash (Wang Yi)."""
    h = seed ^ fold_multiply(np.uint64(count) ^ np.uint64(0x9E3779B97F4A7C15), seed | np.uint64(1))
    left = count
    while left >= 8:
        h = fold_multiply(load_u64(buf, at) ^ np.uint64(0xA0761D6478BD642F), h ^ np.uint64(0xE7037ED1A0B428DB))
        at += 8
        left -= 8
    word = np.uint64(0)
    for i in range(left):
        word |= load_u8(buf, at + i) << np.uint64(8 * i)
    return fold_multiply(word ^ seed ^ np.uint64(0x8EBC6AF09C88C6E3), h ^ np.uint64(0x589965CC75374CC3))


@step
def chain(h: Any, of_pair: Any) -> Any:
    """Hash of a set, whose pairs so far have the hash h and whose next one has `of_pair`; begin with the seed."""
    return fold_multiply(of_pair ^ np.uint64(0xA0761D6478BD642F), h ^ np.uint64(0xE7037ED1A0B428DB))


@step
def equal(left: Any, left_at: Any, right: Any, right_at: Any, count: Any) -> Any:
    """Whether `count` bytes are the same; the caller has proved that both lie within their arrays."""
    i = np.int64(0)
    while i + 8 <= count:
        if load_u64(left, left_at + i) != load_u64(right, right_at + i):
            return False
        i += 8
    while i < count:
        if load_u8(left, left_at + i) != load_u8(right, right_at + i):
            return False
        i += 1
    return True


@step
def label_end(buf: Any, at: Any, end: Any) -> Any:
    """Where the label that begins at `at` < end is over; `end` where none begins. Always beyond `at`."""
    if load_u8(buf, at) == np.uint64(0x0A):
        _, behind = read_length(buf, at + 1, end)
        if behind >= 0:
            return behind
    return end


@step
def size_class(length: Any) -> Any:
    """(class, size) of the chunk for so many bytes."""
    if length <= 4096:
        units = (length + UNIT - 1) // UNIT
        return units - 1, units * UNIT
    size, number = np.int64(8192), np.int64(4096 // UNIT)
    while size < length:
        size *= 2
        number += 1
    return number, size


@step
def take_chunk(length: Any, state: Any, chunks: Any, arena: Any) -> Any:
    """Where a chunk for so many bytes begins. The caller has seen to it that the arena has room behind its end."""
    number, size = size_class(length)
    at = chunks[number]
    if at >= 0:
        chunks[number] = np.int64(load_u64(arena, at))
        state[X_FREE_BYTES] -= size
        return at
    at = state[X_ARENA_END]
    state[X_ARENA_END] = at + size
    return at


@step
def give_chunk(at: Any, length: Any, state: Any, chunks: Any, arena: Any) -> None:
    """Take back what `take_chunk` gave for so many bytes."""
    number, size = size_class(length)
    store_u64(arena, at, np.uint64(chunks[number]))
    chunks[number] = at
    state[X_FREE_BYTES] += size


@step
def find_pair(pair_slots: Any, mask: Any, h: Any, buf: Any, at: Any, count: Any, arena: Any) -> Any:
    """(number, slot) of the pair with these bytes, or (0, where to enter it)."""
    place = (h >> np.uint64(32)) & mask
    free = np.int64(-1)
    while True:
        word = np.uint64(pair_slots[np.int64(place)])
        if word == np.uint64(0):
            return np.int64(0), free if free >= 0 else np.int64(place)
        if word == np.uint64(TOMBSTONE):
            if free < 0:
                free = np.int64(place)
        else:
            chunk = np.int64(word) * UNIT
            if np.int64(load_u32(arena, chunk + 4)) == count and equal(buf, at, arena, chunk + HEAD, count):
                return np.int64(word), np.int64(place)
        place = (place + np.uint64(1)) & mask


@step
def use_pair(
    pair_slots: Any, mask: Any, h: Any, buf: Any, at: Any, count: Any, state: Any, chunks: Any, arena: Any
) -> Any:
    """Number of the pair with these bytes, whose users become one more; it is entered if it is new. The caller has seen
    to it that there is a free slot, and room in the arena."""
    number, place = find_pair(pair_slots, mask, h, buf, at, count, arena)
    if number > 0:
        users = load_u32(arena, number * UNIT)
        if users != _FOREVER:
            store_u32(arena, number * UNIT, users + np.uint64(1))
        return number
    chunk = take_chunk(HEAD + count, state, chunks, arena)
    store_u32(arena, chunk, np.uint64(1))
    store_u32(arena, chunk + 4, np.uint64(count))
    for i in range(count):
        store_u8(arena, chunk + HEAD + i, load_u8(buf, at + i))
    number = chunk // UNIT
    if pair_slots[place] == np.uint32(0):
        state[X_USED_PAIR_SLOTS] += 1
    pair_slots[place] = np.uint32(number)
    state[X_PAIRS] += 1
    return number


@step
def leave_pair(pair_slots: Any, mask: Any, h: Any, number: Any, state: Any, chunks: Any, arena: Any) -> None:
    """The pair, whose hash is h, has one user less; without any it is freed."""
    chunk = number * UNIT
    users = load_u32(arena, chunk)
    if users == _FOREVER:
        return
    if users > np.uint64(1):
        store_u32(arena, chunk, users - np.uint64(1))
        return
    place = (h >> np.uint64(32)) & mask
    while np.int64(pair_slots[np.int64(place)]) != number:
        place = (place + np.uint64(1)) & mask
    pair_slots[np.int64(place)] = np.uint32(TOMBSTONE)
    state[X_PAIRS] -= 1
    give_chunk(chunk, HEAD + np.int64(load_u32(arena, chunk + 4)), state, chunks, arena)


@step
def pair_at(arena: Any, size: Any, place: Any, most: Any) -> Any:
    """(where the text begins, its length, whether it is the last) of the pair whose number stands at `place`.

    arena: pointer to `size` bytes. The length is 0 where number or text lie outside, and where it is more than `most`.
    """
    none = np.int64(0)
    if place + 4 > size:
        return none, none, True
    word = load_u32(arena, place)
    text = np.int64(word & _NUMBER) * UNIT + HEAD
    if text > size:
        return none, none, True
    count = np.int64(load_u32(arena, text - 4))
    if count > most or count > size - text:
        return none, none, True
    return text, count, word >= _LAST


@kernel(RU4, U4, RU1, u8)
def copy_pair_slots(old: NDArray[np.uint32], new: NDArray[np.uint32], arena: NDArray[np.uint8], seed: int) -> int:
    """Enter the pairs of `old` into `new` (uint32[power of two], zeros, with room for them), without the places of
    freed ones; returns how many."""
    text = pointer(arena)
    mask = np.uint64(new.size - 1)
    entered = 0
    for i in range(old.size):
        if i + _AHEAD < old.size:
            prefetch(text, np.int64(old[i + _AHEAD]) * UNIT)
        word = old[i]
        if word == np.uint32(0) or word == np.uint32(TOMBSTONE) or entered >= new.size - 1:
            continue
        chunk = np.int64(word) * UNIT
        if chunk + HEAD > arena.size:
            continue
        count = np.int64(load_u32(text, chunk + 4))
        if count > arena.size - chunk - HEAD:
            continue
        place = (hash_text(text, chunk + HEAD, count, seed) >> np.uint64(32)) & mask
        while new[np.int64(place)] != np.uint32(0):
            place = (place + np.uint64(1)) & mask
        new[np.int64(place)] = word
        entered += 1
    return entered


@kernel(RU1, u8, RU4, RU1)
def pair_number(label: NDArray[np.uint8], seed: int, pair_slots: NDArray[np.uint32], arena: NDArray[np.uint8]) -> int:
    """Number of the pair with these bytes, 0 if there is none."""
    text, count = pointer(label), np.int64(label.size)
    h = hash_text(text, np.int64(0), count, seed)
    mask = np.uint64(pair_slots.size - 1)
    number, _ = find_pair(pointer(pair_slots), mask, h, text, np.int64(0), count, pointer(arena))
    found: int = number
    return found


@kernel(BYTES, RU4, RU4, RU4, RU8, U1)
def gather_blobs(  # type: ignore[no-untyped-def]
    arena, label_sets, label_lengths, sids, begins, out
):
    """Write the blobs of the series sids, uint32[n], to out[begins[i]:]; returns how many were whole.

    label_sets, label_lengths: uint32[capacity], by sid: the unit at which the set begins, and the length of its blob;
    begins: uint64[n]. A blob that does not lie within `out` is left out, and so is what does not lie
    within the arena.
    """
    text, target = pointer(arena), pointer(out)
    known = min(len(label_sets), len(label_lengths))
    whole = 0
    for row in range(min(len(sids), len(begins))):
        sid = np.int64(sids[row])
        if sid >= known or begins[row] > np.uint64(out.size):
            continue
        at, left = np.int64(begins[row]), np.int64(label_lengths[sid])
        if left > out.size - at:
            continue
        place = np.int64(label_sets[sid]) * UNIT
        while left > 0:
            begin, count, _ = pair_at(text, arena.size, place, left)
            if count == 0:
                break
            for i in range(count):
                target[at + i] = text[begin + i]
            at += count
            left -= count
            place += 4
        if left == 0:
            whole += 1
    return whole


@kernel(u4, i8, RU1, RU4, RU4, U1)
def keep_sets_with(
    number: int,
    end_sid: int,
    arena: NDArray[np.uint8],
    label_sets: NDArray[np.uint32],
    label_lengths: NDArray[np.uint32],
    kept: NDArray[np.uint8],
) -> int:
    """Set kept[sid] = 0 for series under end_sid that lack the pair `number`; returns how many stay.

    kept: uint8[>= end_sid]. A length of 0 is taken as lacking it.
    """
    text = pointer(arena)
    count = 0
    for sid in range(min(min(end_sid, kept.size), min(label_sets.size, label_lengths.size))):
        if kept[sid] == np.uint8(0):
            continue
        place = np.int64(label_sets[sid]) * UNIT
        end = min(place + 4 * np.int64(label_lengths[sid]), np.int64(arena.size))
        found = False
        while place + 4 <= end and not found:
            word = load_u32(text, place)
            found = (word & _NUMBER) == np.uint64(number)
            if word >= _LAST:
                break
            place += 4
        if found:
            count += 1
        else:
            kept[sid] = np.uint8(0)
    return count
