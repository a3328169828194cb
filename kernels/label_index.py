"""From label blobs to series ids: open addressing over a hash of the label pairs, with the sets in one arena.

A slot is a word: 32 bits of the set's hash, the tag, above `sid + 1`; 0 is empty, TOMBSTONE a place whose series was
forgotten. The probe starts at the tag modulo the table's size, so a larger table is filled without a look at the sets.
Equal tags are followed by a comparison of the bytes, so two label sets are never taken for one. How sets and their
pairs are kept is told in kernels.label_sets.
Source: Knuth, TAOCP 3, section 6.4, algorithm L.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kernels.jit import I8, RI8, RU1, RU4, RU8, U1, U4, U8, i8, kernel, step, u1, u8
from kernels.label_sets import (
    HEAD,
    LAST,
    UNIT,
    X_ARENA_END,
    X_USED_PAIR_SLOTS,
    chain,
    equal,
    give_chunk,
    hash_text,
    label_end,
    leave_pair,
    pair_at,
    size_class,
    take_chunk,
    use_pair,
)
from kernels.unaligned import store_u32
from kernels.wire import load_u32, pointer

UNRESOLVED: Final = 0xFFFFFFFF
"""Sid of a local id whose definition is not known."""
TOMBSTONE: Final = 0xFFFFFFFF

# Entries of the index' state vector (int64); 4 to 7 are those of kernels.label_sets.
X_NEXT_SID: Final = 0
"""Sids under this have been given at least once."""
X_FREE_SID: Final = 1
"""First free sid, -1 if none; the others are chained through `sets`."""
X_LIVE: Final = 2
X_USED_SLOTS: Final = 3
"""Live and forgotten ones."""
X_NEEDS_BYTES: Final = 8
"""Out: room at the arena's end that the definition at which `define_series` stopped may need."""
X_NEEDS_PAIRS: Final = 9
"""Out: pair slots that it may need."""
X_STATE: Final = 10

_UNKNOWN_CLASS: Final = 0
_CLASS_MASK: Final = 0x0F


@step
def _measure(blobs: Any, at: Any, end: Any, seed: Any) -> Any:
    """(hash of the label set in blobs[at:end], its labels, bytes that its pairs take if all are new)."""
    h, count, room = seed, np.int64(0), np.int64(0)
    while at < end:
        behind = label_end(blobs, at, end)
        h = chain(h, hash_text(blobs, at, behind - at, seed))
        room += size_class(HEAD + behind - at)[1]
        count += 1
        at = behind
    return h, count, room


@step
def _is(blobs: Any, at: Any, count: Any, arena: Any, size: Any, place: Any) -> Any:
    """Whether the set at `place`, whose blob has `count` bytes, is that of blobs[at:at + count]."""
    while count > 0:
        text, length, _ = pair_at(arena, size, place, count)
        if length == 0 or not equal(blobs, at, arena, text, length):
            return False
        at += length
        count -= length
        place += 4
    return True


@step
def _find(
    slots: Any, mask: Any, h: Any, blobs: Any, at: Any, count: Any, arena: Any, size: Any, sets: Any, lengths: Any
) -> Any:
    """(sid, slot): the series with these bytes and where it is entered, or (-1, where to enter it)."""
    tag = h & np.uint64(0xFFFFFFFF00000000)
    place = (h >> np.uint64(32)) & mask
    free = np.int64(-1)
    while True:
        word = slots[np.int64(place)]
        if word == np.uint64(0):
            return np.int64(-1), free if free >= 0 else np.int64(place)
        if word == np.uint64(TOMBSTONE):
            if free < 0:
                free = np.int64(place)
        elif (word ^ tag) < np.uint64(0x100000000):
            sid = np.int64(word & np.uint64(0xFFFFFFFF)) - 1
            if np.int64(lengths[sid]) == count and _is(blobs, at, count, arena, size, np.int64(sets[sid]) * UNIT):
                return sid, np.int64(place)
        place = (place + np.uint64(1)) & mask


