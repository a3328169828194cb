"""Types that settings are made of: durations, byte sizes and secrets, read from configuration text."""

from __future__ import annotations

import hmac
import math
import os
import re
from pathlib import Path
from typing import Any

import msgspec

from gateway.bounded_text import read_text

_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_SIZE_UNITS = {"": 1, "B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_SIZE_UNITS |= {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


class Duration(float):
    """Seconds, written "90s", "10m", "1h30m", "2d" or as a plain number of seconds."""

    @classmethod
    def parse(cls, text: str | int | float) -> Duration:
        """Raises ValueError with what was expected."""
        if isinstance(text, int | float):
            if isinstance(text, bool) or not 0 <= text < math.inf:
                raise ValueError(f"{text} is not a duration: it is negative or no number of seconds")
            return cls(text)
        parts = re.findall(r"(\d+(?:\.\d+)?)(ms|[smhdw])", text)
        if not parts or "".join(n + u for n, u in parts) != text.strip():
            raise ValueError(f'"{text}" is not a duration; expected for example "90s", "10m" or "1h30m"')
        return cls(sum(float(number) * _DURATION_UNITS[unit] for number, unit in parts))

    def text(self) -> str:
        """As it is written: "48h", "90s", "250ms"."""
        for unit, size in (("h", 3600), ("m", 60)):
            if self >= size and self % size == 0:
                return f"{int(self // size)}{unit}"
        return f"{self:g}s" if self >= 1 or not self else f"{self * 1000:g}ms"


class ByteSize(int):
    """Bytes, written "64MiB", "10GiB" or as a plain number."""

    @classmethod
    def parse(cls, text: str | int) -> ByteSize:
        """Raises ValueError with what was expected."""
        if isinstance(text, int):
            if isinstance(text, bool) or text < 0:
                raise ValueError(f"{text} is not a size: it is negative or no number of bytes")
            return cls(text)
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]i?B|B)?\s*", text)
        if match is None or (match[2] or "") not in _SIZE_UNITS:
            raise ValueError(f'"{text}" is not a size; expected for example "64MiB" or "10GiB"')
        return cls(int(float(match[1]) * _SIZE_UNITS[match[2] or ""]))

    def text(self) -> str:
        """As it is written: "64MiB"."""
        for unit, factor in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
            if self >= factor and self % factor == 0:
                return f"{self // factor}{unit}"
        return str(int(self))


class Secret:
    """A value that is never shown: `str` and `repr` print stars, `reveal` gives it."""

    __slots__ = ("_value", "source")

    def __init__(self, value: str, source: str = "value") -> None:
        self._value = value
        self.source = source

    @classmethod
    def parse(cls, given: Any) -> Secret:
        """From a string, `{file = "path"}` or `{env = "NAME"}`; raises ValueError."""
        if isinstance(given, str):
            return cls(given)
        if isinstance(given, dict) and set(given) == {"file"} and isinstance(given["file"], str):
            try:
                return cls(read_text(Path(given["file"])).strip(), f"file {given['file']}")
            except OSError as error:
                raise ValueError(f"secret file {given['file']} cannot be read: {error.strerror}") from error
        if isinstance(given, dict) and set(given) == {"env"} and isinstance(given["env"], str):
            value = os.environ.get(given["env"])
            if value is None:
                raise ValueError(f"environment variable {given['env']} is not set")
            return cls(value, f"environment variable {given['env']}")
        raise ValueError('a secret is a string, { file = "path" } or { env = "NAME" }')

    def reveal(self) -> str:
        """The value itself; the caller must not log it."""
        return self._value

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __repr__(self) -> str:
        return "Secret(***)"

    __str__ = __repr__


def decode_hook(kind: type, value: Any) -> Any:
    """msgspec's `dec_hook` for the types of this module."""
    if kind in (Duration, ByteSize, Secret):
        return kind.parse(value)
    raise NotImplementedError(f"no way to read {kind}")


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every component's settings: immutable, keyword-only, unknown keys refused."""
