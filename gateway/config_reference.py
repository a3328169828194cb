"""The reference of all configuration keys, made from the declarations themselves: docs/configuration.md.

Each settings class documents a field in the string under it; this module reads those strings out of the source, so the
page cannot say anything else than the code. `gateway check-config --reference` prints it; a test compares the page.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec

from gateway.config import Config, describe_type, is_settings, plain_type
from gateway.settings_types import ByteSize, Duration, Secret, Settings

_HEAD = """\
# Configuration

TOML; every key has a default, so an empty file is valid. Later wins: defaults, the file given with `--config`,
environment variables `GATEWAY_SECTION__KEY`, `--set section.key=value`. An unknown key, a wrong type or an impossible
value is refused with its place and what was expected. `gateway check-config FILE --show` prints every value with its
source. A secret is a string, `{ file = "path" }` or `{ env = "NAME" }`, and is never shown.

This page is made by `gateway check-config --reference`.
"""


class Option(NamedTuple):
    """One key: its name, default as TOML, type in words, documentation."""

    name: str
    default: str
    expected: str
    text: str


def field_texts(kind: type[Settings]) -> dict[str, str]:
    """The string under each field of a settings class, on one line."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind))).body[0]
    assert isinstance(tree, ast.ClassDef)
    texts: dict[str, str] = {}
    for field, following in zip(tree.body, tree.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(following, ast.Expr)
            and isinstance(following.value, ast.Constant)
        ):
            texts[field.target.id] = " ".join(str(following.value.value).split())
    return texts


def options_of(kind: type[Settings]) -> Iterator[Option]:
    """Every key of a section, in order of declaration."""
    hints = typing.get_type_hints(kind, include_extras=True)
    texts = field_texts(kind)
    defaults = kind()
    for name in kind.__struct_fields__:
        yield Option(name, _toml(getattr(defaults, name)), describe_type(hints[name]), texts.get(name, ""))


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Duration):
        return f'"{_duration(value)}"'
    if isinstance(value, ByteSize):
        return f'"{_size(value)}"'
    if isinstance(value, Secret):
        return '""'
    return msgspec.json.encode(value).decode()


def _duration(seconds: float) -> str:
    for unit, size in (("h", 3600), ("m", 60)):
        if seconds >= size and seconds % size == 0:
            return f"{int(seconds // size)}{unit}"
    return f"{seconds:g}s" if seconds >= 1 or seconds == 0 else f"{seconds * 1000:g}ms"


def _size(size: int) -> str:
    for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if size >= factor and size % factor == 0:
            return f"{size // factor}{unit}"
    return str(int(size))


def render() -> str:
    """The whole page."""
    parts = [_HEAD]
    for section, hint in typing.get_type_hints(Config).items():
        kind = plain_type(hint)
        assert is_settings(kind)
        parts.append(f"\n## [{section}]\n\n{inspect.getdoc(kind)}\n\n| Key | Default | Meaning |\n|---|---|---|\n")
        for option in options_of(kind):
            text = option.text.replace("|", "\\|")
            parts.append(f"| `{option.name}` | `{option.default}` | {text} |\n")
    return "".join(parts)
