"""The functions that texts may call, and Go's notions of truth and of printing."""

from __future__ import annotations

import html
import json
import re
import urllib.parse
from collections.abc import Callable, Mapping
from typing import Any, Final

from gateway.alerting.template_syntax import TemplateProblem


class Strings(list[str]):
    """A list of strings, printed in brackets as Go prints it."""

    def __str__(self) -> str:
        return "[" + " ".join(self) + "]"


def truth(value: Any) -> bool:
    """Go's notion: false, 0, nil and everything empty are false."""
    return bool(value)


def show(value: Any) -> str:
    """A value as Go prints it."""
    if value is None:
        return "<no value>"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


class SafeHtml(str):
    """Text that an HTML template puts out as it is, as `safeHtml` asks."""

    __slots__ = ()


def _print_values(*values: Any) -> str:
    out = ""
    for number, value in enumerate(values):
        if number and not isinstance(value, str) and not isinstance(values[number - 1], str):
            out += " "
        out += show(value)
    return out


def _printf(pattern: str, *values: Any) -> str:
    left = list(values)

    def one(match: re.Match[str]) -> str:
        verb = match[2]
        if verb == "%":
            return "%"
        if not left:
            raise TemplateProblem("printf has too few arguments")
        value = left.pop(0)
        if verb in "sv":
            return f"%{match[1]}s" % show(value)
        if verb == "q":
            return json.dumps(show(value), ensure_ascii=False)
        if verb == "d":
            return f"%{match[1]}d" % int(value)
        return f"%{match[1]}{verb}" % float(value)

    text = re.sub(r"%([-+# 0]*\d{0,4}(?:\.\d{1,4})?)([svqdfeg%])", one, pattern)
    if left:
        raise TemplateProblem("printf has too many arguments")
    return text


def _compare(name: str) -> Callable[..., bool]:
    def compare(first: Any, *others: Any) -> bool:
        if not others:
            raise TemplateProblem(f"{name} needs two values")
        if name == "eq":
            return any(first == other for other in others)
        (second,) = others
        if name == "ne":
            return bool(first != second)
        return bool({"lt": first < second, "le": first <= second, "gt": first > second, "ge": first >= second}[name])

    return compare


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = value.get(key, "") if isinstance(value, Mapping) else value[int(key)]
    return value


def _replace_all(expression: str, replacement: str, text: str) -> str:
    def expand(match: re.Match[str]) -> str:
        # As in Go, `$1x` names a group "1x"; a group that does not exist is empty.
        groups = {str(number): found or "" for number, found in enumerate((match[0], *match.groups()))}
        groups |= {name: found or "" for name, found in match.groupdict().items()}
        return re.sub(
            r"\$(?:\$|\{(\w+)\}|(\w+))",
            lambda m: groups.get(m[1] or m[2] or "", "") if m[0] != "$$" else "$",
            replacement,
        )

    return re.sub(expression, expand, text)


def _search(expression: str, text: str) -> bool:
    return re.search(expression, text) is not None


FUNCTIONS: Final[dict[str, Callable[..., Any]]] = {
    "not": lambda value: not truth(value),
    "len": len,
    "index": _index,
    "slice": lambda value, start=0, end=None: value[int(start) : None if end is None else int(end)],
    "print": _print_values,
    "println": lambda *values: " ".join(show(value) for value in values) + "\n",
    "printf": _printf,
    "html": lambda value: html.escape(show(value)),
    "urlquery": lambda value: urllib.parse.quote_plus(show(value)),
    "toUpper": lambda text: str(text).upper(),
    "toLower": lambda text: str(text).lower(),
    "title": lambda text: re.sub(r"\b\w", lambda m: m[0].upper(), str(text)),
    "trimSpace": lambda text: str(text).strip(),
    "join": lambda separator, items: str(separator).join(items),
    "match": _search,
    "safeHtml": lambda text: SafeHtml(text),
    "reReplaceAll": _replace_all,
    "stringSlice": lambda *items: Strings(items),
    **{name: _compare(name) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
}
