"""Small files that are replaced as a whole: magic, format version, checksum, payload.

Layout: 8 bytes magic, uint32 format version, uint32 CRC32C of the payload, uint64 payload length, payload; little
endian. A reader takes every version up to its own.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import crc32c

from gateway.errors import StateError, UnknownVersion

_HEADER: Final = struct.Struct("<8sIIQ")


def write_atomic(path: Path, magic: bytes, version: int, parts: Sequence[bytes]) -> None:
    """Replace `path` so that after a crash either the old or the new content stands there. Raises OSError."""
    checksum = 0
    length = 0
    for part in parts:
        checksum = crc32c.crc32c(part, checksum)
        length += len(part)
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("wb") as file:
        file.write(_HEADER.pack(magic, version, checksum, length))
        for part in parts:
            file.write(part)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read_checked(path: Path, magic: bytes, newest_version: int) -> tuple[int, bytes] | None:
    """(format version, payload), None if there is no such file. Raises StateError for a damaged or unknown one."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    if len(content) < _HEADER.size:
        raise StateError(f"{path}: shorter than its header")
    found, version, checksum, length = _HEADER.unpack_from(content)
    payload = content[_HEADER.size :]
    if found != magic:
        raise StateError(f"{path}: not a file of this kind")
    if length != len(payload) or crc32c.crc32c(payload) != checksum:
        raise StateError(f"{path}: damaged (wrong length or checksum)")
    if version > newest_version:
        raise UnknownVersion(path, version, newest_version)
    return version, payload
