"""What other users of the machine can see of a running gateway's files."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.e2e.program import Gateway

pytestmark = pytest.mark.real


def test_key_and_socket_are_the_owners_alone(tmp_path: Path) -> None:
    with Gateway(tmp_path) as gateway:
        data = gateway.directory / "data"
        for path in (data / "hash.key", data / "run" / "data.sock"):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
