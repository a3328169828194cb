"""Series selectors as PromQL writes them: `name{label="value",other=~"regex"}`.

Grammar (Prometheus, "Querying basics", instant vector selectors): an optional metric name, then optional braces with
matchers `label op "value"`, op one of = != =~ !~; regular expressions are anchored at both ends; a quoted string alone
inside the braces is a UTF-8 metric name (Prometheus 3). An empty text or `{}` matches every series.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import msgspec

from gateway.errors import RequestError
from gateway.telemetry.regular_expression import compile_expression

OPERATORS: Final = ("=~", "!~", "!=", "=")
_NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:.]*")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"|\'((?:[^\'\\]|\\.)*)\'')
_LITERAL: Final = r"(?:[^\\.^$*+?()\[\]{}|]|\\[^0-9A-Za-z])+"
_LITERALS: Final = re.compile(rf"{_LITERAL}(?:\|{_LITERAL})*")
"""Alternatives of plain characters and escaped punctuation."""
_ESCAPES: Final = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "'": "'"}


@dataclass(frozen=True, slots=True)
class LabelMatcher:
    """One condition on one label; an absent label counts as the empty string."""

    name: str
    operator: str
    value: str

    def matches(self, value: str) -> bool:
        """Whether a label's value satisfies this."""
        if self.operator == "=":
            return value == self.value
        if self.operator == "!=":
            return value != self.value
        found = compile_expression(self.value).fullmatch(value)
        return found if self.operator == "=~" else not found

    def values(self) -> list[str] | None:
        """The only values that satisfy this, where it names them: `=`, or `=~` with alternatives alone.

        None for others, and where an absent label would do as well.
        """
        if self.operator == "=":
            return [self.value] if self.value else None
        if self.operator != "=~" or not _LITERALS.fullmatch(self.value):
            return None
        return [re.sub(r"\\(.)", r"\1", one, flags=re.DOTALL) for one in re.findall(_LITERAL, self.value)]


def format_matcher(label: str, values: Iterable[str]) -> str:
    """A matcher of a label that has one of the values, as it stands inside of the braces."""
    name = label if _NAME.fullmatch(label) and "." not in label else _quoted(label)
    wanted = sorted(set(values))
    return (
        f"{name}={_quoted(wanted[0])}" if len(wanted) == 1 else f"{name}=~{_quoted('|'.join(map(re.escape, wanted)))}"
    )


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()


def parse_selector(text: str) -> tuple[LabelMatcher, ...]:
    """The matchers of a selector. Raises RequestError naming the place where it stops making sense."""
    rest, at = text.strip(), 0
    matchers: list[LabelMatcher] = []
    name = _NAME.match(rest)
    if name is not None:
        matchers.append(LabelMatcher("__name__", "=", name[0]))
        at = name.end()
    if at == len(rest):
        return tuple(matchers)
    if rest[at] != "{" or not rest.endswith("}"):
        raise _problem(text, at, 'expected name{label="value",…}')
    at += 1
    while rest[at] != "}":
        at = _skip_space(rest, at)
        if rest[at] in "\"'":
            value, at = _string(text, rest, at)
            after = _skip_space(rest, at)
            if rest[after] in ",}":
                matchers.append(LabelMatcher("__name__", "=", value))
                at = after + (rest[after] == ",")
                continue
            label = value
        else:
            found = _NAME.match(rest, at)
            if found is None:
                raise _problem(text, at, "expected a label name")
            label, at = found[0], found.end()
        at = _skip_space(rest, at)
        operator = next((o for o in OPERATORS if rest.startswith(o, at)), None)
        if operator is None:
            raise _problem(text, at, "expected one of = != =~ !~")
        value, at = _string(text, rest, _skip_space(rest, at + len(operator)))
        if "~" in operator:
            try:
                compile_expression(value)
            except RequestError as error:
                raise _problem(text, at, str(error)) from None
        matchers.append(LabelMatcher(label, operator, value))
        at = _skip_space(rest, at)
        if rest[at] == ",":
            at = _skip_space(rest, at + 1)
        elif rest[at] != "}":
            raise _problem(text, at, 'expected "," or "}"')
    if at != len(rest) - 1:
        raise _problem(text, at, "text after the closing brace")
    return tuple(matchers)


def _skip_space(text: str, at: int) -> int:
    while at < len(text) and text[at].isspace():
        at += 1
    if at >= len(text):
        raise _problem(text, at, "it ends too early")
    return at


def _string(whole: str, text: str, at: int) -> tuple[str, int]:
    found = _STRING.match(text, at)
    if found is None:
        raise _problem(whole, at, "expected a quoted value")
    body = found[1] if found[1] is not None else found[2]
    return re.sub(r"\\(.)", lambda m: _ESCAPES.get(m[1], m[0]), body), found.end()


def _problem(text: str, at: int, what: str) -> RequestError:
    return RequestError(f"selector {text!r}, character {at}: {what}", reason="selector")
