"""Inhibition: while a source alert is active, the targets that share its `equal` labels are muted.

A label that is absent on both sides counts as equal. An alert that matches both sides of a rule is not inhibited by
another one that does (Alertmanager's rule against self-inhibition). Sources are indexed by their equal labels, so
that a question costs one look-up per rule whose target side matches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from gateway.alerting.alert import Alert
from gateway.alerting.document import Value
from gateway.alerting.matcher import Matcher, all_match
from gateway.alerting.moments import NEVER
from gateway.alerting.route import read_matchers


class InhibitRule(msgspec.Struct, frozen=True):
    """One rule."""

    sources: tuple[Matcher, ...]
    targets: tuple[Matcher, ...]
    equal: tuple[str, ...] = ()


def read_rule(value: Value) -> InhibitRule:
    """One entry of `inhibit_rules`; raises ConfigError."""
    section = value.section()
    rule = InhibitRule(
        sources=read_matchers(section, "source_match", "source_match_re", "source_matchers"),
        targets=read_matchers(section, "target_match", "target_match_re", "target_matchers"),
        equal=tuple(item.text() for item in section.items("equal")),
    )
    section.finish("source_matchers, target_matchers, equal")
    return rule


class Inhibitor:
    """The index of source alerts."""

    def __init__(self, rules: Sequence[InhibitRule]) -> None:
        self._rules = tuple(rules)
        self._sources: list[dict[tuple[str, ...], dict[str, Alert]]] = [{} for _ in rules]
        self.version = 0
        """Grows whenever a source comes, goes or has an earlier end."""
        self._next_end = 0

    def take(self, alert: Alert) -> None:
        """An alert is new or has changed."""
        for rule, index in zip(self._rules, self._sources, strict=True):
            if all_match(rule.sources, alert.labels):
                below = index.setdefault(_equal(rule, alert.labels), {})
                old = below.get(alert.fingerprint)
                below[alert.fingerprint] = alert
                if old is None or alert.ends < old.ends or old.ends <= alert.updated:
                    self.version += 1
                    self._next_end = min(self._next_end, alert.ends)

    def drop(self, alert: Alert) -> None:
        """An alert is forgotten."""
        for rule, index in zip(self._rules, self._sources, strict=True):
            key = _equal(rule, alert.labels)
            below = index.get(key)
            if below is not None and below.pop(alert.fingerprint, None) is not None:
                self.version += 1
                if not below:
                    del index[key]

    def inhibitors(self, labels: Mapping[str, str], own: str, now: int) -> list[str]:
        """Fingerprints of the active alerts that mute this label set, one per rule."""
        found: list[str] = []
        for rule, index in zip(self._rules, self._sources, strict=True):
            if not index or not all_match(rule.targets, labels):
                continue
            also_source = all_match(rule.sources, labels)
            for source in index.get(_equal(rule, labels), {}).values():
                if not source.active(now) or source.fingerprint == own:
                    continue
                if also_source and all_match(rule.targets, source.labels):
                    continue
                found.append(source.fingerprint)
                break
        return found

    def next_end(self, now: int) -> int:
        """A moment until which no active source ends by itself, or the very end of one; NEVER without sources."""
        if self._next_end <= now:
            ends = (a.ends for index in self._sources for below in index.values() for a in below.values())
            self._next_end = min((end for end in ends if end > now), default=NEVER)
        return self._next_end

    @property
    def rules(self) -> int:
        """Number of rules."""
        return len(self._rules)


def _equal(rule: InhibitRule, labels: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(labels.get(name, "") for name in rule.equal)
