"""Rules for the whole suite. No test is run a second time: one that fails now and then is a fault of its own or shows
one of the gateway's."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

# How long an example takes says how busy the machine is: the first one may compile or load a kernel.
settings.register_profile("suite", deadline=None)
settings.load_profile("suite")

pytest_plugins = ["tests.e2e.pair"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with real programs first: they are few and long, and one of them at the end would keep every process but
    one waiting. Their order is otherwise as it was."""
    real = {item.path for item in items if item.get_closest_marker("real") is not None}
    items.sort(key=lambda item: item.path not in real)


@pytest.fixture(autouse=True)
def logging_stays_as_it_was() -> Iterator[None]:
    """What a test configures goes to a stream of its own, which is closed when it ends: later ones could not log."""
    before = structlog.get_config()
    yield
    after = structlog.get_config()
    structlog.configure(**before)
    assert after == before, "the test configured logging for those after it"
