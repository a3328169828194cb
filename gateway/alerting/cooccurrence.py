"""Co-occurrence: which alerts fire together more often than chance would have it, and what people said about it.

Rules of the subject:
  * Alerts are counted by key (name and service, see `key_of`); a key counts once a window, however many label sets of
    it fire. Two keys co-occur if they fire within one window of each other.
  * With n(a) and n(b) occurrences within the time T, chance makes n(a)·n(b)·2w/T co-occurrences. The logarithm of what
    was counted over that is their pointwise mutual information; divided by -log p(a,b) it lies between -1 and 1
    (Bouma 2009), and it is discounted where the counts are small (Pantel and Lin 2002).
  * Beyond that, a pair has a weight that people move by merging and splitting (`regrouping` says by how much): log odds
    that are added to all other evidence.
  * Counts fade with HALF_LIFE, so that a fleet that changes is learned anew; what people said does not fade.
  * Memory is bounded: MAX_KEYS and MAX_PAIRS; the faintest give way, a person's word last. While more than MAX_RECENT
    keys fire within one window nothing is counted: a storm says nothing about pairs.

Sources: G. Bouma, "Normalized (Pointwise) Mutual Information in Collocation Extraction", 2009; P. Pantel and D. Lin,
"Discovering Word Senses from Text", KDD 2002.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from gateway.alerting.alert import ALERT_NAME
from gateway.alerting.anomaly_alert import NAME
from gateway.alerting.moments import SECOND
from gateway.telemetry.service_labels import service_of

HALF_LIFE: Final = 30 * 86400 * SECOND
MAX_KEYS: Final = 5_000
MAX_PAIRS: Final = 20_000
MAX_RECENT: Final = 64
MAX_PARTNERS: Final = 16
MAX_WEIGHT: Final = 8.0
_FULL: Final = 1.1
"""A full table is cut back by a tenth at once, so that cutting is rare."""


class KeyCount(msgspec.Struct):
    """How often a key fired; `at` is when the number was last true (it fades since)."""

    count: float = 0.0
    at: int = 0


class PairCount(msgspec.Struct):
    """How often two keys fired together, and what people said of them."""

    count: float = 0.0
    at: int = 0
    weight: float = 0.0
    """Log odds, MAX_WEIGHT at most."""
    same: int = 0
    """How often a merge moved it."""
    different: int = 0
    """How often a split moved it."""


def key_of(labels: Mapping[str, str]) -> str:
    """`name@service`; anomalies of the gateway, which share one name, are told apart by their metric."""
    name = labels.get(ALERT_NAME, "")
    if name == NAME:
        name = f"{name}:{labels.get('metric', '')}"
    return f"{name}@{service_of(labels)}"


def pair_of(one: str, other: str) -> tuple[str, str]:
    """Two keys in the order in which their pair is kept."""
    return (one, other) if one <= other else (other, one)


class Cooccurrence:
    """Counts and opinions. `window` is nanoseconds. `changed_keys` and `changed_pairs` are for whoever persists it."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._keys: dict[str, KeyCount] = {}
        self._pairs: dict[tuple[str, str], PairCount] = {}
        self._partners: dict[str, set[str]] = {}
        self._recent: deque[tuple[int, str]] = deque()
        self._recent_keys: dict[str, int] = {}
        self.since = 0
        """When counting began, nanoseconds; 0 before the first alert."""
        self.changed_keys: set[str] = set()
        self.changed_pairs: set[tuple[str, str]] = set()

    # Counting

    def see(self, key: str, now: int) -> None:
        """An alert of this key began to fire."""
        if not self.since:
            self.since = now
        while self._recent and self._recent[0][0] <= now - self._window:
            moment, name = self._recent.popleft()
            if self._recent_keys.get(name) == moment:
                del self._recent_keys[name]
        if key in self._recent_keys:
            return
        if len(self._recent_keys) <= MAX_RECENT:
            self._add(key, now)
            for other in self._recent_keys:
                self._add_pair(key, other, now)
        self._recent.append((now, key))
        self._recent_keys[key] = now

    def _add(self, key: str, now: int) -> None:
        known = self._keys.setdefault(key, KeyCount(at=now))
        known.count, known.at = _faded(known.count, known.at, now) + 1.0, now
        self.changed_keys.add(key)
        if len(self._keys) > MAX_KEYS * _FULL:
            faint = sorted(self._keys, key=lambda name: _faded(self._keys[name].count, self._keys[name].at, now))
            for name in faint[: len(self._keys) - MAX_KEYS]:
                del self._keys[name]
                self.changed_keys.add(name)

    def _add_pair(self, one: str, other: str, now: int) -> None:
        pair = pair_of(one, other)
        known = self._pair(pair, now)
        known.count += 1.0
        self.changed_pairs.add(pair)

    def _pair(self, pair: tuple[str, str], now: int) -> PairCount:
        known = self._pairs.get(pair)
        if known is None:
            if len(self._pairs) >= MAX_PAIRS * _FULL:
                self._cut(now)
            known = self._pairs[pair] = PairCount(at=now)
            self._link(pair)
        known.count, known.at = _faded(known.count, known.at, now), now
        return known

    def _link(self, pair: tuple[str, str]) -> None:
        self._partners.setdefault(pair[0], set()).add(pair[1])
        self._partners.setdefault(pair[1], set()).add(pair[0])

    def _cut(self, now: int) -> None:
        def weight(pair: tuple[str, str]) -> tuple[float, float]:
            known = self._pairs[pair]
            return abs(known.weight), _faded(known.count, known.at, now)

        for pair in sorted(self._pairs, key=weight)[: len(self._pairs) - MAX_PAIRS]:
            self._drop(pair)

    def _drop(self, pair: tuple[str, str]) -> None:
        del self._pairs[pair]
        for one, other in (pair, pair[::-1]):
            found = self._partners.get(one)
            if found is not None:
                found.discard(other)
                if not found:
                    del self._partners[one]
        self.changed_pairs.add(pair)

    # What people say

    def teach(self, one: str, other: str, change: float, now: int, *, acts: int = 1) -> None:
        """Moves a pair's weight: up for a merge, down for a split; `acts` is -1 to take it back."""
        pair = pair_of(one, other)
        known = self._pair(pair, now)
        known.weight = max(-MAX_WEIGHT, min(MAX_WEIGHT, known.weight + change))
        if change * acts > 0.0:
            known.same = max(0, known.same + acts)
        else:
            known.different = max(0, known.different + acts)
        self.changed_pairs.add(pair)

    # Asking

    def lift(self, one: str, other: str, now: int) -> float:
        """Discounted, normalised mutual information of two keys, -1 to 1; 0 where nothing is known."""
        known = self._pairs.get(pair_of(one, other))
        n_a, n_b = self._count(one, now), self._count(other, now)
        if known is None or not n_a or not n_b:
            return 0.0
        together = _faded(known.count, known.at, now)
        if together <= 0.01:
            return 0.0
        windows = max(self._span(now) / (2.0 * self._window), 2.0 * max(n_a, n_b, together))
        information = math.log(together * windows / (n_a * n_b))
        normalised = information / math.log(windows / together)
        least = min(n_a, n_b)
        return max(-1.0, min(1.0, normalised)) * (together / (together + 1.0)) * (least / (least + 1.0))

    def weight(self, one: str, other: str) -> float:
        """What people taught of a pair, log odds; 0 where they said nothing."""
        known = self._pairs.get(pair_of(one, other))
        return 0.0 if known is None else known.weight

    def pair(self, one: str, other: str) -> PairCount | None:
        """What is known of a pair."""
        return self._pairs.get(pair_of(one, other))

    def partners(self, key: str) -> list[str]:
        """Keys that this one fired with or was judged with, at most MAX_PARTNERS, the most frequent first."""
        found = self._partners.get(key, ())

        def weight(other: str) -> tuple[float, str]:
            known = self._pairs[pair_of(key, other)]
            return -(known.weight + known.count), other

        return heapq.nsmallest(MAX_PARTNERS, found, key=weight)

    def occurrences(self, key: str, now: int) -> float:
        """How often the key fired, faded."""
        return self._count(key, now)

    def _count(self, key: str, now: int) -> float:
        known = self._keys.get(key)
        return 0.0 if known is None else _faded(known.count, known.at, now)

    def _span(self, now: int) -> float:
        """The time T that counts refer to, with fading: what is older weighs less."""
        age = max(now - self.since, 0)
        return HALF_LIFE / math.log(2.0) * (1.0 - math.exp2(-age / HALF_LIFE))

    # Keeping

    def load_key(self, key: str, known: KeyCount) -> None:
        """At start."""
        self._keys[key] = known

    def load_pair(self, pair: tuple[str, str], known: PairCount) -> None:
        """At start."""
        self._pairs[pair] = known
        self._link(pair)

    def key_record(self, key: str) -> KeyCount | None:
        """What is to be kept of a key; None if it is gone."""
        return self._keys.get(key)

    def pair_record(self, pair: tuple[str, str]) -> PairCount | None:
        """What is to be kept of a pair; None if it is gone."""
        return self._pairs.get(pair)

    def __len__(self) -> int:
        return len(self._pairs)

    def __iter__(self) -> Iterator[tuple[tuple[str, str], PairCount]]:
        return iter(self._pairs.items())


def _faded(count: float, at: int, now: int) -> float:
    return count * math.exp2(-max(now - at, 0) / HALF_LIFE) if count else 0.0
