"""What other users of the machine can see of a running gateway's files."""

from __future__ import annotations

import stat

import pytest

from tests.e2e.pair import Pair

pytestmark = pytest.mark.real


def test_key_and_socket_are_the_owners_alone(pair: Pair) -> None:
    data = pair.gateway.directory / "data"
    for path in (data / "hash.key", data / "run" / "data.sock"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
