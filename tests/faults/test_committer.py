"""A request that cannot be stored, for a reason nobody thought of, does not take those beside it along."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import numpy as np
import pytest

from gateway.decode.otlp_metrics import OtlpMetricsDecoder
from gateway.decode.settings import DecodeSettings
from gateway.errors import Unavailable
from gateway.telemetry.columns import Definitions, PointColumns
from tests.e2e.otlp import gauge_request
from tests.faults.plane import running_plane, send, settled, values_in_log


class Broken:
    """A label source with a defect."""

    def definitions(self, rows: np.ndarray) -> Definitions:
        raise IndexError("planted")


def columns(decoder: OtlpMetricsDecoder, number: int, *, broken: bool = False) -> PointColumns:
    now_ns = time.time_ns()
    body = gauge_request("faults", "numbered", [(now_ns, float(number), {"series": f"s{number}"})])
    found = decoder.decode_protobuf(body, now_ns // 10**6)
    if broken:
        found.source = Broken()
    return found


async def test_neighbours_of_a_poisoned_request_are_stored(tmp_path: Path) -> None:
    async with running_plane(tmp_path) as plane:
        decoder = OtlpMetricsDecoder(plane.hash_key, DecodeSettings())
        requests = [columns(decoder, n, broken=n % 5 == 2) for n in range(20)]
        outcomes = await asyncio.gather(
            *(plane.committer.accept(c, received_ns=time.time_ns(), body_bytes=1) for c in requests),
            return_exceptions=True,
        )
        stored = [n for n, outcome in enumerate(outcomes) if not isinstance(outcome, BaseException)]
        assert stored == [n for n in range(20) if n % 5 != 2]
        assert all(isinstance(o, Unavailable) for n, o in enumerate(outcomes) if n % 5 == 2)
        await send(plane, 1000, 1)
        status = await settled(plane)
        assert status["accepted_points"] == len(stored) + 1
        assert plane.ready() == ""
    assert sorted(values_in_log(tmp_path)) == [*stored, 1000]
    with pytest.raises(IndexError):
        Broken().definitions(np.zeros(1, np.int64))
