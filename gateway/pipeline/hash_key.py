"""The key of a data directory: made once, shared by everything that hashes label sets there.

A keyed hash keeps senders from making series collide on purpose. Losing the key is harmless (hashes live no longer
than a segment) except that restored baselines no longer find their series.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from gateway.errors import StateError
from gateway.telemetry.state_file import read_regular, store_file

_SIZE = 16


def load_or_make_hash_key(data_dir: Path) -> tuple[int, int]:
    """The 128-bit key as two halves. Raises StateError for a damaged file, DiskFailed."""
    path = data_dir / "hash.key"
    try:
        text = read_regular(path).decode("ascii").strip()
    except FileNotFoundError:
        text = secrets.token_hex(_SIZE)
        store_file(path, text.encode())
        path.chmod(0o600)
    except (OSError, UnicodeDecodeError) as error:
        raise StateError(f"{path} cannot be read: {error}") from error
    if len(text) != 2 * _SIZE or not all(c in "0123456789abcdef" for c in text):
        raise StateError(f"{path} is damaged: expected {2 * _SIZE} hexadecimal digits; remove it to make a new one")
    return int(text[:_SIZE], 16), int(text[_SIZE:], 16)
