"""Open addressing from a series hash to the local id of a segment, and copies of label blobs.

A slot is two words: the hash's high half, and the low 32 bits of its low half above `local id + 1`; an empty slot has
0 in the lower 32 bits of its second word. The probe starts at the high half modulo the table's size and goes on
linearly. 96 bits are compared: with a keyed hash that senders do not know, two of 2 million series are taken for one
with a probability of 2^-56. Nothing is ever deleted; a segment begins with a new table.
Source: Knuth, TAOCP 3, section 6.4, algorithm L.
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
E_STATE: Final = 6

_AHEAD: Final = 24
"""Rows between asking for a slot's cache line and using it."""


@step
def _find(slots: Any, mask: Any, high: Any, low: Any) -> Any:
    """The slot that holds the hash, or the empty one where it belongs."""
    tag = low << np.uint64(32)
    at = high & mask
    while True:
        word = slots[np.int64(at * np.uint64(2) + np.uint64(1))]
        if word & np.uint64(0xFFFFFFFF) == np.uint64(0):
            return np.int64(at)
        if slots[np.int64(at * np.uint64(2))] == high and word ^ tag < np.uint64(0x100000000):
            return np.int64(at)
        at = (at + np.uint64(1)) & mask


@kernel(RU8, RU8, i8, U8, RU8, I8, U4, I8, I8)
def resolve_hashes(
    hash_hi: NDArray[np.uint64],
    hash_lo: NDArray[np.uint64],
    first: int,
    slots: NDArray[np.uint64],
    previous: NDArray[np.uint64],
    state: NDArray[np.int64],
    ids: NDArray[np.uint32],
    new_rows: NDArray[np.int64],
    new_previous: NDArray[np.int64],
) -> int:
    """Local ids of rows first … n - 1, giving new ids in order of first appearance.

    slots, previous: uint64[2 * power of two]. state: see E_*. ids: uint32[n] out, REFUSED over the limit.
    new_rows: int64[n] out, the row of each new id; new_previous: its id in the previous segment, -1 if it has none.
    Both are filled on from state[E_NEW]. Returns the row at which the table became too full to go on (the caller grows
    it and calls again from there), n when done.
    """
    n = hash_hi.size
    mask = np.uint64(slots.size // 2 - 1)
    previous_mask = np.uint64(previous.size // 2 - 1)
    room = slots.size // 2 * 7 // 10
    for row in range(first, n):
        if row + _AHEAD < n:
            prefetch(slots, np.int64(hash_hi[row + _AHEAD] & mask) * 2)
        high, low = hash_hi[row], hash_lo[row]
        at = _find(slots, mask, high, low)
        entry = slots[2 * at + 1] & np.uint64(0xFFFFFFFF)
        if entry != np.uint64(0):
            ids[row] = np.uint32(entry - np.uint64(1))
            continue
        if state[E_NEXT_ID] >= room:
            return row
        old_at = _find(previous, previous_mask, high, low)
        old = np.int64(previous[2 * old_at + 1] & np.uint64(0xFFFFFFFF)) - 1
        if old < 0:
            if state[E_PREVIOUS] + state[E_FRESH] >= state[E_LIMIT]:
                ids[row] = np.uint32(REFUSED)
                state[E_REFUSED] += 1
                continue
            state[E_FRESH] += 1
        new_id = state[E_NEXT_ID]
        state[E_NEXT_ID] = new_id + 1
        slots[2 * at] = high
        slots[2 * at + 1] = (low << np.uint64(32)) | np.uint64(new_id + 1)
        ids[row] = np.uint32(new_id)
        new_rows[state[E_NEW]] = row
        new_previous[state[E_NEW]] = old
        state[E_NEW] += 1
    return n


@kernel(RU8, U8, i8)
def copy_slots(old: NDArray[np.uint64], new: NDArray[np.uint64], end_id: int) -> int:
    """Enter the series of `old` whose local id is under `end_id` into `new`; returns how many.

    new: uint64[2 * power of two], zeros, with room for all of them.
    """
    mask = np.uint64(new.size // 2 - 1)
    copied = 0
    for place in range(old.size // 2):
        word = old[2 * place + 1]
        entry = np.int64(word & np.uint64(0xFFFFFFFF))
        if entry == 0 or entry > end_id or copied >= new.size // 2 - 1:
            continue
        high = old[2 * place]
        at = high & mask
        while new[np.int64(at * np.uint64(2) + np.uint64(1))] & np.uint64(0xFFFFFFFF) != np.uint64(0):
            at = (at + np.uint64(1)) & mask
        new[np.int64(at * np.uint64(2))] = high
        new[np.int64(at * np.uint64(2) + np.uint64(1))] = word
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
