"""Running totals of delta series: by sid while frames are folded, by digest of the labels wherever they are kept.

Sids are handed out anew after a restart, and when reading goes back a sid may stand for another series than before.
So a checkpoint names a series by a keyed 128-bit digest of its label blob, and a restored total is taken up when its
series is first seen again. A checkpoint belongs to one position of the log: folding from there again gives the very
same values.
"""

from __future__ import annotations

import secrets as randomness
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from gateway.errors import StateError
from gateway.telemetry.kind import DELTA
from gateway.telemetry.label_sets import blobs_of
from gateway.telemetry.resolved import SeriesView
from kernels.cumulative import claim_deltas, label_digests

_GROWTH: Final = 1.5
_PROBE: Final = b"the digest of this text tells whether the hash is still the one that made the file"

HashKey = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class TotalsCheckpoint:
    """The totals of k delta series at one position of the log, in no order.

    high, low: uint64[k]; totals: float64[k]; ends: int64[k], end of the last interval added, Unix ms.
    hash_key: secret key of the digests, four 64-bit numbers.
    """

    hash_key: HashKey
    high: NDArray[np.uint64]
    low: NDArray[np.uint64]
    totals: NDArray[np.float64]
    ends: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.high)

    @classmethod
    def empty(cls, hash_key: HashKey | None = None) -> TotalsCheckpoint:
        """No series; with a new random key if none is given."""
        a, b, c, d = (randomness.randbits(64) | 1 for _ in range(4))
        key = hash_key or (a, b, c, d)
        return cls(key, np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0), np.zeros(0, np.int64))

    def parts(self) -> list[bytes]:
        """For a file: header and the four columns."""
        header = msgspec.json.encode(_Header(hash_key=self.hash_key, series=len(self), probe=_probe(self.hash_key)))
        columns = (self.high, self.low, self.totals, self.ends)
        return [len(header).to_bytes(4, "little"), header, *(c.tobytes() for c in columns)]

    @classmethod
    def from_bytes(cls, content: bytes) -> TotalsCheckpoint:
        """Counterpart of `parts`. Raises StateError."""
        try:
            start = 4 + int.from_bytes(content[:4], "little")
            header = msgspec.json.decode(content[4:start], type=_Header)
        except msgspec.MsgspecError as error:
            raise StateError(f"running totals: {error}") from error
        n = header.series
        if len(content) != start + 32 * n:
            raise StateError("running totals: columns of the wrong length")
        if header.probe != _probe(header.hash_key):
            raise StateError("running totals: written with another hash function")
        return cls(
            header.hash_key,
            np.frombuffer(content, np.uint64, n, start).copy(),
            np.frombuffer(content, np.uint64, n, start + 8 * n).copy(),
            np.frombuffer(content, np.float64, n, start + 16 * n).copy(),
            np.frombuffer(content, np.int64, n, start + 24 * n).copy(),
        )


class _Header(msgspec.Struct):
    hash_key: HashKey
    series: int
    probe: tuple[int, int]


def _probe(hash_key: HashKey) -> tuple[int, int]:
    high, low = np.zeros(1, np.uint64), np.zeros(1, np.uint64)
    text = np.frombuffer(_PROBE, np.uint8)
    one = np.zeros(1, np.uint32)
    length = np.array([len(text)], np.uint32)
    label_digests(text, np.zeros(1, np.uint64), length, one, 1, np.array(hash_key, np.uint64), high, low)
    return int(high[0]), int(low[0])


class RunningTotals:
    """The live totals. Used by one thread at a time; memory grows only once a delta series is seen."""

    def __init__(self, restored: TotalsCheckpoint | None = None) -> None:
        self.restore(restored or TotalsCheckpoint.empty())

    def restore(self, checkpoint: TotalsCheckpoint) -> None:
        """Forget everything and continue from a checkpoint."""
        order = np.argsort(checkpoint.high, kind="stable")
        self._restored = TotalsCheckpoint(
            checkpoint.hash_key,
            checkpoint.high[order],
            checkpoint.low[order],
            checkpoint.totals[order],
            checkpoint.ends[order],
        )
        self._unclaimed = np.ones(len(checkpoint), np.bool_)
        self._key = np.array(checkpoint.hash_key, np.uint64)
        self.totals = np.zeros(0)
        """float64[states], by sid."""
        self.ends = np.zeros(0, np.int64)
        """int64[states], by sid."""
        self._claimed = np.zeros(0, np.uint32)
        self._high = np.zeros(0, np.uint64)
        self._low = np.zeros(0, np.uint64)
        self._fresh = np.zeros(0, np.uint32)

    def claim(self, sids: NDArray[np.uint32], series: SeriesView) -> None:
        """Prepare `totals` and `ends` for a frame with these sids; restored totals find their series here."""
        kinds, generations = series.kinds, series.generations
        if not len(self.totals) and not np.any(kinds.take(sids, mode="clip") & DELTA):
            return
        if len(self.totals) < len(kinds):
            self._grow(max(len(kinds), int(len(self.totals) * _GROWTH)))
        if len(self._fresh) < len(sids):
            self._fresh = np.zeros(len(sids), np.uint32)
        found = claim_deltas(sids, kinds, generations, self._claimed, self.totals, self.ends, self._fresh)
        if not found:
            return
        fresh = self._fresh[:found]
        for blobs in blobs_of(series, fresh):
            n = len(blobs.lengths)
            high, low = np.zeros(n, np.uint64), np.zeros(n, np.uint64)
            label_digests(blobs.area, blobs.begins, blobs.lengths, blobs.rows, n, self._key, high, low)
            of_piece = fresh[blobs.first : blobs.first + n]
            self._high[of_piece], self._low[of_piece] = high, low
        if len(self._restored):
            self._take_up(fresh.astype(np.int64))

    def checkpoint(self, forget_before_ms: int) -> TotalsCheckpoint:
        """A copy of all totals whose last interval ended at or after `forget_before_ms`."""
        live = np.flatnonzero((self._claimed != 0) & (self.ends >= forget_before_ms))
        kept = np.flatnonzero(self._unclaimed & (self._restored.ends >= forget_before_ms))
        old = self._restored
        high = np.concatenate([self._high[live], old.high[kept]])
        low = np.concatenate([self._low[live], old.low[kept]])
        return TotalsCheckpoint(
            old.hash_key,
            high,
            low,
            np.concatenate([self.totals[live], old.totals[kept]]),
            np.concatenate([self.ends[live], old.ends[kept]]),
        )

    def __len__(self) -> int:
        """Delta series known, restored ones that were not seen again included."""
        return int(np.count_nonzero(self._claimed)) + int(np.count_nonzero(self._unclaimed))

    def _take_up(self, sids: NDArray[np.int64]) -> None:
        """Give fresh sids the totals that were restored for their digests. Equal high halves are told apart by low."""
        old = self._restored
        high, low = self._high[sids], self._low[sids]
        at = np.searchsorted(old.high, high)
        pending = np.arange(len(sids))
        while len(pending):
            pending = pending[at[pending] < len(old)]
            pending = pending[old.high[at[pending]] == high[pending]]
            same = old.low[at[pending]] == low[pending]
            hit, place = sids[pending[same]], at[pending[same]]
            self.totals[hit] = old.totals[place]
            self.ends[hit] = old.ends[place]
            self._unclaimed[place] = False
            pending = pending[~same]
            at[pending] += 1

    def _grow(self, states: int) -> None:
        for name in ("totals", "ends", "_claimed", "_high", "_low"):
            old = getattr(self, name)
            new = np.zeros(states, old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)
