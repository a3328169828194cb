"""From label blobs to series ids: open addressing over a hash of the bytes, with the blobs in one arena.

A slot is a word: 32 bits of the blob's hash, the tag, above `sid + 1`; 0 is empty, TOMBSTONE a place whose series was
forgotten. The probe starts at the tag modulo the table's size, so a larger table is filled without a look at the blobs.
Equal tags are followed by a comparison of the bytes, so two label sets are never taken for one.

Blobs lie in the arena in chunks of 16 bytes or a multiple (powers of two above 4 KiB). A forgotten blob's chunk is
chained to others of its size and taken again by the next blob of that size, so addresses never move while somebody
reads them and the arena stays near the size of the most series there ever were at a time.
Source: Knuth, TAOCP 3, section 6.4, algorithm L; TAOCP 1, section 2.5, for lists of free blocks by size.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kernels.jit import I8, RI8, RU1, RU4, RU8, U1, U4, U8, i8, kernel, step, u1, u8
from kernels.wire import fold_multiply, load_u8, load_u64

UNRESOLVED: Final = 0xFFFFFFFF
"""Sid of a local id whose definition is not known."""
TOMBSTONE: Final = 0xFFFFFFFF
SIZE_CLASSES: Final = 256 + 32

# Entries of the index' state vector (int64).
X_NEXT_SID: Final = 0
"""Sids under this have been given at least once."""
X_FREE_SID: Final = 1
"""First free sid, -1 if none; the others are chained through `offsets`."""
X_LIVE: Final = 2
X_USED_SLOTS: Final = 3
"""Live and forgotten ones."""
X_ARENA_END: Final = 4
X_FREE_BYTES: Final = 5
X_STATE: Final = 6

_UNKNOWN_CLASS: Final = 0
_CLASS_MASK: Final = 0x0F


@step
def _hash(buf: Any, at: Any, count: Any, seed: Any) -> Any:
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
def _equal(left: Any, left_at: Any, right: Any, right_at: Any, count: Any) -> Any:
    i = 0
    while i + 8 <= count:
        if load_u64(left, left_at + i) != load_u64(right, right_at + i):
            return False
        i += 8
    while i < count:
        if left[left_at + i] != right[right_at + i]:
            return False
        i += 1
    return True


@step
def _size_class(length: Any) -> Any:
    """(class, chunk size) of a blob."""
    if length <= 4096:
        units = (length + 15) // 16
        return units - 1, units * 16
    size, number = np.int64(8192), 256
    while size < length:
        size *= 2
        number += 1
    return number, size


@step
def _find(
    slots: Any, mask: Any, h: Any, blobs: Any, at: Any, count: Any, arena: Any, offsets: Any, lengths: Any
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
            if np.int64(lengths[sid]) == count and _equal(blobs, at, arena, np.int64(offsets[sid]), count):
                return sid, np.int64(place)
        place = (place + np.uint64(1)) & mask


@step
def _store_word(arena: Any, at: Any, value: Any) -> None:
    for i in range(8):
        arena[at + i] = np.uint8((value >> np.uint64(8 * i)) & np.uint64(0xFF))


@kernel(RU1, RU4, RU1, i8, u8, u1, i8, U8, I8, I8, U1, U8, U4, U1, U4, I8, U1, U4)
def define_series(
    blobs: NDArray[np.uint8],
    blob_offsets: NDArray[np.uint32],
    blob_kinds: NDArray[np.uint8],
    first: int,
    seed: int,
    pin: int,
    seen_ms: int,
    slots: NDArray[np.uint64],
    state: NDArray[np.int64],
    chunks: NDArray[np.int64],
    arena: NDArray[np.uint8],
    offsets: NDArray[np.uint64],
    lengths: NDArray[np.uint32],
    kinds: NDArray[np.uint8],
    generations: NDArray[np.uint32],
    last_seen: NDArray[np.int64],
    pins: NDArray[np.uint8],
    sids: NDArray[np.uint32],
) -> int:
    """Sids of the definitions first … m - 1, entering label sets that are new.

    blobs, blob_offsets (uint32[m + 1]), blob_kinds (uint8[m]): as in telemetry.columns.Definitions. pin: bit or-ed into
    pins[sid]. slots: uint64[power of two]; state: X_*; chunks: int64[SIZE_CLASSES], first free chunk of each size, -1
    if none. The arrays from arena to pins belong to the index. sids: uint32[m] out; UNRESOLVED for a blob that is
    empty or lies outside `blobs`. Returns where it had to stop because slots, sids or the arena ran out (the caller
    enlarges and calls again from there), m when done.
    """
    m = blob_kinds.size
    mask = np.uint64(slots.size - 1)
    for i in range(first, m):
        at, end = np.int64(blob_offsets[i]), np.int64(blob_offsets[i + 1])
        count = end - at
        if count <= 0 or end > blobs.size:
            sids[i] = np.uint32(UNRESOLVED)
            continue
        h = _hash(blobs, at, count, seed)
        sid, place = _find(slots, mask, h, blobs, at, count, arena, offsets, lengths)
        if sid < 0:
            number, size = _size_class(count)
            if (
                state[X_USED_SLOTS] * 10 >= slots.size * 7
                or (state[X_FREE_SID] < 0 and state[X_NEXT_SID] >= lengths.size)
                or (chunks[number] < 0 and state[X_ARENA_END] + size > arena.size)
            ):
                return i
            if state[X_FREE_SID] >= 0:
                sid = state[X_FREE_SID]
                state[X_FREE_SID] = np.int64(offsets[sid]) - 1
                generations[sid] += np.uint32(1)
            else:
                sid = state[X_NEXT_SID]
                state[X_NEXT_SID] = sid + 1
            if chunks[number] >= 0:
                target = chunks[number]
                chunks[number] = np.int64(load_u64(arena, target))
                state[X_FREE_BYTES] -= size
            else:
                target = state[X_ARENA_END]
                state[X_ARENA_END] = target + size
            for j in range(count):
                arena[target + j] = blobs[at + j]
            offsets[sid] = np.uint64(target)
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


@kernel(RU1, u8, RU8, RU1, RU8, RU4)
def find_series(
    blob: NDArray[np.uint8],
    seed: int,
    slots: NDArray[np.uint64],
    arena: NDArray[np.uint8],
    offsets: NDArray[np.uint64],
    lengths: NDArray[np.uint32],
) -> int:
    """The sid of a label blob, -1 if there is none."""
    if blob.size == 0:
        return -1
    h = _hash(blob, np.int64(0), blob.size, seed)
    sid, _ = _find(slots, np.uint64(slots.size - 1), h, blob, np.int64(0), blob.size, arena, offsets, lengths)
    found: int = sid
    return found


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


@kernel(i8, u8, U8, I8, I8, U1, U8, U4, RI8, RU1, U4)
def expire_series(
    cutoff_ms: int,
    seed: int,
    slots: NDArray[np.uint64],
    state: NDArray[np.int64],
    chunks: NDArray[np.int64],
    arena: NDArray[np.uint8],
    offsets: NDArray[np.uint64],
    lengths: NDArray[np.uint32],
    last_seen: NDArray[np.int64],
    pins: NDArray[np.uint8],
    expired: NDArray[np.uint32],
) -> int:
    """Forget series last seen before cutoff_ms that nobody pins, as many as `expired` holds; returns how many.

    Their sids stand in `expired`; lengths[sid] becomes 0.
    """
    mask = np.uint64(slots.size - 1)
    count = 0
    for sid in range(state[X_NEXT_SID]):
        if count >= expired.size:
            break
        if lengths[sid] == np.uint32(0) or last_seen[sid] >= cutoff_ms or pins[sid] != np.uint8(0):
            continue
        at, length = np.int64(offsets[sid]), np.int64(lengths[sid])
        place = (_hash(arena, at, length, seed) >> np.uint64(32)) & mask
        while np.int64(slots[np.int64(place)] & np.uint64(0xFFFFFFFF)) != sid + 1:
            place = (place + np.uint64(1)) & mask
        slots[np.int64(place)] = np.uint64(TOMBSTONE)
        number, size = _size_class(length)
        _store_word(arena, at, np.uint64(chunks[number]))
        chunks[number] = at
        state[X_FREE_BYTES] += size
        lengths[sid] = np.uint32(0)
        offsets[sid] = np.uint64(state[X_FREE_SID] + 1)
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


@kernel(RU1, i8, RU1, RU8, RU4, U1)
def keep_series_with(
    entry: NDArray[np.uint8],
    end_sid: int,
    arena: NDArray[np.uint8],
    offsets: NDArray[np.uint64],
    lengths: NDArray[np.uint32],
    out: NDArray[np.uint8],
) -> int:
    """Set out[sid] = 0 for series under end_sid that lack the label whose encoded form is `entry`; returns how many
    stay. out: uint8[>= end_sid]; lengths of 0 are taken as lacking it."""
    kept = 0
    for sid in range(min(end_sid, out.size)):
        if out[sid] == np.uint8(0):
            continue
        at = np.int64(offsets[sid])
        end = at + np.int64(lengths[sid])
        found = False
        while at < end and not found:
            # One label: tag 0x0a, length as a varint, body.
            body, shift, after = np.int64(0), 0, at + 1
            while after < end and shift < 35:
                byte = np.int64(arena[after])
                after += 1
                body |= (byte & 0x7F) << shift
                shift += 7
                if byte < 0x80:
                    break
            size = after + body - at
            if size == entry.size and at + size <= end:
                found = _equal(arena, at, entry, np.int64(0), size)
            at += size
        if found:
            kept += 1
        else:
            out[sid] = np.uint8(0)
    return kept
