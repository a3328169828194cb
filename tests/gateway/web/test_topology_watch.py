"""The topology's way from the data plane's socket into the correlation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiohttp

from gateway.alerting.topology import Place
from gateway.clock import ManualClock
from gateway.telemetry.call_edge import CallEdge
from gateway.web.data_plane_socket import build_data_plane_app
from gateway.web.topology_watch import PLACES, PLACES_PERIOD, RENEWAL, TopologyWatch
from tests.conformance.alertmanager.peers import served


class View:
    """What the data plane would show."""

    def __init__(self) -> None:
        self.calls_seen = [CallEdge("web", "cart", 3, 1_700_000_000_000_000_000)]

    def calls(self) -> list[CallEdge]:
        return self.calls_seen


async def test_calls_and_places_are_passed_on_once_until_they_are_old(tmp_path: Path) -> None:
    view = View()
    seen: list[tuple[list[CallEdge], set[Place]]] = []
    asked: list[str] = []

    class Source:
        async def calls(self) -> list[CallEdge]:
            async with aiohttp.ClientSession() as session, session.get(f"{url}/calls") as answer:
                return [CallEdge(**edge) for edge in await answer.json()]

        async def series(self, match: str, limit: int) -> list[dict[str, Any]]:
            asked.append(match)
            up = {"__name__": "up", "job": "shop/cart", "instance": "h1:80"}
            return [{"id": 1, "labels": up}] if match == '{__name__="up"}' else []

    async with served(build_data_plane_app(view)) as url:  # type: ignore[arg-type]
        clock = ManualClock()
        watch = TopologyWatch(Source(), lambda edges, places, _: seen.append((edges, set(places))), clock)
        await watch.ask()
        await watch.ask()
        assert seen == [(view.calls_seen, {Place("cart", "h1")})]
        later = view.calls_seen[0].last_seen + RENEWAL + 1
        view.calls_seen = [CallEdge("web", "cart", 9, later)]
        await watch.ask()
        assert seen[1:] == [(view.calls_seen, set())]
        assert asked == [*PLACES], "places are not asked for in every round"
        clock.advance(PLACES_PERIOD)
        await watch.ask()
        assert asked == [*PLACES, *PLACES]


async def test_places_are_asked_for_less_and_less_often_while_there_are_none() -> None:
    clock, asked = ManualClock(), list[float]()

    class Source:
        async def calls(self) -> list[CallEdge]:
            return []

        async def series(self, match: str, limit: int) -> list[dict[str, Any]]:
            asked.append(clock.monotonic() - began)
            return []

    began = clock.monotonic()
    watch = TopologyWatch(Source(), lambda *_: None, clock)
    for _ in range(100):
        await watch.ask()
        clock.advance(10.0)
    assert asked[:: len(PLACES)] == [0, 30, 90, 210, 450, 750]
