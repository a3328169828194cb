"""The routing tree: which receivers hear of a label set, grouped how, with which waits.

Rules of the subject (Alertmanager `dispatch.Route`):
  * An alert enters at the root and goes to the first child that matches, depth first; `continue` lets it go to the
    following siblings as well. A node none of whose children matches takes the alert itself.
  * A child inherits receiver, group_by and waits from its parent; mute and active intervals and `continue` are its own.
  * The key of a route is its parent's key, "/" and its matchers; the key of a group is the route's key, ":" and the
    group's labels. These texts are part of the wire (webhook `groupKey`) and of the notification log.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Final

import msgspec

from gateway.alerting.document import Section, Value
from gateway.alerting.matcher import Matcher, all_match, make, order, parse_matchers, render
from gateway.alerting.moments import SECOND

ALL_LABELS: Final = "..."


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One node; every inherited value is filled in. Durations in nanoseconds."""

    key: str
    receiver: str
    matchers: tuple[Matcher, ...] = ()
    group_by: tuple[str, ...] = ()
    group_by_all: bool = False
    group_wait: int = 30 * SECOND
    group_interval: int = 300 * SECOND
    repeat_interval: int = 4 * 3600 * SECOND
    mute_intervals: tuple[str, ...] = ()
    active_intervals: tuple[str, ...] = ()
    goes_on: bool = False
    children: tuple[Route, ...] = ()

    def matching(self, labels: Mapping[str, str]) -> list[Route]:
        """The nodes that take the label set; empty only if this node itself does not match."""
        if not all_match(self.matchers, labels):
            return []
        taken: list[Route] = []
        for child in self.children:
            found = child.matching(labels)
            taken.extend(found)
            if found and not child.goes_on:
                break
        return taken or [self]

    def group_labels(self, labels: Mapping[str, str]) -> dict[str, str]:
        """The part of the labels that this route groups by."""
        if self.group_by_all:
            return dict(labels)
        return {name: labels[name] for name in sorted(self.group_by) if name in labels}

    def group_key(self, group_labels: Mapping[str, str]) -> str:
        """The identity of a group, over restarts and reloads."""
        pairs = ", ".join(f"{name}={quote(value)}" for name, value in sorted(group_labels.items()))
        return f"{self.key}:{{{pairs}}}"

    def walk(self) -> Iterator[Route]:
        """This node and all below it."""
        yield self
        for child in self.children:
            yield from child.walk()


def quote(text: str) -> str:
    """A string in double quotes, as Go's %q writes printable text."""
    escaped = (
        text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t").replace("\r", "\\r")
    )
    return f'"{escaped}"'


def read_route(value: Value, parent: Route | None) -> Route:
    """A node and its children from the document; raises ConfigError."""
    section = value.section()
    matchers = read_matchers(section, "match", "match_re", "matchers")
    if parent is None:
        _check_root(value, section, matchers)
    key = render(matchers) if parent is None else f"{parent.key}/{render(matchers)}"
    base = parent or Route(key=key, receiver="")
    group_by, group_all = base.group_by, base.group_by_all
    given = section.take("group_by")
    if given is not None:
        group_by, group_all = _group_by(given)
    waits = {
        name: section.duration(name, getattr(base, name))
        for name in ("group_wait", "group_interval", "repeat_interval")
    }
    if waits["group_interval"] == 0 or waits["repeat_interval"] == 0:
        raise value.refuse("group_interval and repeat_interval cannot be zero")
    node = Route(
        key=key,
        receiver=section.text("receiver") or base.receiver,
        matchers=matchers,
        group_by=group_by,
        group_by_all=group_all,
        mute_intervals=tuple(item.text() for item in section.items("mute_time_intervals")),
        active_intervals=tuple(item.text() for item in section.items("active_time_intervals")),
        goes_on=section.boolean("continue", False),
        group_wait=waits["group_wait"],
        group_interval=waits["group_interval"],
        repeat_interval=waits["repeat_interval"],
    )
    children = tuple(read_route(item, node) for item in section.items("routes"))
    section.finish("receiver, group_by, matchers, continue, group_wait, group_interval, repeat_interval, routes, …")
    return msgspec.structs.replace(node, children=children)


def read_matchers(section: Section, equal_key: str, regex_key: str, list_key: str) -> tuple[Matcher, ...]:
    """The matchers of a section in the old (two mappings) and the new (one list) writing together, sorted."""
    found: list[Matcher] = []
    for key, is_regex in ((equal_key, False), (regex_key, True)):
        value = section.take(key)
        if value is not None:
            for name, item in value.section().rest():
                found.append(item.parse(partial(_old_matcher, name, is_regex)))
    for item in section.items(list_key):
        found.extend(item.parse(parse_matchers))
    return tuple(sorted(found, key=order))


def _old_matcher(name: str, is_regex: bool, text: str) -> Matcher:
    """An expression of the old writing is anchored in words, as Alertmanager shows it in keys of groups."""
    make(name, text, is_regex=is_regex)
    return make(name, f"^(?:{text})$", is_regex=True) if is_regex else make(name, text)


def _check_root(value: Value, section: Section, matchers: tuple[Matcher, ...]) -> None:
    if matchers:
        raise value.refuse("the root route must not have any matchers")
    for key in ("mute_time_intervals", "active_time_intervals", "continue"):
        found = section.take(key)
        if found is not None and not found.empty and (key != "continue" or found.boolean()):
            raise found.refuse(f"the root route must not have {key}")


def _group_by(value: Value) -> tuple[tuple[str, ...], bool]:
    names: list[str] = []
    for item in value.items():
        name = item.text()
        if not name:
            raise item.refuse("an empty label name")
        if name in names:
            raise item.refuse(f'the label "{name}" is given twice')
        names.append(name)
    if ALL_LABELS in names:
        if len(names) > 1:
            raise value.refuse("labels beside the wildcard '...' make no sense")
        return (), True
    return tuple(names), False
