"""Rules for the whole suite. No test is run a second time: one that fails now and then is a fault of its own or shows
one of the gateway's."""

from __future__ import annotations

import pytest

pytest_plugins = ["tests.e2e.pair"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with real programs first: they are few and long, and one of them at the end would keep every process but
    one waiting. Their order is otherwise as it was."""
    real = {item.path for item in items if item.get_closest_marker("real") is not None}
    items.sort(key=lambda item: item.path not in real)
