"""Matchers: `name="value"`, `!=`, `=~`, `!~` over label sets.

Two ways of writing them are read: the classic one (`severity=~"warn|crit"`, quotes optional) and the UTF-8 one
(`"label with space"="x"`, `{a="b", c!="d"}`). A label that is absent has the value "". Regular expressions are
anchored on both sides and are RE2's, as Alertmanager's are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

import msgspec

from gateway.errors import RequestError
from gateway.telemetry.regular_expression import RegularExpression

_CLASSIC = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)\s*(=~|!~|!=|=)\s*((?s:.*))")
_UTF8 = re.compile(
    r'(?:"((?:[^"\\]|\\.)*)"|([^\s"=!~{}(),\\`\']+))\s*(=~|!~|!=|=)\s*(?:"((?:[^"\\]|\\.)*)"|([^\s"={}(),\\`\']*))'
)
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}
MAX_PATTERN: Final = 4096
MAX_MATCHERS: Final = 128


class Matcher(msgspec.Struct, frozen=True, order=True):
    """One condition on one label."""

    name: str
    value: str
    is_regex: bool = False
    is_equal: bool = True

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the label set meets the condition."""
        value = labels.get(self.name, "")
        if self.is_regex:
            return pattern(self.value).fullmatch(value) == self.is_equal
        return (value == self.value) == self.is_equal

    @property
    def operator(self) -> str:
        """The operator as it is written."""
        return ("=~" if self.is_equal else "!~") if self.is_regex else ("=" if self.is_equal else "!=")

    def __str__(self) -> str:
        escaped = self.value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')
        name = self.name if re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", self.name) else f'"{self.name}"'
        return f'{name}{self.operator}"{escaped}"'


@lru_cache(maxsize=4096)
def pattern(text: str) -> RegularExpression:
    """The compiled expression; raises ValueError with the reason."""
    if len(text) > MAX_PATTERN:
        raise ValueError(f"regular expression is longer than {MAX_PATTERN} characters")
    try:
        return RegularExpression(text, dot_matches_line_break=False)
    except RequestError as error:
        raise ValueError(f'regular expression "{text}" cannot be read: {error}') from error


def make(name: str, value: str, *, is_regex: bool = False, is_equal: bool = True) -> Matcher:
    """A matcher whose expression is known to compile; raises ValueError."""
    if not name:
        raise ValueError("a matcher needs a label name")
    if is_regex:
        pattern(value)
    return Matcher(name, value, is_regex, is_equal)


def parse_matcher(text: str) -> Matcher:
    """One matcher in classic or UTF-8 writing; raises ValueError."""
    text = text.strip()
    if not text.startswith('"'):
        match = _CLASSIC.fullmatch(text)
        if match is not None:
            value = match[3]
            quoted = len(value) >= 2 and value.startswith('"') and value.endswith('"') and not _ends_escaped(value[:-1])
            if value.startswith('"') and not quoted:
                raise ValueError(f"matcher value contains an unescaped double quote: {text}")
            body = value[1:-1] if quoted else value
            if re.search(r'(?<!\\)(?:\\\\)*"', body):
                raise ValueError(f"matcher value contains an unescaped double quote: {text}")
            return make(match[1], _unescape(body), is_regex="~" in match[2], is_equal=match[2].startswith("="))
    match = _UTF8.fullmatch(text)
    if match is None:
        raise ValueError(f"bad matcher format: {text}")
    name = match[1] if match[1] is not None else match[2]
    value = match[4] if match[4] is not None else match[5]
    return make(_unescape(name), _unescape(value), is_regex="~" in match[3], is_equal=match[3].startswith("="))


def parse_matchers(text: str) -> tuple[Matcher, ...]:
    """A comma-separated list, in braces or not: `{a="b", c=~"d"}`; raises ValueError."""
    body = text.strip()
    if body.startswith("{"):
        if not body.endswith("}"):
            raise ValueError(f"bad matcher format: {text} has no closing brace")
        body = body[1:-1]
    parts: list[str] = []
    current: list[str] = []
    quoted = escaped = False
    for letter in body:
        if escaped:
            escaped = False
        elif letter == "\\":
            escaped = True
        elif letter == '"':
            quoted = not quoted
        elif letter == "," and not quoted:
            parts.append("".join(current))
            current = []
            continue
        current.append(letter)
    if quoted:
        raise ValueError(f"bad matcher format: {text} has an open quote")
    parts.append("".join(current))
    if parts and not parts[-1].strip():
        parts.pop()
    return tuple(parse_matcher(part) for part in parts)


def parse_filter(text: str) -> tuple[Matcher, ...]:
    """What a client asks for: one matcher in the classic writing, as Alertmanager 0.25 reads it (`a=b,c` has the value
    "b,c"), else a list of them, as later ones do. Raises ValueError."""
    try:
        return (parse_matcher(text),)
    except ValueError:
        found = parse_matchers(text)
        if not found:
            raise
        return found


def all_match(matchers: Iterable[Matcher], labels: Mapping[str, str]) -> bool:
    """Whether every matcher holds."""
    return all(matcher.matches(labels) for matcher in matchers)


def excess(matchers: Sequence[Matcher]) -> str:
    """Why these are more than anybody writes by hand and every alert should pay for, or ""."""
    if len(matchers) > MAX_MATCHERS:
        return f"more than {MAX_MATCHERS} matchers"
    if any(len(text) > MAX_PATTERN for matcher in matchers for text in (matcher.name, matcher.value)):
        return f"a matcher is longer than {MAX_PATTERN} characters"
    return ""


def render(matchers: Iterable[Matcher]) -> str:
    """`{a="b",c=~"d"}`, in sorted order."""
    return "{" + ",".join(str(m) for m in sorted(matchers, key=order)) + "}"


def order(matcher: Matcher) -> tuple[str, str, bool, bool]:
    """The order of matchers in a route key."""
    return matcher.name, matcher.value, matcher.is_regex, not matcher.is_equal


def _ends_escaped(text: str) -> bool:
    return (len(text) - len(text.rstrip("\\"))) % 2 == 1


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], "\\" + m[1]), text, flags=re.DOTALL)
