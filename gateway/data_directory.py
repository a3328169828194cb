"""The directory of everything that is kept, before anything is in it."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from gateway.errors import ConfigError


def make_data_directory(written: str) -> Path:
    """Make the directory and the one of states in it, which is returned. written: as in the configuration. Raises
    ConfigError where one of them cannot be made or written."""
    data_dir = Path(written).resolve()
    state_dir = data_dir / "state"
    try:
        state_dir.mkdir(parents=True, exist_ok=True)
        for directory in (data_dir, state_dir):
            if not os.access(directory, os.W_OK | os.X_OK):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise unusable(data_dir, error) from error
    return state_dir


def unusable(data_dir: Path, error: OSError) -> ConfigError:
    """What to say of a data directory that the system refuses."""
    return ConfigError(
        f"cannot be used: {error.strerror}",
        source=str(data_dir),
        key="server.data_dir",
        expected="a directory that can be written",
    )
