"""Label sets seen before, found by the very bytes they came as.

A sender repeats the labels of a series byte for byte with every sample. What working through them gave the first time
is remembered here under a 128-bit keyed hash of those bytes, so that the next time neither a label is parsed nor its
order considered. A range of bytes is entered only if it is a whole number of well-formed fields, every one accepted;
equal bytes therefore mean what they meant then.

The table is shared by threads without a lock. An entry is four words, the last two being what is remembered and the
first two the key's halves xored with them: an entry of which one thread has read some words before and some after
another thread's store fits no key, and is not found (R. Hyatt and T. Mann, "A lock-less transposition table
implementation for parallel search", 2002). It is a memory, not an index: an entry may be missing, or be overwritten.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kernels.jit import RU8, U8, hot_step, kernel, step
from kernels.label_hash import hash_bytes
from kernels.prefetch import prefetch
from kernels.wire import fold_multiply, load_shared, pointer, store_shared

D_RANGE: Final = 0x21
"""Domain of the hash, which keeps it apart from those of single labels."""
MOST_BYTES: Final = 4096
"""Longer ranges are not remembered, so that hashing what is not found costs little."""
ENTRY_WORDS: Final = 4
_WAYS: Final = 2
"""Entries of a bucket, which is one line of the processor's cache. Each hash has two buckets to stand in."""
BUCKET_WORDS: Final = _WAYS * ENTRY_WORDS
_DETAIL: Final = 0xFF
"""Lowest byte of the second word: the detail instead of the key's."""

# What `remember` did; the index into a tally, int64[TALLIES].
ENTERED: Final = 0
BUCKETS_FULL: Final = 1
TALLIES: Final = 2


def empty_table(buckets: int) -> NDArray[np.uint64]:
    """A table of `buckets` buckets, a power of two, aligned to the processor's cache lines.

    The system gives the memory as it is used.
    """
    words = buckets * BUCKET_WORDS
    room = np.zeros(words + BUCKET_WORDS, np.uint64)
    first = -(room.ctypes.data // 8) % BUCKET_WORDS
    return room[first : first + words]


@hot_step
def hash_range(buf: Any, at: Any, count: Any, k: Any) -> Any:
    """(high, low) of `count` bytes. k: the eight secrets. The caller has proved 0 <= at <= len(buf) - count."""
    high, low, _ = hash_bytes(buf, at, count, np.uint64(D_RANGE), k)
    return high, low


class Memory(NamedTuple):
    """A table as the steps take it: pointers to its words and to the tally, and buckets - 1."""

    table: Any
    mask: Any
    tally: Any


@step
def memory_of(table: Any, tally: Any) -> Any:
    """The Memory of a table, which the caller keeps alive."""
    return Memory(pointer(table), np.uint64(table.size // BUCKET_WORDS - 1), pointer(tally))


@step
def _second_bucket(low: Any, mask: Any) -> Any:
    return np.int64(low >> np.uint64(8) & mask) * BUCKET_WORDS


@hot_step
def await_known(memory: Any, high: Any, low: Any) -> None:
    """Asks for the memory in which `recall` will look."""
    prefetch(memory.table, np.int64(high & memory.mask) * BUCKET_WORDS)
    prefetch(memory.table, _second_bucket(low, memory.mask))


@hot_step
def recall(memory: Any, high: Any, low: Any) -> Any:
    """(found, first, second, detail): what is remembered under a hash."""
    table = memory.table
    place = np.int64(high & memory.mask) * BUCKET_WORDS
    for way in range(2 * _WAYS):
        if way == _WAYS:
            place = _second_bucket(low, memory.mask)
        first, second = load_shared(table, place + 2), load_shared(table, place + 3)
        rest = load_shared(table, place + 1) ^ second
        if load_shared(table, place) ^ first == high and (rest ^ low) & ~np.uint64(_DETAIL) == np.uint64(0):
            return True, first, second, np.int64(rest & np.uint64(_DETAIL))
        place += ENTRY_WORDS
    return False, np.uint64(0), np.uint64(0), np.int64(0)


@step
def free_place(table: Any, mask: Any, high: Any, low: Any) -> Any:
    """Where the entry of a hash may be stored, or -1 if both its buckets are full."""
    place = np.int64(high & mask) * BUCKET_WORDS
    for way in range(2 * _WAYS):
        if way == _WAYS:
            place = _second_bucket(low, mask)
        if load_shared(table, place + 2) | load_shared(table, place + 3) == np.uint64(0):
            return place
        place += ENTRY_WORDS
    return np.int64(-1)


@step
def remember(memory: Any, high: Any, low: Any, first: Any, second: Any, detail: Any, dice: Any) -> None:
    """Enters (first, second, detail 0…255) under a hash, and counts it. first and second: not both 0.

    Full buckets give up an entry only once in eight times, decided by `dice`, an integer that is new with every
    request: where more label sets come round and round than the table holds, part of them then stays, whereas the
    newest replacing the oldest would leave none until it comes again.
    """
    place = free_place(memory.table, memory.mask, high, low)
    if place >= 0:
        memory.tally[ENTERED] += 1
    else:
        memory.tally[BUCKETS_FULL] += 1
        thrown = fold_multiply(low ^ np.uint64(0x9E3779B97F4A7C15), np.uint64(dice) ^ np.uint64(0xD6E8FEB86659FD93))
        if thrown & np.uint64(7) != np.uint64(0):
            return
        place = np.int64(high & memory.mask) * BUCKET_WORDS
        place += ENTRY_WORDS * np.int64(thrown >> np.uint64(3) & np.uint64(1))
    rest = (low & ~np.uint64(_DETAIL) | np.uint64(detail)) ^ second
    _store(memory.table, place, high ^ first, rest, first, second)


@step
def _store(table: Any, place: Any, key: Any, rest: Any, first: Any, second: Any) -> None:
    store_shared(table, place, key)
    store_shared(table, place + 1, rest)
    store_shared(table, place + 2, first)
    store_shared(table, place + 3, second)


@kernel(RU8, U8)
def move_known(old: Any, new: Any) -> Any:
    """Enters what is in one table into another, larger one; returns how many found room, int64."""
    a, b = pointer(old), pointer(new)
    mask = np.uint64(new.size // BUCKET_WORDS - 1)
    moved = np.int64(0)
    for place in range(0, old.size, ENTRY_WORDS):
        key, rest = load_shared(a, place), load_shared(a, place + 1)
        first, second = load_shared(a, place + 2), load_shared(a, place + 3)
        if first | second == np.uint64(0):
            continue
        to = free_place(b, mask, key ^ first, rest ^ second)
        if to >= 0:
            _store(b, to, key, rest, first, second)
            moved += 1
    return moved
