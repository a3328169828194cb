"""One label of many series: which of the pairs it is (see kernels.label_sets), and which blobs have a given one."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.jit import BYTES, I8, RU1, RU4, RU8, U1, U4, i8, kernel, step
from kernels.label_sets import HEAD, UNIT, equal, label_end, pair_at
from kernels.protobuf_fields import read_length
from kernels.wire import load_u8, pointer


@step
def find_value(arena: Any, at: Any, end: Any, name: Any, name_length: Any) -> Any:
    """(position, end) of the value of the label that begins at `at` and ends at `end`, if it is called `name`; both −1
    if it is not."""
    none = np.int64(-1)
    at, behind = read_length(arena, at + 1, end)
    if at < 0:
        return none, none
    name_at, name_end = read_length(arena, at + 1, behind)
    if name_at < 0 or name_end - name_at != name_length:
        return none, none
    for i in range(name_length):
        if load_u8(arena, name_at + i) != load_u8(name, i):
            return none, none
    value_at, value_end = read_length(arena, name_end + 1, behind)
    if value_at < 0:
        return none, none
    return value_at, value_end


@kernel(BYTES, RU4, RU4, RU4, BYTES, U4, I8, U4)
def label_values(  # type: ignore[no-untyped-def]
    arena, label_sets, label_lengths, sids, name, numbers, begins, lengths
):
    """Which pair the label `name` of the series sids is, and where its value stands in the arena.

    arena: uint8[total]; label_sets, label_lengths: uint32[capacity], by sid, see kernels.label_sets; sids: uint32[n].
    numbers: uint32[n], of the pair, 0 where a series has no such label; begins: int64[n], −1 there; lengths: uint32[n].
    A sid beyond the arrays, a set outside the arena and bytes that are no label have none.
    """
    text, wanted = pointer(arena), pointer(name)
    known = min(len(label_sets), len(label_lengths))
    for row in range(min(min(len(sids), len(numbers)), min(len(begins), len(lengths)))):
        numbers[row], begins[row], lengths[row] = 0, -1, 0
        sid = np.int64(sids[row])
        if sid >= known:
            continue
        place, left = np.int64(label_sets[sid]) * UNIT, np.int64(label_lengths[sid])
        while left > 0:
            begin, count, _ = pair_at(text, arena.size, place, left)
            if count == 0:
                break
            at, end = find_value(text, begin, begin + count, wanted, np.int64(name.size))
            if at >= 0:
                numbers[row] = np.uint32((begin - HEAD) // UNIT)
                begins[row], lengths[row] = at, np.uint32(end - at)
                break
            place += 4
            left -= count


@kernel(RU1, i8, RU1, RU8, RU4, U1)
def keep_blobs_with(
    entry: NDArray[np.uint8],
    count: int,
    area: NDArray[np.uint8],
    begins: NDArray[np.uint64],
    lengths: NDArray[np.uint32],
    out: NDArray[np.uint8],
) -> int:
    """Set out[i] = 0 for blobs i < count that lack the label whose encoded form is `entry`; returns how many stay.

    area: uint8[total]; begins: uint64[n]; lengths: uint32[n]; out: uint8[>= count]. A blob outside the area, and a
    length of 0, is taken as lacking it.
    """
    text, wanted = pointer(area), pointer(entry)
    kept = 0
    for i in range(min(min(count, out.size), min(begins.size, lengths.size))):
        if out[i] == np.uint8(0):
            continue
        found = False
        if begins[i] <= np.uint64(area.size):
            at = np.int64(begins[i])
            end = min(at + np.int64(lengths[i]), np.int64(area.size))
            while at < end and not found:
                behind = label_end(text, at, end)
                found = behind - at == entry.size and equal(text, at, wanted, np.int64(0), behind - at)
                at = behind
        if found:
            kept += 1
        else:
            out[i] = np.uint8(0)
    return kept
