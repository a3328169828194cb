"""Open addressing from a series hash to an entry that outlives segments, and copies of label blobs.

A slot is a word: the low 32 bits of the hash's low half above `entry + 1`; 0 is an empty one. The probe starts where
the high half, mixed and as a fraction, falls in the table, so that a table may have any size and grow by a half. An
entry is two words, so that it lies in one cache line: the hash's high half, and the number of the segment that it has
a local id for above that id. 96 bits are compared: with a keyed
hash that senders do not know, two of 2 million series are taken for one with a probability of 2^-56. Entries are
numbered in order of first appearance, so that the series of one request, which mostly come together again, lie next to
each other. Nothing is deleted one by one: what two segments have passed without is left out when the table is
rebuilt. Source: Knuth, TAOCP 3, section 6.4, algorithm L; Lemire, "Fast random integer generation in an interval"
(2019), for the fraction.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kernels.jit import I8, RI8, RU1, RU4, RU8, U1, U4, U8, i8, kernel, step
from kernels.prefetch import prefetch

REFUSED: Final = 0xFFFFFFFF
"""Local id of a row whose series may not be added."""

# Entries of the edge table's state vector (int64).
E_NEXT_ID: Final = 0
"""The next local id to be given."""
E_FRESH: Final = 1
"""Series of this segment that the previous one did not have."""
E_PREVIOUS: Final = 2
"""Series of the previous segment."""
E_LIMIT: Final = 3
"""How many series the two segments may have together."""
E_NEW: Final = 4
"""Out: new local ids given by this call."""
E_REFUSED: Final = 5
"""Out: rows refused by this call."""
E_ENTRIES: Final = 6
"""Entries in use, those of series that both segments are without among them."""
E_SEGMENT: Final = 7
"""Number of the open segment as the table counts, at least 2; that of the previous one is smaller by one."""
E_STATE: Final = 8

FULLEST: Final = 0.7
"""Share of slots that may be taken."""
_AHEAD: Final = 24
"""Rows between asking for a slot's cache line and using it."""
_ENTRY_AHEAD: Final = 12
"""The same for the entry that the slot names."""


@step
def _home(high: Any, size: Any) -> Any:
    mixed = high * np.uint64(0x9E3779B97F4A7C15)  # whichever bits of it are random
    return np.int64(((mixed >> np.uint64(32)) * np.uint64(size)) >> np.uint64(32))


@step
def _find(slots: Any, entries: Any, high: Any, low: Any) -> Any:
    """(the slot that holds the hash or, empty, where it belongs; the entry or -1)."""
    tag = low << np.uint64(32)
    size = np.int64(slots.size)
    at = _home(high, size)
    while True:
        word = slots[at]
        if word == np.uint64(0):
            return at, np.int64(-1)
        if word ^ tag < np.uint64(0x100000000):
            entry = np.int64(word & np.uint64(0xFFFFFFFF)) - 1
            if entries[2 * entry] == high:
                return at, entry
        at += 1
        if at == size:
            at = 0


