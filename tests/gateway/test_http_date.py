"""Dates in HTTP headers mean the same wherever the machine stands."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from gateway.http_date import http_date


@pytest.fixture(params=["UTC", "America/New_York", "Asia/Kolkata"])
def _machine_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_machine_zone")
@pytest.mark.parametrize(
    "text", ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
)
def test_the_three_forms_name_one_moment_in_every_zone(text: str) -> None:
    assert http_date(text) == 784111777.0


@pytest.mark.parametrize(
    "text",
    [
        "", "soon", "Sun, 06 Nov 1994 08:49:61 GMT", "Sun, 31 Feb 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:3777777777 GMT", "Sun, 06 Nov 1994 08:49:37 +4444499999010",
    ],
)  # fmt: skip
def test_what_is_no_date_is_none(text: str) -> None:
    assert http_date(text) is None
