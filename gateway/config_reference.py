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
    """One key: its name, default as TOML (empty: it must be given), type in words, documentation."""

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
    for field in msgspec.structs.fields(kind):
        name = field.name
        default = "" if field.required else _toml(_default(field))
        yield Option(name, default, describe_type(hints[name]), texts.get(name, ""))


def tables_of(kind: type[Settings]) -> Iterator[tuple[str, type[Settings]]]:
    """The keys of a section that are arrays of tables, each with the settings of one table."""
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        plain = plain_type(hint)
        for inner in typing.get_args(plain)[:1] if typing.get_origin(plain) in (tuple, list) else ():
            if is_settings(plain_type(inner)):
                yield name, plain_type(inner)


def _default(field: msgspec.structs.FieldInfo) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Duration):
        return f'"{value.text()}"'
    if isinstance(value, ByteSize):
        return f'"{value.text()}"'
    if isinstance(value, Secret):
        return '""'
    return msgspec.json.encode(value).decode()


def render() -> str:
    """The whole page."""
    parts = [_HEAD]
    for section, hint in typing.get_type_hints(Config).items():
        kind = plain_type(hint)
        assert is_settings(kind)
        parts.append(_table(f"## [{section}]", kind))
        parts.extend(_table(f"### [[{section}.{name}]]", inner) for name, inner in tables_of(kind))
    return "".join(parts)


def _table(heading: str, kind: type[Settings]) -> str:
    lines = [f"\n{heading}\n\n{inspect.getdoc(kind)}\n\n| Key | Default | Meaning |\n|---|---|---|\n"]
    for option in options_of(kind):
        text = option.text.replace("|", "\\|")
        lines.append(f"| `{option.name}` | {f'`{option.default}`' if option.default else 'required'} | {text} |\n")
    return "".join(lines)
