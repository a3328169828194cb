"""A keyed 128-bit hash of label sets that does not depend on the order of their members.

Each member is hashed by itself into 128 bits and the members are added, so order cannot matter; the sum, together with
the hash of what all members share (resource, scope, metric), is mixed once more into the series hash. The building
stone is a 64 × 64 → 128 bit multiplication folded to 64 bits, run in two lanes with different secrets. Without the
secrets, which are made once per data directory, nobody can aim for a collision.
Source of the idea: wyhash (Wang Yi, "final version 4") for the folded multiplication over 16-byte blocks; Wegman and
Carter 1981 for summing keyed hashes of a set's members.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from kernels.jit import hot_step, step
from kernels.wire import fold_multiply, load_u8, load_u32, load_u64

_MASK: Final = (1 << 64) - 1


def derive_secrets(hash_key: tuple[int, int]) -> NDArray[np.uint64]:
    """uint64[8] of secrets from the 128-bit key of a data directory (SplitMix64 over both halves; none is zero)."""
    secrets = np.zeros(8, np.uint64)
    for index in range(8):
        word = (hash_key[index & 1] + (index + 1) * 0x9E3779B97F4A7C15 + (hash_key[1 - (index & 1)] >> 7)) & _MASK
        for _ in range(2):
            word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
            word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
            word ^= word >> 31
        secrets[index] = word or index + 1
    return secrets


@step
def load_tail(buf: Any, at: Any, count: Any) -> Any:
    """The 0 to 7 bytes from `at` as a little-endian number."""
    if count >= 4:
        high = load_u32(buf, at + count - 4)
        return load_u32(buf, at) | (high >> np.uint64(8 * (8 - count))) << np.uint64(32)
    value = np.uint64(0)
    if count > 0:
        value = load_u8(buf, at)
    if count > 1:
        value |= load_u8(buf, at + 1) << np.uint64(8)
    if count > 2:
        value |= load_u8(buf, at + 2) << np.uint64(16)
    return value


@hot_step
def hash_bytes(buf: Any, at: Any, count: Any, domain: Any, k: Any) -> Any:
    """(high, low, seen): 128-bit hash of `count` bytes, and all their words or-ed together.

    domain: uint64, keeps equal bytes in different places apart. k: the eight secrets, a pointer. `seen` has a bit 7 of
    some byte set exactly when a byte of 0x80 or more occurs. The caller has proved at + count <= len(buf).
    """
    length = np.uint64(count)
    h = k[0] ^ length ^ domain
    g = k[1] + length + domain
    seen = np.uint64(0)
    left = count
    while left > 16:
        a = load_u64(buf, at)
        b = load_u64(buf, at + 8)
        seen |= a | b
        h = fold_multiply(a ^ k[2], b ^ h)
        g = fold_multiply(b ^ k[3], a ^ g)
        at += 16
        left -= 16
    if left >= 8:
        a = load_u64(buf, at)
        b = load_u64(buf, at + left - 8)
    else:
        a = load_tail(buf, at, left)
        b = np.uint64(0)
    seen |= a | b
    h = fold_multiply(a ^ k[2], b ^ h)
    g = fold_multiply(b ^ k[3], a ^ g)
    return fold_multiply(h ^ k[4], g ^ k[5]), fold_multiply(h ^ k[6], g ^ k[7]), seen


@step
def mix(high: Any, low: Any, k: Any) -> Any:
    """(high, low) of a sum, spread over all bits; never (0, 0)."""
    h = fold_multiply(high ^ k[0], low ^ k[5])
    g = fold_multiply(high ^ k[6], low ^ k[3])
    if h == np.uint64(0) and g == np.uint64(0):
        g = np.uint64(1)
    return h, g


@step
def hash_word(word: Any, domain: Any, k: Any) -> Any:
    """(high, low) of one 64-bit number."""
    return fold_multiply(word ^ k[1], domain ^ k[2]), fold_multiply(word ^ k[7], domain ^ k[4])


@step
def secrets_tuple(secrets: Any) -> Any:
    """The secrets as a tuple; as good as a pointer for the steps above."""
    return (secrets[0], secrets[1], secrets[2], secrets[3], secrets[4], secrets[5], secrets[6], secrets[7])