@kernel(RU1, RU4, RU1, i8, u8, u1, i8, U8, U4, I8, I8, U1, U4, U4, U1, U4, I8, U1, U4)
def define_series(
    blobs: NDArray[np.uint8],
    blob_offsets: NDArray[np.uint32],
    blob_kinds: NDArray[np.uint8],
    first: int,
    seed: int,
    pin: int,
    seen_ms: int,
    slots: NDArray[np.uint64],
    pair_slots: NDArray[np.uint32],
    state: NDArray[np.int64],
    chunks: NDArray[np.int64],
    arena: NDArray[np.uint8],
    sets: NDArray[np.uint32],
    lengths: NDArray[np.uint32],
    kinds: NDArray[np.uint8],
    generations: NDArray[np.uint32],
    last_seen: NDArray[np.int64],
    pins: NDArray[np.uint8],
    sids: NDArray[np.uint32],
) -> int:
    """Sids of the definitions first … m - 1, entering label sets that are new.

    blobs, blob_offsets (uint32[m + 1]), blob_kinds (uint8[m]): as in telemetry.columns.Definitions. pin: bit or-ed into
    pins[sid]. slots: uint64[power of two]; pair_slots: uint32[power of two]; state: X_*; chunks:
    int64[label_sets.SIZE_CLASSES], first free chunk of each size, -1 if none. The arrays from arena to pins belong to
    the index; sets[sid] is the unit of the arena at which the set begins, lengths[sid] the length of its blob. sids:
    uint32[m] out; UNRESOLVED for a blob that is empty or lies outside `blobs`. Returns where it had to stop because
    slots of either kind, sids or the arena ran out (the caller enlarges by what X_NEEDS_BYTES and X_NEEDS_PAIRS say and
    calls again from there), m when done.
    """
    m = blob_kinds.size
    mask, pair_mask = np.uint64(slots.size - 1), np.uint64(pair_slots.size - 1)
    text, whole, of_pairs, size = pointer(blobs), pointer(arena), pointer(pair_slots), np.int64(arena.size)
    places, counts, free = pointer(slots), pointer(state), pointer(chunks)
    first_of, length_of = pointer(sets), pointer(lengths)
    for i in range(first, m):
        at, end = np.int64(blob_offsets[i]), np.int64(blob_offsets[i + 1])
        count = end - at
        if count <= 0 or end > blobs.size:
            sids[i] = np.uint32(UNRESOLVED)
            continue
        h, pairs, room = _measure(text, at, end, seed)
        sid, place = _find(places, mask, h, text, at, count, whole, size, first_of, length_of)
        if sid < 0:
            room += size_class(4 * pairs)[1]
            if (
                state[X_USED_SLOTS] * 10 >= slots.size * 7
                or (state[X_USED_PAIR_SLOTS] + pairs) * 10 >= pair_slots.size * 7
                or (state[X_FREE_SID] < 0 and state[X_NEXT_SID] >= lengths.size)
                or state[X_ARENA_END] + room > arena.size
            ):
                state[X_NEEDS_BYTES], state[X_NEEDS_PAIRS] = room, pairs
                return i
            if state[X_FREE_SID] >= 0:
                sid = state[X_FREE_SID]
                state[X_FREE_SID] = np.int64(sets[sid]) - 1
                generations[sid] += np.uint32(1)
            else:
                sid = state[X_NEXT_SID]
                state[X_NEXT_SID] = sid + 1
            target = take_chunk(4 * pairs, counts, free, whole)
            sets[sid] = np.uint32(target // UNIT)
            for _ in range(pairs):
                behind = label_end(text, at, end)
                of_pair = hash_text(text, at, behind - at, seed)
                number = np.uint64(use_pair(of_pairs, pair_mask, of_pair, text, at, behind - at, counts, free, whole))
                store_u32(whole, target, number if behind < end else number | np.uint64(LAST))
                target += 4
                at = behind
            lengths[sid] = np.uint32(count)
            kinds[sid] = blob_kinds[i]
            last_seen[sid] = seen_ms
            pins[sid] = np.uint8(0)
            if slots[place] == np.uint64(0):
                state[X_USED_SLOTS] += 1
            slots[place] = (h & np.uint64(0xFFFFFFFF00000000)) | np.uint64(sid + 1)
            state[X_LIVE] += 1
        elif blob_kinds[i] & np.uint8(_CLASS_MASK) != np.uint8(_UNKNOWN_CLASS):
            kinds[sid] = blob_kinds[i]
        if last_seen[sid] < seen_ms:
            last_seen[sid] = seen_ms
        pins[sid] |= np.uint8(pin)
        sids[i] = np.uint32(sid)
    return m


@kernel(RU8, U8)
def copy_slots(old: NDArray[np.uint64], new: NDArray[np.uint64]) -> int:
    """Enter the series of `old` into `new` (uint64[power of two], zeros, with room for them), without the places of
    forgotten ones; returns how many."""
    mask = np.uint64(new.size - 1)
    entered = 0
    for i in range(old.size):
        word = old[i]
        if word == np.uint64(0) or word == np.uint64(TOMBSTONE) or entered >= new.size - 1:
            continue
        place = (word >> np.uint64(32)) & mask
        while new[np.int64(place)] != np.uint64(0):
            place = (place + np.uint64(1)) & mask
        new[np.int64(place)] = word
        entered += 1
    return entered


@step
def _hash_of_set(arena: Any, size: Any, place: Any, length: Any, seed: Any) -> Any:
    """Hash of the set at `place`, whose blob has `length` bytes."""
    h = seed
    while length > 0:
        text, count, _ = pair_at(arena, size, place, length)
        if count == 0:
            break
        h = chain(h, hash_text(arena, text, count, seed))
        length -= count
        place += 4
    return h


@kernel(i8, u8, U8, U4, I8, I8, U1, U4, U4, RI8, RU1, U4)
def expire_series(
    cutoff_ms: int,
    seed: int,
    slots: NDArray[np.uint64],
    pair_slots: NDArray[np.uint32],
    state: NDArray[np.int64],
    chunks: NDArray[np.int64],
    arena: NDArray[np.uint8],
    sets: NDArray[np.uint32],
    lengths: NDArray[np.uint32],
    last_seen: NDArray[np.int64],
    pins: NDArray[np.uint8],
    expired: NDArray[np.uint32],
) -> int:
    """Forget series last seen before cutoff_ms that nobody pins, as many as `expired` holds, and free the pairs that no
    other series has; returns how many.

    Their sids stand in `expired`; lengths[sid] becomes 0.
    """
    mask, pair_mask = np.uint64(slots.size - 1), np.uint64(pair_slots.size - 1)
    whole, of_pairs, size = pointer(arena), pointer(pair_slots), np.int64(arena.size)
    counts, free = pointer(state), pointer(chunks)
    count = 0
    for sid in range(state[X_NEXT_SID]):
        if count >= expired.size:
            break
        if lengths[sid] == np.uint32(0) or last_seen[sid] >= cutoff_ms or pins[sid] != np.uint8(0):
            continue
        begin = np.int64(sets[sid]) * UNIT
        h = _hash_of_set(whole, size, begin, np.int64(lengths[sid]), seed)
        place = (h >> np.uint64(32)) & mask
        while np.int64(slots[np.int64(place)] & np.uint64(0xFFFFFFFF)) != sid + 1:
            place = (place + np.uint64(1)) & mask
        slots[np.int64(place)] = np.uint64(TOMBSTONE)
        left, at = np.int64(lengths[sid]), begin
        while left > 0:
            number = np.int64(load_u32(whole, at) & np.uint64(LAST - 1))
            length = np.int64(load_u32(whole, number * UNIT + 4))
            of_pair = hash_text(whole, number * UNIT + HEAD, length, seed)
            leave_pair(of_pairs, pair_mask, of_pair, number, counts, free, whole)
            left -= length
            at += 4
        give_chunk(begin, at - begin, counts, free, whole)
        lengths[sid] = np.uint32(0)
        sets[sid] = np.uint32(state[X_FREE_SID] + 1)
        state[X_FREE_SID] = sid
        state[X_LIVE] -= 1
        expired[count] = np.uint32(sid)
        count += 1
    return count


@kernel(RU4, RU4, i8, RI8, I8, U4)
def resolve_rows(
    ids: NDArray[np.uint32],
    mapping: NDArray[np.uint32],
    known: int,
    times_ms: NDArray[np.int64],
    last_seen: NDArray[np.int64],
    sids: NDArray[np.uint32],
) -> int:
    """sids[i] = mapping[ids[i]], UNRESOLVED where the local id is not known; returns how many rows that are.

    mapping: uint32 by local id, valid under `known`. last_seen: int64 by sid, raised to the row's time; an empty array
    leaves the times alone.
    """
    missing = 0
    known = min(known, mapping.size)
    touch = last_seen.size > 0
    for i in range(ids.size):
        local = np.int64(ids[i])
        sid = np.uint32(UNRESOLVED)
        if local < known:
            sid = mapping[local]
        sids[i] = sid
        if sid == np.uint32(UNRESOLVED):
            missing += 1
        elif touch and np.int64(sid) < last_seen.size and last_seen[sid] < times_ms[i]:
            last_seen[sid] = times_ms[i]
    return missing


@kernel(RU4, u1, U1)
def release_pins(sids: NDArray[np.uint32], pin: int, pins: NDArray[np.uint8]) -> int:
    """Clear bit `pin` of pins[sid] for all sids; returns how many were cleared."""
    cleared = 0
    for i in range(sids.size):
        sid = np.int64(sids[i])
        if sid < pins.size and pins[sid] & np.uint8(pin) != np.uint8(0):
            pins[sid] &= np.uint8(~np.uint8(pin))
            cleared += 1
    return cleared