@kernel(RU8, RU8, i8, U8, U8, U1, I8, U4, I8, I8)
def resolve_hashes(
    hash_hi: NDArray[np.uint64],
    hash_lo: NDArray[np.uint64],
    first: int,
    slots: NDArray[np.uint64],
    entries: NDArray[np.uint64],
    carried: NDArray[np.uint8],
    state: NDArray[np.int64],
    ids: NDArray[np.uint32],
    new_rows: NDArray[np.int64],
    new_entries: NDArray[np.int64],
) -> int:
    """Local ids of rows first … n - 1, giving new ids in order of first appearance.

    slots: uint64[size]. entries: uint64[2 * room]; carried: uint8[room], by entry: 1 where the series was in the
    segment before as well. state: see E_*. ids: uint32[n] out, REFUSED over the limit. new_rows: int64[n] out, the row
    of each new id; new_entries: its entry. Both are filled on from state[E_NEW]. Returns the row at which slots or
    entries ran out (the caller enlarges them and calls again from there), n when done.
    """
    n = hash_hi.size
    now = state[E_SEGMENT]
    room = min(np.int64(slots.size * FULLEST), carried.size)
    for row in range(first, n):
        if row + _AHEAD < n:
            prefetch(slots, _home(hash_hi[row + _AHEAD], np.int64(slots.size)))
            # The slot was asked for some rows ago; mostly it, or the next one, is the right one.
            place = _home(hash_hi[row + _ENTRY_AHEAD], np.int64(slots.size))
            word = slots[place]
            if (word ^ hash_lo[row + _ENTRY_AHEAD] << np.uint64(32)) >= np.uint64(0x100000000):
                word = slots[place + 1 if place + 1 < slots.size else 0]
            if word != np.uint64(0):
                prefetch(entries, 2 * (np.int64(word & np.uint64(0xFFFFFFFF)) - 1))
        high, low = hash_hi[row], hash_lo[row]
        at, entry = _find(slots, entries, high, low)
        known = False
        if entry >= 0:
            word = entries[2 * entry + 1]
            if np.int64(word >> np.uint64(32)) == now:
                ids[row] = np.uint32(word & np.uint64(0xFFFFFFFF))
                continue
            known = np.int64(word >> np.uint64(32)) == now - 1
        if entry < 0 and state[E_ENTRIES] >= room:
            return row
        if not known:
            if state[E_PREVIOUS] + state[E_FRESH] >= state[E_LIMIT]:
                ids[row] = np.uint32(REFUSED)
                state[E_REFUSED] += 1
                continue
            state[E_FRESH] += 1
        if entry < 0:
            entry = state[E_ENTRIES]
            state[E_ENTRIES] = entry + 1
            slots[at] = (low << np.uint64(32)) | np.uint64(entry + 1)
            entries[2 * entry] = high
        new_id = state[E_NEXT_ID]
        state[E_NEXT_ID] = new_id + 1
        entries[2 * entry + 1] = (np.uint64(now) << np.uint64(32)) | np.uint64(new_id)
        carried[entry] = np.uint8(1 if known else 0)
        ids[row] = np.uint32(new_id)
        new_rows[state[E_NEW]] = row
        new_entries[state[E_NEW]] = entry
        state[E_NEW] += 1
    return n


@kernel(RU8, RU8, RI8, U8)
def copy_slots(
    old: NDArray[np.uint64], entries: NDArray[np.uint64], numbers: NDArray[np.int64], new: NDArray[np.uint64]
) -> int:
    """Enter the series of `old` into `new`, uint64[size], zeros; returns how many.

    entries: uint64[2 * room], of `old`. numbers: int64 by entry of `old`, its number in `new`, below 0 for one that is
    left out. Stops where `new` would be full.
    """
    size = np.int64(new.size)
    copied = 0
    for place in range(old.size):
        word = old[place]
        if word == np.uint64(0):
            continue
        entry = np.int64(word & np.uint64(0xFFFFFFFF)) - 1
        if entry >= numbers.size or numbers[entry] < 0:
            continue
        if copied >= size - 1:
            break
        at = _home(entries[2 * entry], size)
        while new[at] != np.uint64(0):
            at += 1
            if at == size:
                at = 0
        new[at] = (word & np.uint64(0xFFFFFFFF00000000)) | np.uint64(numbers[entry] + 1)
        copied += 1
    return copied


@kernel(RU1, RU8, RU4, RI8, U1)
def copy_blobs(
    source: NDArray[np.uint8],
    begins: NDArray[np.uint64],
    lengths: NDArray[np.uint32],
    targets: NDArray[np.int64],
    out: NDArray[np.uint8],
) -> int:
    """Copy piece i, lengths[i] bytes at source[begins[i]], to out[targets[i]].

    All three index arrays have k entries. Returns k, or the first piece that lies outside either array; the pieces
    before it have been copied then.
    """
    for i in range(begins.size):
        begin, length, target = np.int64(begins[i]), np.int64(lengths[i]), targets[i]
        if begin < 0 or target < 0 or begin + length > source.size or target + length > out.size:
            return i
        for j in range(length):
            out[target + j] = source[begin + j]
    return begins.size
