"""Texts that people write: configurations, templates, secrets. A device or a log file named by mistake has no end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Final

LONGEST: Final = 16 * 2**20
"""Characters."""


def read_bytes(path: Path, longest: int = LONGEST) -> bytes:
    """All of a regular file, without waiting for what is none. Raises OSError, "File too large" for one that is longer
    and "Invalid argument" for what is no file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        content = file.read(longest + 1)
    if len(content) > longest:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return content


def read_text(path: Path, longest: int = LONGEST) -> str:
    """All of a file in UTF-8. Raises OSError, "File too large" for one that is longer, and UnicodeDecodeError."""
    with path.open(encoding="utf-8") as file:
        text = file.read(longest + 1)
    if len(text) > longest:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG), str(path))
    return text
