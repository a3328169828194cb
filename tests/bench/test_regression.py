"""The regression bench's verdict; what it measures is not for a test to judge."""

from __future__ import annotations

import json

from bench.regression import RECORDED, STAGES, slower


def test_only_what_exceeds_the_tolerance_or_is_not_recorded_fails() -> None:
    recorded = {"decode": 1.0, "score": 2.0}
    assert slower({"decode": 1.5, "score": 3.3}, recorded, 1.6) == ["score"]
    assert slower({"decode": 0.1, "score": 0.1}, recorded, 1.6) == []
    assert slower({"decode": 1.0, "new": 0.0}, recorded, 1.6) == ["new"]


def test_every_stage_is_recorded() -> None:
    assert set(json.loads(RECORDED.read_text())) == set(STAGES)
