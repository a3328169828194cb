"""One gateway in front of one VictoriaMetrics, shared by the tests that only send to them and look.

It lives as long as the test process: files of several packages come to one process in turn, and each start takes
seconds. Each test uses names of its own, so none sees another's series. Tests that kill, fill or reconfigure start
their own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.e2e.program import Gateway
from tests.peers import VictoriaMetrics


@dataclass(frozen=True, slots=True)
class Pair:
    """A running gateway and its target."""

    gateway: Gateway
    target: VictoriaMetrics


@pytest.fixture(scope="session")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    directory = tmp_path_factory.mktemp("shared")
    target = VictoriaMetrics(directory / "vm", "-dedup.minScrapeInterval=1ms")
    target.start()
    try:
        with Gateway(directory, f"victoriametrics.url={target.url}", "victoriametrics.scores=none") as gateway:
            yield Pair(gateway, target)
    finally:
        target.stop()
