"""Which shard a series belongs to, and rows put into order of their shards.

A series belongs to a shard by its labels, not by the hash of its wire form: integer or string, resource or point, one
label set has one owner. The name and the bounds `le` and `vmrange` do not count: the series of a histogram, which are
folded as one point, have the same owner, and so have a quantity and its limit, which are judged together. Where there
is no other label the name counts, without the endings _bucket, _count and _sum. The hash is keyed with the data
directory's secrets and stands in no file: a shard is always computed anew from labels.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kernels.jit import F8, I8, RF8, RI8, RU1, RU4, RU8, U4, U8, i8, kernel, step
from kernels.label_hash import hash_bytes, mix, secrets_tuple

_CLASS_BITS: Final = 0x0F
"""telemetry.kind.CLASS_MASK."""
_TARGET_INFO_CLASS: Final = 7
"""telemetry.kind.TARGET_INFO."""
_LABEL: Final = np.uint64(0x6C61_6265_6C00_0001)
_NAME: Final = np.uint64(0x6C61_6265_6C00_0002)
_DAMAGED: Final = np.uint64(0x6C61_6265_6C00_0003)


@step
def _varint(buf: Any, at: Any, end: Any) -> Any:
    """(value, place behind it); the place is -1 where there is no varint of at most five bytes."""
    value, shift = np.int64(0), np.int64(0)
    while at < end and shift < 35:
        byte = np.int64(buf[at])
        at += 1
        value |= (byte & np.int64(0x7F)) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    return np.int64(0), np.int64(-1)


@step
def _is(buf: Any, at: Any, count: Any, text: Any) -> Any:
    """Whether buf[at:at + count] is the text, given as a tuple of bytes."""
    if count != len(text):
        return False
    for i in range(len(text)):
        if buf[at + i] != np.uint8(text[i]):
            return False
    return True


@step
def _stem(buf: Any, at: Any, count: Any) -> Any:
    """Length of a metric name without _bucket, _count or _sum."""
    if count > 7 and _is(buf, at + count - 7, 7, (95, 98, 117, 99, 107, 101, 116)):
        return count - 7
    if count > 6 and _is(buf, at + count - 6, 6, (95, 99, 111, 117, 110, 116)):
        return count - 6
    if count > 4 and _is(buf, at + count - 4, 4, (95, 115, 117, 109)):
        return count - 4
    return count


@kernel(RU1, RU4, RU8, U8)
def shard_hashes(
    blobs: NDArray[np.uint8], offsets: NDArray[np.uint32], secrets: NDArray[np.uint64], out: NDArray[np.uint64]
) -> None:
    """The hash by which a label blob's shard is found: out[i] of blobs[offsets[i]:offsets[i + 1]], never 0.

    blobs: uint8[total], see telemetry.labels; offsets: uint32[m + 1]; secrets: uint64[8]; out: uint64[m]. What cannot
    be read as labels is hashed as bytes, and what lies outside `blobs` is taken as empty.
    """
    k = secrets_tuple(secrets)
    for i in range(min(out.size, offsets.size - 1)):
        at, end = np.int64(offsets[i]), np.int64(offsets[i + 1])
        if end > blobs.size or at > end:
            at = end = np.int64(0)
        high, low = np.uint64(0), np.uint64(0)
        named_at = named_size = kept = np.int64(0)
        while at < end:
            start = at
            sound = False
            name_at = name_size = value_at = value_size = np.int64(0)
            entry_end = np.int64(-1)
            if blobs[at] == np.uint8(0x0A):
                size, inner = _varint(blobs, at + 1, end)
                if inner >= 0 and size <= end - inner:
                    entry_end = inner + size
                    if inner < entry_end and blobs[inner] == np.uint8(0x0A):
                        name_size, name_at = _varint(blobs, inner + 1, entry_end)
                        if name_at >= 0 and name_size < entry_end - name_at:
                            place = name_at + name_size
                            if blobs[place] == np.uint8(0x12):
                                value_size, value_at = _varint(blobs, place + 1, entry_end)
                                sound = value_at >= 0 and value_size == entry_end - value_at
            if not sound:
                h, g, _ = hash_bytes(blobs, start, end - start, _DAMAGED, k)
                high += h
                low += g
                kept += 1
                break
            at = entry_end
            if _is(blobs, name_at, name_size, (108, 101)):  # le
                continue
            if _is(blobs, name_at, name_size, (118, 109, 114, 97, 110, 103, 101)):  # vmrange
                continue
            if _is(blobs, name_at, name_size, (95, 95, 110, 97, 109, 101, 95, 95)):  # __name__
                named_at, named_size = value_at, value_size
                continue
            h, g, _ = hash_bytes(blobs, start, entry_end - start, _LABEL, k)
            high += h
            low += g
            kept += 1
        if kept == 0 and named_size > 0:
            h, g, _ = hash_bytes(blobs, named_at, _stem(blobs, named_at, named_size), _NAME, k)
            high += h
            low += g
        h, g = mix(high, low, k)
        out[i] = h if h != np.uint64(0) else np.uint64(1)


@kernel(RU4, RU1, RU1, RI8, RF8, RI8, i8, U4, I8, F8, I8, U4, U4, U4)
def group_rows(
    ids: NDArray[np.uint32],
    kinds: NDArray[np.uint8],
    shard_of: NDArray[np.uint8],
    times_ms: NDArray[np.int64],
    values: NDArray[np.float64],
    starts_ms: NDArray[np.int64],
    shards: int,
    ids_out: NDArray[np.uint32],
    times_out: NDArray[np.int64],
    values_out: NDArray[np.float64],
    starts_out: NDArray[np.int64],
    places: NDArray[np.uint32],
    rows: NDArray[np.uint32],
    counted: NDArray[np.uint32],
) -> int:
    """Rows in order of their shards, within a shard in the order given.

    ids: uint32[n], local ids; kinds: uint8[n]; shard_of: uint8 by local id. times_ms, values: [n]; starts_ms: int64[n]
    or empty. ids_out, times_out, values_out, starts_out: the same, grouped. places: uint32[n], where a row went.
    rows, counted: uint32[shards], rows of each shard and those of them that are not target_info. Returns n, or the
    first row whose id or shard is out of range; nothing of the output holds then.
    """
    n = min(ids.size, min(kinds.size, min(times_ms.size, values.size)))
    room = min(min(ids_out.size, places.size), min(times_out.size, values_out.size))
    shards = min(shards, min(rows.size, counted.size))
    with_starts = starts_ms.size > 0
    if n > room or (with_starts and min(starts_ms.size, starts_out.size) < n):
        return 0
    for s in range(shards):
        rows[s] = counted[s] = np.uint32(0)
    for i in range(n):
        local = np.int64(ids[i])
        if local >= shard_of.size or np.int64(shard_of[local]) >= shards:
            return i
        owner = np.int64(shard_of[local])
        rows[owner] += np.uint32(1)
        if np.int64(kinds[i]) & _CLASS_BITS != _TARGET_INFO_CLASS:
            counted[owner] += np.uint32(1)
    cursor = np.zeros(shards, np.int64)
    for s in range(1, shards):
        cursor[s] = cursor[s - 1] + np.int64(rows[s - 1])
    for i in range(n):
        owner = np.int64(shard_of[np.int64(ids[i])])
        to = cursor[owner]
        cursor[owner] = to + 1
        ids_out[to] = ids[i]
        times_out[to] = times_ms[i]
        values_out[to] = values[i]
        if with_starts:
            starts_out[to] = starts_ms[i]
        places[i] = np.uint32(to)
    return n
