"""Random configurations and streams to the real Alertmanager and to the router: every notification must be the same.

GATEWAY_DIFFERENTIAL_SEEDS (default 16) says how many worlds, GATEWAY_DIFFERENTIAL_FIRST (default 0) with which seed the
first.
"""

from __future__ import annotations

import asyncio
import json
import os
from datetime import UTC, datetime
from itertools import zip_longest
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conformance.alertmanager.peers import Receiver, needs_alertmanager, our_router, real_alertmanager
from tests.conformance.alertmanager.random_worlds import LENGTH, RandomWorld, configuration_of

SEEDS = int(os.environ.get("GATEWAY_DIFFERENTIAL_SEEDS", "16"))
FIRST = int(os.environ.get("GATEWAY_DIFFERENTIAL_FIRST", "0"))
TOGETHER = 20
PATHS = ("silences", "expire", "alerts")
AFTER = 4.0
"""Seconds that notifications may follow the last alert."""


def by_group(told: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """Notifications in order by group, without times."""
    groups: dict[str, list[Any]] = {}
    for message in told:
        kept = {name: value for name, value in message.items() if name != "externalURL"}
        kept["alerts"] = [
            {name: value for name, value in alert.items() if name != "endsAt"} for alert in message["alerts"]
        ]
        groups.setdefault(message["groupKey"], []).append(kept)
    return groups


def differences(worlds: list[RandomWorld], told: dict[str, list[dict[str, Any]]]) -> list[str]:
    """One line for each group about which something else was told."""
    found = []
    for world in worlds:
        for name in world.receivers:
            real, ours = by_group(told.get(f"real/{name}", [])), by_group(told.get(f"ours/{name}", []))
            for key in sorted(real.keys() | ours.keys()):
                found += [
                    f"seed {world.seed}, {name}, {key}, notification {number}:\n"
                    f"  real {json.dumps(one)}\n  ours {json.dumps(other)}"
                    for number, (one, other) in enumerate(zip_longest(real.get(key, []), ours.get(key, [])))
                    if one != other
                ][:1]
    return found


@pytest.mark.real
@needs_alertmanager
@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, TOGETHER))
async def test_random_worlds_hear_the_same(tmp_path: Path, first: int) -> None:
    seeds = range(first, min(first + TOGETHER, FIRST + SEEDS))
    async with Receiver().running() as receiver:
        # Two objects for each world: making the configuration throws the dice.
        worlds, others = [RandomWorld(seed) for seed in seeds], [RandomWorld(seed) for seed in seeds]
        async with (
            real_alertmanager(tmp_path, configuration_of(worlds, f"{receiver.url}/real")) as real,
            our_router(tmp_path, configuration_of(others, f"{receiver.url}/ours")) as (ours, _),
            aiohttp.ClientSession() as session,
        ):
            loop = asyncio.get_running_loop()
            # A clock's second begins with a stream, so that times on the wire are whole.
            await asyncio.sleep(1.2 - datetime.now(UTC).timestamp() % 1.0)
            start, began = datetime.now(UTC), loop.time()
            steps = sorted((step for world in worlds for step in world.stream(start)), key=lambda step: step[0])

            silences: dict[tuple[str, str], str] = {}
            """(program, name) → id."""

            async def post(url: str, body: Any) -> Any:
                async with session.post(url, json=body) as answer:
                    assert answer.status == 200, await answer.text()
                    return await answer.json() if answer.content_length else None

            async def silence(base: str, name: str, body: dict[str, Any]) -> None:
                known = silences.get((base, name))
                if known is not None:
                    async with session.get(f"{base}/api/v2/silence/{known}") as answer:
                        body = body | {"id": known, "startsAt": (await answer.json())["startsAt"]}
                silences[base, name] = (await post(f"{base}/api/v2/silences", body))["silenceID"]

            async def expire(base: str, name: str) -> None:
                async with session.delete(f"{base}/api/v2/silence/{silences[base, name]}") as answer:
                    assert answer.status == 200, await answer.text()

            for second in sorted({step[0] for step in steps}):
                await asyncio.sleep(max(began + second - loop.time(), 0))
                due = {path: [step[2] for step in steps if step[:2] == (second, path)] for path in PATHS}
                await asyncio.gather(
                    *(silence(base, *body) for base in (real, ours) for body in due["silences"]),
                    *(expire(base, name) for base in (real, ours) for name in due["expire"]),
                )
                alerts = [alert for body in due["alerts"] for alert in body]
                if alerts:
                    await asyncio.gather(*(post(f"{base}/api/v2/alerts", alerts) for base in (real, ours)))
                late = loop.time() - began - second
                assert late < 0.2, f"this machine is too slow to compare: {late:.2f} s late"
            await asyncio.sleep(max(began + LENGTH + AFTER - loop.time(), 0))
        assert receiver.told
        found = differences(worlds, receiver.told)
        assert not found, "\n".join(found)
