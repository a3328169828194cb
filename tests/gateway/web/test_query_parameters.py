"""Times in queries mean the same wherever the gateway runs."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from gateway.web.query_parameters import parse_time


@pytest.fixture(params=["UTC0", "EST5EDT", "IST-5:30"])
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def test_a_time_without_a_zone_is_utc_on_every_machine(zone: str) -> None:
    for text in ("2023-11-14T22:13:20", "2023-11-14T22:13:20Z", "2023-11-15T03:43:20+05:30", "1700000000"):
        assert parse_time(text, "start") == 1_700_000_000.0, (text, zone)
    assert parse_time("2023-11-14", "start") == 1_699_920_000.0
