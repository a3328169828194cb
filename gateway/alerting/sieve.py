"""Matchers over many label sets: what one value decides is remembered, and most matchers are never asked.

A `Sieve` is one conjunction of matchers; it remembers, per matcher, which values met it. A `SieveIndex` holds many
named conjunctions and finds those that match a label set; conjunctions with an equality are found by its value.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.alerting.matcher import Matcher, all_match

REMEMBERED = 100_000
"""Values remembered per matcher."""


class Sieve:
    """See the head of the file."""

    def __init__(self, matchers: Iterable[Matcher]) -> None:
        self._parts: list[tuple[str, dict[str, bool], Matcher]] = [(m.name, {}, m) for m in matchers]

    def passes(self, labels: Mapping[str, str]) -> bool:
        """Whether all matchers are met."""
        for name, remembered, matcher in self._parts:
            value = labels.get(name, "")
            met = remembered.get(value)
            if met is None:
                if len(remembered) >= REMEMBERED:
                    remembered.clear()
                met = remembered[value] = matcher.matches(labels)
            if not met:
                return False
        return True


class SieveIndex:
    """See the head of the file."""

    def __init__(self, named: Iterable[tuple[str, tuple[Matcher, ...]]]) -> None:
        self._by_value: dict[str, dict[str, list[tuple[str, tuple[Matcher, ...]]]]] = {}
        self._others: list[tuple[str, Sieve]] = []
        for name, matchers in named:
            equality = next((m for m in matchers if m.is_equal and not m.is_regex and m.value), None)
            if equality is None:
                self._others.append((name, Sieve(matchers)))
            else:
                values = self._by_value.setdefault(equality.name, {})
                values.setdefault(equality.value, []).append((name, matchers))

    def matching(self, labels: Mapping[str, str]) -> list[str]:
        """Names of the conjunctions that the label set meets, sorted."""
        found: list[str] = []
        for label, values in self._by_value.items():
            value = labels.get(label)
            if value is not None and value in values:
                found += [name for name, matchers in values[value] if all_match(matchers, labels)]
        for name, sieve in self._others:
            if sieve.passes(labels):
                found.append(name)
        found.sort()
        return found
