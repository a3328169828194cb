"""What is left of a series' labels without those that tell one instance from another, as a digest."""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.jit import BYTES, I8, RU4, RU8, U8, kernel, step
from kernels.label_hash import hash_bytes
from kernels.protobuf_fields import read_length
from kernels.wire import load_u8, pointer


@step
def is_one_of(buf: Any, at: Any, size: Any, names: Any, ends: Any, count: Any) -> Any:
    """Whether the `size` bytes from `at` are one of `count` names, which stand one after another and end at `ends`."""
    begin = np.int64(0)
    for number in range(count):
        end = np.int64(ends[number])
        if end - begin == size:
            same = True
            for i in range(size):
                if load_u8(buf, at + i) != load_u8(names, begin + i):
                    same = False
                    break
            if same:
                return True
        begin = end
    return False


@kernel(BYTES, RU8, RU4, RU4, BYTES, I8, RU8, U8)
def family_digests(  # type: ignore[no-untyped-def]
    arena, label_offsets, label_lengths, sids, names, name_ends, secrets, digests
):
    """Digests of the labels of the series sids, without the labels called one of `names`.

    arena: uint8[total]; label_offsets: uint64[capacity]; label_lengths: uint32[capacity]; sids: uint32[n]; names: uint8
    one after another; name_ends: int64, ascending, none beyond names; secrets: uint64[8], see
    label_hash.derive_secrets. digests: uint64[n], half of a keyed 128-bit hash, 0 for a sid beyond the arrays, a free
    sid, a blob outside the arena and a damaged one.
    """
    text, wanted, keys = pointer(arena), pointer(names), pointer(secrets)
    known = min(len(label_offsets), len(label_lengths))
    zero = np.uint64(0)
    sound = len(name_ends) == 0 or (name_ends[0] >= 0 and name_ends[len(name_ends) - 1] <= names.size)
    for i in range(1, len(name_ends)):
        sound = sound and name_ends[i] >= name_ends[i - 1]
    for row in range(min(len(sids), len(digests))):
        digests[row] = zero
        sid = np.int64(sids[row])
        if sid >= known or len(secrets) < 8 or not sound:
            continue
        start, length = np.int64(label_offsets[sid]), np.int64(label_lengths[sid])
        if length == 0 or start < 0 or start > arena.size - length:
            continue
        at, end, digest = start, start + length, np.uint64(1)
        while at < end:
            # A label is 0x0a <length> and in it 0x0a <length> name 0x12 <length> value.
            at, behind = read_length(text, at + 1, end)
            if at < 0:
                digest = zero
                break
            name_at, name_end = read_length(text, at + 1, behind)
            if name_at < 0:
                digest = zero
                break
            if not is_one_of(text, name_at, name_end - name_at, wanted, name_ends, len(name_ends)):
                # A sum, so that neither order nor what is left out matters; the length of the name is in the bytes.
                high, _, _ = hash_bytes(text, at, behind - at, zero, keys)
                digest += high
            at = behind
        digests[row] = digest
