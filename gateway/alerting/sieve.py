"""Matchers over many label sets: what one value decides is remembered, and most matchers are never asked.

A `Sieve` is one conjunction of matchers; it remembers, per matcher, which values met it. A `SieveIndex` holds many
named conjunctions and finds those that match a label set; conjunctions with an equality are found by its value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Protocol, TypeVar

from gateway.alerting.matcher import Matcher, all_match

REMEMBERED: Final = 100_000
"""Values remembered per matcher."""
_REMEMBERED_IN_ALL: Final = 1_000_000
"""By an index, whose matchers share them."""


class Labelled(Protocol):
    """Something with labels."""

    @property
    def labels(self) -> Mapping[str, str]:
        """They."""
        ...


L = TypeVar("L", bound=Labelled)

Seal = tuple[tuple[str, int], ...]
"""What stands in an index: the id of each, and when it was last changed (ns)."""


class Sieve:
    """See the head of the file."""

    def __init__(self, matchers: Iterable[Matcher], remembered: int = REMEMBERED) -> None:
        """remembered: values, per matcher."""
        matchers, self._most = tuple(matchers), remembered
        self._equal = [(m.name, m.value) for m in matchers if m.is_equal and not m.is_regex]
        self._parts: list[tuple[str, dict[str, bool], Matcher]] = [
            (m.name, {}, m) for m in matchers if not m.is_equal or m.is_regex
        ]

    def passes(self, labels: Mapping[str, str]) -> bool:
        """Whether all matchers are met."""
        for name, value in self._equal:
            if labels.get(name, "") != value:
                return False
        for name, remembered, matcher in self._parts:
            met = remembered.get(labels.get(name, ""))
            if met is None:
                met = self._ask(matcher, remembered, labels)
            if not met:
                return False
        return True

    def among(self, items: list[L]) -> list[L]:
        """Those whose labels pass, in order."""
        for name, value in self._equal:
            items = [item for item in items if item.labels.get(name, "") == value]
        for name, remembered, matcher in self._parts:
            items = [
                item
                for item in items
                if (met := remembered.get(item.labels.get(name, "")))
                or (met is None and self._ask(matcher, remembered, item.labels))
            ]
        return items

    def _ask(self, matcher: Matcher, remembered: dict[str, bool], labels: Mapping[str, str]) -> bool:
        if len(remembered) >= self._most:
            remembered.clear()
        met = remembered[labels.get(matcher.name, "")] = matcher.matches(labels)
        return met


class SieveIndex:
    """See the head of the file."""

    def __init__(self, named: Iterable[tuple[str, tuple[Matcher, ...]]]) -> None:
        self._by_value: dict[str, dict[str, list[tuple[str, tuple[Matcher, ...]]]]] = {}
        others: list[tuple[str, tuple[Matcher, ...]]] = []
        for name, matchers in named:
            equality = next((m for m in matchers if m.is_equal and not m.is_regex and m.value), None)
            if equality is None:
                others.append((name, matchers))
            else:
                rest = tuple(m for m in matchers if m is not equality)
                self._by_value.setdefault(equality.name, {}).setdefault(equality.value, []).append((name, rest))
        asked = sum(len(matchers) for _, matchers in others)
        remembered = min(REMEMBERED, _REMEMBERED_IN_ALL // max(asked, 1))
        self._others = [(name, Sieve(matchers, remembered)) for name, matchers in others]

    def __bool__(self) -> bool:
        return bool(self._by_value or self._others)

    def meets(self, labels: Mapping[str, str]) -> bool:
        """Whether the label set meets any of them."""
        for label, values in self._by_value.items():
            for _, rest in values.get(labels.get(label, ""), ()):
                if not rest or all_match(rest, labels):
                    return True
        return bool(self._others) and any(sieve.passes(labels) for _, sieve in self._others)

    def matching(self, labels: Mapping[str, str]) -> list[str]:
        """Names of the conjunctions that the label set meets, sorted."""
        found: list[str] = []
        for label, values in self._by_value.items():
            for name, rest in values.get(labels.get(label, ""), ()):
                if not rest or all_match(rest, labels):
                    found.append(name)
        for name, sieve in self._others:
            if sieve.passes(labels):
                found.append(name)
        if len(found) > 1:
            found.sort()
        return found
