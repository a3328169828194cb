"""Files of state that are replaced as a whole, and the form of those that have none of their own.

`write_checked` and `read_checked`: 8 bytes magic, uint32 format version, uint32 CRC32C of the payload, uint64 payload
length, payload; little endian. A reader takes every version up to its own.

Files are made with mode 0600: labels and what is known of series are not for other users of the machine. A reader takes
nothing but regular files, of the length that their header says: a device has no end, and a fifo without a writer no
beginning.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import crc32c

from gateway.errors import DiskFailed, StateError, UnknownVersion

_HEADER: Final = struct.Struct("<8sIIQ")
MOST_BYTES: Final = 16 * 2**20
"""Of files that hold a few positions, counts or names; no such file comes near it."""


def put_in_place(temporary: Path, path: Path) -> None:
    """Make a written file durable and give it the name `path`: after a crash the old or the new one stands there.

    Raises OSError.
    """
    descriptor = os.open(temporary, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def replace_file(path: Path, parts: Sequence[bytes]) -> None:
    """Replace `path` by the parts, one behind the other, whole or not at all; mode 0600. Raises OSError."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        with os.fdopen(make_file(temporary), "wb") as file:
            for part in parts:
                file.write(part)
        put_in_place(temporary, path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def make_file(path: Path) -> int:
    """Descriptor of a file that is new, of mode 0600: what lies there may have another mode, or be no file. Raises
    OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(path, flags, 0o600)
    except FileExistsError:
        path.unlink()
        return os.open(path, flags, 0o600)


def store_file(path: Path, content: bytes) -> None:
    """`replace_file`, in a directory that is made if need be. Raises DiskFailed, and then the former file stands."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, [content])
    except OSError as error:
        raise DiskFailed(f"{path} cannot be written: {error.strerror}") from error


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[tuple[int, int]]:
    """(descriptor for reading, length) of a regular file, which is closed at the end. Raises StateError for what is
    none, without waiting for it, and OSError (FileNotFoundError)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket, or a device without a driver
            raise StateError(f"{path}: not a regular file") from error
        raise
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise StateError(f"{path}: not a regular file")
        yield descriptor, status.st_size
    finally:
        os.close(descriptor)


def open_kept(path: Path) -> int:
    """Descriptor for reading and writing of a file that is made where it is absent and never replaced: a lock, a page.
    Raises StateError for what is no regular file, as no further try can help, and OSError."""
    remedy = "not a regular file; move it away and start again"
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC, 0o640)
    except OSError as error:
        if error.errno in (errno.EISDIR, errno.ENXIO):  # a directory; a socket, or a device without a driver
            raise StateError(f"{path}: {remedy}") from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise StateError(f"{path}: {remedy}")
    return descriptor


def read_regular(path: Path, limit: int = MOST_BYTES) -> bytes:
    """All of a file. limit: bytes of the longest one that is written; nothing beyond them is read. Raises StateError
    for a longer one and for what is no regular file, and OSError (FileNotFoundError)."""
    with open_regular(path) as (descriptor, length):
        if length > limit:
            raise StateError(f"{path}: {length} bytes; {limit} are the most that are written")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(length)


def write_checked(path: Path, magic: bytes, version: int, parts: Sequence[bytes]) -> None:
    """Replace `path` by a file with header and checksum. Raises OSError."""
    checksum = 0
    for part in parts:
        checksum = crc32c.crc32c(part, checksum)
    replace_file(path, [_HEADER.pack(magic, version, checksum, sum(map(len, parts))), *parts])


def read_checked(
    path: Path, magic: bytes, newest_version: int, *, limit: int | None = None
) -> tuple[int, bytes] | None:
    """(format version, payload), None if there is no such file.

    limit: bytes of the longest payload that is written. Raises StateError for a damaged or unknown file, and for what
    is no regular file or has more bytes; nothing longer than the file's header says is read. OSError if the disk does
    not give it.
    """
    try:
        with open_regular(path) as (descriptor, size), os.fdopen(descriptor, "rb", closefd=False) as file:
            header = file.read(_HEADER.size)
            if len(header) < _HEADER.size:
                raise StateError(f"{path}: shorter than its header")
            found, version, checksum, length = _HEADER.unpack(header)
            if found != magic:
                raise StateError(f"{path}: not a file of this kind")
            if limit is not None and length > limit:
                if version > newest_version:  # which may have more to say
                    raise UnknownVersion(path, version, newest_version)
                raise StateError(f"{path}: {length} bytes; {limit} are the most that are written")
            if length != size - _HEADER.size:
                raise StateError(f"{path}: damaged (wrong length)")
            payload = file.read(length + 1)
    except FileNotFoundError:
        return None
    if length != len(payload) or crc32c.crc32c(payload) != checksum:
        raise StateError(f"{path}: damaged (wrong length or checksum)")
    if version > newest_version:
        raise UnknownVersion(path, version, newest_version)
    return version, payload
