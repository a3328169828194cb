"""The value of one label in many label blobs (see telemetry.labels), told by place and by digest."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.jit import BYTES, I8, RU4, RU8, U4, U8, kernel, step
from kernels.label_hash import hash_bytes
from kernels.protobuf_fields import read_length
from kernels.wire import load_u8, pointer


@step
def find_value(arena: Any, at: Any, end: Any, name: Any, name_length: Any) -> Any:
    """(position, end) of the value of a label in the blob at [at, end); both −1 where the blob has no such label."""
    none = np.int64(-1)
    while at < end:
        at, behind = read_length(arena, at + 1, end)
        if at < 0:
            break
        name_at, name_end = read_length(arena, at + 1, behind)
        if name_at < 0:
            break
        same = name_end - name_at == name_length
        if same:
            for i in range(name_length):
                if load_u8(arena, name_at + i) != load_u8(name, i):
                    same = False
                    break
        if same:
            value_at, value_end = read_length(arena, name_end + 1, behind)
            if value_at < 0:
                break
            return value_at, value_end
        at = behind
    return none, none


@kernel(BYTES, RU8, RU4, RU4, BYTES, RU8, I8, U4, U8)
def label_values(  # type: ignore[no-untyped-def]
    arena, label_offsets, label_lengths, sids, name, secrets, begins, lengths, digests
):
    """Where the values of the label `name` of the series sids stand in the arena, and digests that tell them apart.

    arena: uint8[total]; label_offsets: uint64[capacity]; label_lengths: uint32[capacity]; sids: uint32[n]; secrets:
    uint64[8], see label_hash.derive_secrets. begins: int64[n], −1 where a series has no such label; lengths: uint32[n];
    digests: uint64[n], half of a keyed 128-bit hash, 0 without the label. A sid beyond the arrays, a blob outside the
    arena and a damaged one have no labels.
    """
    text, wanted, keys = pointer(arena), pointer(name), pointer(secrets)
    known = min(len(label_offsets), len(label_lengths))
    zero = np.uint64(0)
    for row in range(min(min(len(sids), len(begins)), min(len(lengths), len(digests)))):
        begins[row], lengths[row], digests[row] = -1, 0, zero
        sid = np.int64(sids[row])
        if sid >= known or len(secrets) < 8:
            continue
        start, length = np.int64(label_offsets[sid]), np.int64(label_lengths[sid])
        if start < 0 or start > arena.size - length:
            continue
        at, end = find_value(text, start, start + length, wanted, np.int64(name.size))
        if at >= 0:
            high, _, _ = hash_bytes(text, at, end - at, zero, keys)
            begins[row], lengths[row], digests[row] = at, np.uint32(end - at), high | np.uint64(1)
