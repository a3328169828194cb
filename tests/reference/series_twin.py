"""Slow twins of kernels.series_table and kernels.label_index: dictionaries."""

from __future__ import annotations

from dataclasses import dataclass, field

REFUSED = 0xFFFFFFFF


@dataclass
class EdgeTwin:
    """Local ids by hash, with the previous segment's series counted into the limit."""

    limit: int
    current: dict[tuple[int, int], int] = field(default_factory=dict)
    previous: dict[tuple[int, int], int] = field(default_factory=dict)

    def resolve(self, hashes: list[tuple[int, int]]) -> tuple[list[int], list[int], list[bool]]:
        """(ids, rows of new ids, whether the previous segment has each)."""
        ids, rows, old = [], [], []
        for row, key in enumerate(hashes):
            if key not in self.current:
                active = len(self.previous.keys() | self.current.keys())
                if key not in self.previous and active >= self.limit:
                    ids.append(REFUSED)
                    continue
                self.current[key] = len(self.current)
                rows.append(row)
                old.append(key in self.previous)
            ids.append(self.current[key])
        return ids, rows, old

    def rotate(self) -> None:
        """A new segment."""
        self.previous, self.current = self.current, {}


@dataclass
class IndexTwin:
    """Sids by label blob; a forgotten sid comes back with a raised generation."""

    by_blob: dict[bytes, int] = field(default_factory=dict)
    seen: dict[int, int] = field(default_factory=dict)
    kinds: dict[int, int] = field(default_factory=dict)
    pinned: dict[int, int] = field(default_factory=dict)

    def same(self, blob: bytes, kind: int, sid: int, pin: int, seen_ms: int) -> bool:
        """Whether `sid` is a possible answer for the definition; enters it."""
        if blob in self.by_blob:
            right = self.by_blob[blob] == sid
            if kind & 15:
                self.kinds[sid] = kind
        else:
            right = sid not in self.by_blob.values()
            self.by_blob[blob] = sid
            self.kinds[sid], self.seen[sid], self.pinned[sid] = kind, seen_ms, 0
        self.seen[sid] = max(self.seen[sid], seen_ms)
        self.pinned[sid] |= pin
        return right

    def expire(self, cutoff_ms: int) -> set[int]:
        """Forget and return what is idle and unpinned."""
        gone = {s for s in self.by_blob.values() if self.seen[s] < cutoff_ms and not self.pinned[s]}
        self.by_blob = {b: s for b, s in self.by_blob.items() if s not in gone}
        return gone
