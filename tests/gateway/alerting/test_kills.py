"""kill -9 at random moments; the long run for the record is `python -m loadtest.alert_kills --kills 300`."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.alert_kills import Trial


@pytest.mark.real
async def test_twenty_kills_lose_nothing(tmp_path: Path) -> None:
    verdict = await Trial(tmp_path, seed=7).run(20)
    assert verdict["clean"], verdict
    assert verdict["kills"] == 20
    assert verdict["alerts_looked_for"] > 0
