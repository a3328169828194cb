"""Slow twin of kernels.label_sets: lists of labels, and a count of who has each."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


def labels_of(blob: bytes) -> list[bytes]:
    """The blob in its labels; from where no label begins, all in one."""
    found, at = [], 0
    while at < len(blob):
        behind = _behind_label(blob, at)
        found.append(blob[at:behind])
        at = behind
    return found


def _behind_label(blob: bytes, at: int) -> int:
    if blob[at] != 0x0A:
        return len(blob)
    length = 0
    for i, byte in enumerate(blob[at + 1 : at + 11]):
        length |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            behind = at + 2 + i + length
            return behind if length < 2**64 and behind <= len(blob) else len(blob)
    return len(blob)


def value_of(blob: bytes, name: bytes) -> bytes | None:
    """Value of the first label called `name` that is sound."""
    for label in labels_of(blob):
        parts = _parts(label)
        if parts is not None and parts[0] == name:
            return parts[1]
    return None


def _parts(label: bytes) -> tuple[bytes, bytes] | None:
    # One byte of length is what the tests have; longer ones are read as they are.
    at, parts = _text(label, 1)
    if parts is None:
        return None
    inner = parts
    at, name = _text(inner, 1)
    if name is None:
        return None
    _, value = _text(inner, at + 1)
    return None if value is None else (name, value)


def _text(data: bytes, at: int) -> tuple[int, bytes | None]:
    length = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        if shift == 63 and byte > 1:
            return at, None
        length |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return at + length, data[at : at + length] if at + length <= len(data) else None
        if shift > 63:
            return at, None
    return at, None


@dataclass
class PairsTwin:
    """Who has each label."""

    users: Counter[bytes] = field(default_factory=Counter)

    def enter(self, blob: bytes) -> None:
        """A series that was not there."""
        self.users.update(labels_of(blob))

    def leave(self, blob: bytes) -> None:
        """It is forgotten."""
        self.users.subtract(labels_of(blob))
        self.users = +self.users
