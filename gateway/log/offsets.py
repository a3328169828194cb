"""Where a reader stands: a small file a reader, replaced atomically.

magic "GWOFFSET", u32 format version, u32 payload length, u64 segment, u64 byte offset, u64 next_row,
payload (the reader's own bytes), u32 CRC32C of everything before it; little endian
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final, NamedTuple

from crc32c import crc32c

from gateway.errors import DiskFailed, StateError, UnknownVersion
from gateway.telemetry.frame import LogPosition
from gateway.telemetry.state_file import read_regular, store_file

_MAGIC: Final = b"GWOFFSET"
_VERSION: Final = 1
_HEAD: Final = struct.Struct("<8sIIQQQ")
_CRC: Final = struct.Struct("<I")


class Offset(NamedTuple):
    """A committed place: the next frame to read, the row that frame should begin with, and the reader's own bytes."""

    position: LogPosition
    next_row: int
    payload: bytes = b""


class OffsetFile:
    """One reader's committed offset at `path`. One thread owns it."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> Offset | None:
        """The committed offset, None before the first commit. Raises StateError if the file is damaged or of an
        unknown version, or no file; DiskFailed if it cannot be read."""
        try:
            data = read_regular(self._path)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DiskFailed(f"{self._path} cannot be read: {error.strerror}") from error
        if len(data) < _HEAD.size + _CRC.size or data[:8] != _MAGIC:
            raise StateError(f"{self._path} is not an offset file")
        _, version, length, segment, offset, next_row = _HEAD.unpack_from(data)
        body = data[: _HEAD.size + length]
        if len(data) != len(body) + _CRC.size or _CRC.unpack(data[len(body) :])[0] != crc32c(body):
            raise StateError(f"{self._path} is damaged: checksum mismatch")
        if version > _VERSION:
            raise UnknownVersion(self._path, version, _VERSION)
        return Offset(LogPosition(segment, offset), next_row, body[_HEAD.size :])

    def commit(self, offset: Offset) -> None:
        """Replace the file; durable on return. Raises DiskFailed, and then the former offset stands."""
        (segment, at), next_row, payload = offset
        body = _HEAD.pack(_MAGIC, _VERSION, len(payload), segment, at, next_row) + payload
        store_file(self._path, body + _CRC.pack(crc32c(body)))
