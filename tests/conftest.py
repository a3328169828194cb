"""Rules for the whole suite."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Tests with real programs share two cores with them and depend on their timing: a failure is looked at twice more,
    and the closing line counts every rerun."""
    if config.getoption("reruns", None) is not None:
        return  # asked for: --reruns 0 shows every failure
    for item in items:
        if item.get_closest_marker("real") is not None:
            item.add_marker(pytest.mark.flaky(reruns=2))
