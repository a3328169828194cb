"""The status with what the control plane knows of frozen learning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from gateway.web.complete_status import CompleteStatus

OF_DATA_PLANE = {"windows": 1, "series": 2, "new_series": 3, "refused_series": 4, "bytes": 5, "problem": "damaged"}


class Plane:
    async def status(self) -> dict[str, Any]:
        return {"accepted_points": 7, "frozen_learning": dict(OF_DATA_PLANE)}


@dataclass
class Publication:
    left_out: int
    problem: str


@pytest.mark.parametrize(("problem", "shown"), [("", "damaged"), ("the disk is full", "the disk is full")])
async def test_windows_that_do_not_reach_the_data_plane_are_in_the_status(problem: str, shown: str) -> None:
    found = await CompleteStatus(Plane(), Publication(6, problem)).status()
    assert found == {
        "accepted_points": 7,
        "frozen_learning": {**OF_DATA_PLANE, "windows_left_out": 6, "problem": shown},
    }
