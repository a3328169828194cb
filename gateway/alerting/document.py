"""A YAML document read strictly: every value with its line, every key either understood or refused.

`Section` walks one mapping; the reader takes the keys it knows and calls `finish`, which refuses what is left. A key
can thus never be ignored silently. Scalars are read from their text, not from YAML's guess of a type, so that `09:00`
stays a time of day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import yaml

from gateway.alerting.moments import parse_duration
from gateway.errors import ConfigError
from gateway.settings_types import Secret

T = TypeVar("T")
_TRUE = frozenset({"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"})
_FALSE = frozenset({"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"})


MAX_NESTED: Final = 100
"""Levels of lists and mappings."""


class Value:
    """One node of the document, with the name of the file and the path of keys to it."""

    def __init__(self, node: yaml.Node, source: str, path: str, hidden: list[yaml.Node] | None = None) -> None:
        self.node, self.source, self.path = node, source, path
        self.hidden: list[yaml.Node] = [] if hidden is None else hidden
        """Scalars of the whole document that hold secrets, in order of reading."""

    @property
    def line(self) -> int:
        """Counted from 1."""
        return int(self.node.start_mark.line) + 1

    def refuse(self, problem: str, expected: str = "") -> ConfigError:
        """The error to raise about this value."""
        return ConfigError(problem, source=f"{self.source}:{self.line}", key=self.path, expected=expected)

    @property
    def empty(self) -> bool:
        """Whether nothing stands after the colon."""
        return (
            isinstance(self.node, yaml.ScalarNode) and self.node.style is None and self.node.value in ("", "~", "null")
        )

    def text(self) -> str:
        """A scalar as it is written."""
        if not isinstance(self.node, yaml.ScalarNode):
            raise self.refuse("a list or mapping stands where one value belongs", "a string")
        return "" if self.empty else str(self.node.value)

    def secret(self) -> Secret:
        """A scalar that is never shown; `redact` hides it in the document's text."""
        self.hidden.append(self.node)
        return Secret(self.text())

    def whole(self) -> int:
        """An integer."""
        try:
            return int(self.text())
        except ValueError:
            raise self.refuse(f'"{self.text()}" is not a whole number', "for example 10") from None

    def boolean(self) -> bool:
        """true or false."""
        if self.text() in _TRUE:
            return True
        if self.text() in _FALSE:
            return False
        raise self.refuse(f'"{self.text()}" is not a boolean', "true or false")

    def duration(self) -> int:
        """A Prometheus duration in nanoseconds."""
        return self.parse(parse_duration)

    def parse(self, reader: Callable[[str], T]) -> T:
        """The text through a reader that raises ValueError."""
        try:
            return reader(self.text())
        except ValueError as error:
            raise self.refuse(str(error)) from None

    def items(self) -> list[Value]:
        """The entries of a list; nothing counts as an empty one."""
        if self.empty:
            return []
        if not isinstance(self.node, yaml.SequenceNode):
            raise self.refuse("one value stands where a list belongs", "a list")
        return [Value(node, self.source, f"{self.path}[{i}]", self.hidden) for i, node in enumerate(self.node.value)]

    def section(self) -> Section:
        """The mapping below; nothing counts as an empty one."""
        return Section(self)

    def texts(self) -> dict[str, str]:
        """A mapping of strings to strings."""
        return {key: value.text() for key, value in self.section().rest()}


