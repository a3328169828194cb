"""What kernels.known_labels promises, as a dictionary that forgets nothing, and its hash in plain integers."""

from __future__ import annotations

from dataclasses import dataclass, field

_MASK = (1 << 64) - 1
DOMAIN = 0x21


def _fold(left: int, right: int) -> int:
    product = left * right
    return (product & _MASK) ^ (product >> 64)


def hash_range(data: bytes, secrets: list[int]) -> tuple[int, int]:
    """(high, low): 128 bits of a range of bytes, under the eight secrets of a data directory."""
    h = secrets[0] ^ len(data) ^ DOMAIN
    g = (secrets[1] + len(data) + DOMAIN) & _MASK
    whole = max(0, -(-len(data) // 16) - 1)
    blocks = [(data[16 * i : 16 * i + 8], data[16 * i + 8 : 16 * i + 16]) for i in range(whole)]
    rest = data[16 * whole :]
    # The last block holds 0 to 16 bytes: from eight on its two words overlap, below that the second is zero.
    blocks.append((rest[:8], rest[-8:]) if len(rest) >= 8 else (rest, b""))
    for first, second in blocks:
        a, b = int.from_bytes(first, "little"), int.from_bytes(second, "little")
        h, g = _fold(a ^ secrets[2], b ^ h), _fold(b ^ secrets[3], a ^ g)
    return _fold(h ^ secrets[4], g ^ secrets[5]), _fold(h ^ secrets[6], g ^ secrets[7])


@dataclass
class KnownLabelsTwin:
    """All that was ever entered; the table may know less, and nothing else."""

    entries: dict[tuple[int, int], tuple[int, int, int]] = field(default_factory=dict)

    def remember(self, high: int, low: int, first: int, second: int, detail: int) -> None:
        """The latest entry under a hash counts. The lowest eight bits of `low` do not."""
        self.entries[high, low >> 8] = (first, second, detail)

    def recall(self, high: int, low: int) -> tuple[int, int, int] | None:
        """What was entered under a hash, if anything was."""
        return self.entries.get((high, low >> 8))
