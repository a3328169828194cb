"""What the data plane's status says of forwarding."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

from gateway.clock import SystemClock
from gateway.forward.forwarder import Forwarder
from gateway.forward.settings import VictoriaMetricsSettings
from gateway.pipeline.plane_status import plane_status
from gateway.pipeline.scorer import Scorer
from tests.gateway.forward.feeds import FeedInMemory, SeriesInMemory


async def test_scores_that_wait_are_told_beside_those_that_went_and_those_that_were_dropped(tmp_path: Path) -> None:
    series = SeriesInMemory()
    settings = VictoriaMetricsSettings(url="http://127.0.0.1:9")
    forwarder = Forwarder(settings, FeedInMemory(series), series, tmp_path, clock=SystemClock())
    assert forwarder.add_score_rows([b"\x01a\x01b"] * 3, [1, 2, 3], [0.0, 0.5, 1.0]) == 3
    counts = SimpleNamespace(scored=0, next_row=0, late=0, repeated=0, skipped=0)
    nothing = SimpleNamespace(problems=[], status=dict)
    scorer = cast(Scorer, SimpleNamespace(counts=counts, lag=lambda share: 0.0, quality=nothing, freeze=nothing))
    status = plane_status(
        accepted=0, scorer=scorer, forwarder=forwarder, several=False, active_series=0, uptime_seconds=1.0,
        room=(0, 1), lost={}, problem="",
    )  # fmt: skip
    told = status["forwarding"]
    assert (told["scores_forwarded"], told["scores_dropped"], told["scores_waiting"]) == (0, 0, 3)