class Section:
    """One mapping whose keys are taken one by one."""

    def __init__(self, value: Value) -> None:
        self.value = value
        self._left: dict[str, Value] = {}
        if not value.empty:
            if not isinstance(value.node, yaml.MappingNode):
                raise value.refuse("a mapping is expected here", "key: value")
            for key, below in _pairs(value, value.node):
                self._left[key] = below

    def take(self, key: str) -> Value | None:
        """The value of a key, once; None if it is absent."""
        return self._left.pop(key, None)

    def must(self, key: str) -> Value:
        """The value of a key that may not be absent."""
        value = self.take(key)
        if value is None:
            raise self.value.refuse(f"{key} is missing", f"{key}: …")
        return value

    def text(self, key: str, default: str = "") -> str:
        """A string key."""
        value = self.take(key)
        return default if value is None else value.text()

    def secret(self, key: str) -> Secret:
        """A secret, given as `key` or as `key_file`, the path of a file that holds it; empty if neither is given."""
        value, path = self.take(key), self.take(f"{key}_file")
        if value is not None and path is not None:
            raise path.refuse(f"at most one of {key} and {key}_file may be given")
        if path is not None:
            return path.parse(lambda name: Secret.parse({"file": name}))
        return Secret("") if value is None else value.secret()

    def boolean(self, key: str, default: bool) -> bool:
        """A boolean key."""
        value = self.take(key)
        return default if value is None else value.boolean()

    def duration(self, key: str, default: int) -> int:
        """A duration key, nanoseconds."""
        value = self.take(key)
        return default if value is None else value.duration()

    def items(self, key: str) -> list[Value]:
        """A list key; absent is empty."""
        value = self.take(key)
        return [] if value is None else value.items()

    def rest(self) -> Iterator[tuple[str, Value]]:
        """Every key not taken yet, taken now."""
        while self._left:
            key = next(iter(self._left))
            yield key, self._left.pop(key)

    def finish(self, hint: str = "") -> None:
        """Raises ConfigError about the first key that nobody took."""
        for key, value in self._left.items():
            problem = f'the key "{key}" is not supported here'
            raise ConfigError(problem, source=f"{value.source}:{value.line}", key=value.path, expected=hint)


def _pairs(owner: Value, node: yaml.MappingNode) -> Iterator[tuple[str, Value]]:
    seen: set[str] = set()
    merged: list[yaml.MappingNode] = []
    for key_node, value_node in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            nodes = value_node.value if isinstance(value_node, yaml.SequenceNode) else [value_node]
            merged.extend(n for n in nodes if isinstance(n, yaml.MappingNode))
            continue
        if not isinstance(key_node, yaml.ScalarNode):
            raise owner.refuse("a key must be one word")
        key = str(key_node.value)
        value = Value(value_node, owner.source, f"{owner.path}.{key}" if owner.path else key, owner.hidden)
        if key in seen:
            raise value.refuse(f'the key "{key}" is given twice')
        seen.add(key)
        yield key, value
    for mapping in merged:
        for key, value in _pairs(owner, mapping):
            if key not in seen:
                seen.add(key)
                yield key, value


def redact(text: str, root: Value) -> str:
    """The document's text with every secret that was read replaced by `<secret>`."""
    spans = sorted(
        {(n.start_mark.index, n.end_mark.index) for n in root.hidden if n.end_mark.index > n.start_mark.index}
    )
    for start, end in reversed(spans):
        text = f"{text[:start]}<secret>{text[end:]}"
    return text


def read_document(text: str, source: str) -> Value:
    """The root of a YAML text; raises ConfigError with the line."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 0
        raise ConfigError(f"not YAML: {error.problem}", source=f"{source}:{line}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"not YAML: {error}", source=source) from error
    except RecursionError as error:
        raise ConfigError("nested too deeply", source=source, expected=f"at most {MAX_NESTED} levels") from error
    if node is None:
        raise ConfigError("the file is empty", source=source, expected="route and receivers")
    _check_nesting(node, source, 0, {})
    return Value(node, source, "")


def _check_nesting(node: yaml.Node, source: str, depth: int, seen: dict[int, int]) -> None:
    """Refuses what is nested more deeply than MAX_NESTED, and thereby an alias inside of what it stands for. A node is
    looked at again only at a greater depth, so that aliases of aliases cost little."""
    if depth > MAX_NESTED:
        raise ConfigError(
            "nested too deeply, or in itself",
            source=f"{source}:{node.start_mark.line + 1}",
            expected=f"at most {MAX_NESTED} levels",
        )
    if isinstance(node, yaml.ScalarNode) or seen.get(id(node), -1) >= depth:
        return
    seen[id(node)] = depth
    for value in node.value:
        for below in value if isinstance(value, tuple) else (value,):
            _check_nesting(below, source, depth + 1, seen)
