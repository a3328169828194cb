"""Random configurations and streams to the real Alertmanager and to the router: every notification must be the same.

Both run on the machine's clock, so a comparison holds only if everything happened in its own half second. Where it did
not, nothing was compared, and the worlds are tried again with a second of theirs lasting longer, then fewer of them.
A difference counts if it is there again when a second lasts twice as long; what was seen once is a warning.

GATEWAY_DIFFERENTIAL_SEEDS (default 16) says how many worlds, GATEWAY_DIFFERENTIAL_FIRST (default 0) with which seed the
first.
"""

from __future__ import annotations

import asyncio
import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
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
TOLERANCE = 0.2
"""Seconds that anything may be late: posts fall on whole seconds, flushes on half ones."""
ATTEMPTS = ((1, TOGETHER), (2, TOGETHER), (4, 8), (8, 4), (16, 2))
"""How long a second of the worlds lasts, and how many are compared together, while this machine is too slow."""
_LOOK_SECONDS = 0.02


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


def differences(worlds: list[RandomWorld], told: dict[str, list[dict[str, Any]]]) -> dict[tuple[int, str, str], str]:
    """(seed, receiver, group) about which something else was told → what."""
    found = {}
    for world in worlds:
        for name in world.receivers:
            real, ours = by_group(told.get(f"real/{name}", [])), by_group(told.get(f"ours/{name}", []))
            for key in real.keys() | ours.keys():
                pairs = enumerate(zip_longest(real.get(key, []), ours.get(key, [])))
                unlike = next(((number, pair) for number, pair in pairs if pair[0] != pair[1]), None)
                if unlike is not None:
                    number, (one, other) = unlike
                    found[world.seed, name, key] = (
                        f"seed {world.seed}, {name}, {key}, notification {number}:\n"
                        f"  real {json.dumps(one)}\n  ours {json.dumps(other)}"
                    )
    return found


@dataclass(slots=True)
class Outcome:
    """What came of one run of some worlds."""

    late: float
    """The latest anything was, in seconds of the worlds: beyond TOLERANCE nothing is known."""
    told: int
    differences: dict[tuple[int, str, str], str]


async def compare(directory: Path, seeds: Sequence[int], stretch: int) -> Outcome:
    """Run the worlds once in both programs, a second of theirs lasting `stretch` seconds."""
    directory.mkdir()
    async with Receiver().running() as receiver:
        # Two objects for each world: making the configuration throws the dice.
        worlds, others = ([RandomWorld(seed, stretch) for seed in seeds] for _ in range(2))
        async with (
            real_alertmanager(directory, configuration_of(worlds, f"{receiver.url}/real")) as real,
            our_router(directory, configuration_of(others, f"{receiver.url}/ours")) as (ours, _),
            aiohttp.ClientSession() as session,
        ):
            late = await _play(session, (real, ours), worlds, receiver, stretch)
        return Outcome(late, len(receiver.told), differences(worlds, receiver.told))


async def _play(
    session: aiohttp.ClientSession,
    programs: tuple[str, str],
    worlds: list[RandomWorld],
    receiver: Receiver,
    stretch: int,
) -> float:
    """Post every world's stream to both programs and wait for what they tell; returns how late it was at the latest."""
    loop = asyncio.get_running_loop()
    # A clock's second begins with a stream, so that times on the wire are whole.
    await asyncio.sleep(1.2 - datetime.now(UTC).timestamp() % 1.0)
    start, began = datetime.now(UTC), loop.time()
    steps = sorted((step for world in worlds for step in world.stream(start)), key=lambda step: step[0])
    silences: dict[tuple[str, str], str] = {}
    """(program, name) → id."""
    lates = [0.0]

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

    async def look_at_the_loop() -> None:
        """The router lives in this loop: how late the loop is, the router is."""
        while True:
            before = loop.time()
            await asyncio.sleep(_LOOK_SECONDS)
            lates.append((loop.time() - before - _LOOK_SECONDS) / stretch)

    looking = asyncio.create_task(look_at_the_loop())
    for second in sorted({step[0] for step in steps}):
        await asyncio.sleep(max(began + second * stretch - loop.time(), 0))
        due = {path: [step[2] for step in steps if step[:2] == (second, path)] for path in PATHS}
        try:
            await asyncio.gather(
                *(silence(base, *body) for base in programs for body in due["silences"]),
                *(expire(base, name) for base in programs for name in due["expire"]),
            )
        except AssertionError:
            if loop.time() - began <= (second + TOLERANCE) * stretch:
                raise  # else what was to be changed may have ended before the request came
        alerts = [alert for body in due["alerts"] for alert in body]
        if alerts:
            await asyncio.gather(*(post(f"{base}/api/v2/alerts", alerts) for base in programs))
        lates.append((loop.time() - began) / stretch - second)
        if max(lates) > TOLERANCE:
            break
    else:
        await asyncio.sleep(max(began + (LENGTH + AFTER) * stretch - loop.time(), 0))
    looking.cancel()
    # The other program's flushes fall on half seconds too: what it told shows how late it was.
    lates += [
        (when - began) / stretch % 0.5
        for path, times in receiver.arrived.items()
        for when in times
        if path.startswith("real/")
    ]
    return max(lates)


@pytest.mark.real
@needs_alertmanager
@pytest.mark.parametrize("first", range(FIRST, FIRST + SEEDS, TOGETHER))
async def test_random_worlds_hear_the_same(tmp_path: Path, first: int) -> None:
    seeds = range(first, min(first + TOGETHER, FIRST + SEEDS))
    compared: set[int] = set()
    suspected: dict[tuple[int, str, str], str] = {}
    for stretch, together in ATTEMPTS:
        # Of a difference, its world must be among those that are looked at again.
        chosen = sorted(seeds, key=lambda seed: (all(seed != key[0] for key in suspected), seed))[:together]
        outcome = await compare(tmp_path / f"stretch-{stretch}", chosen, stretch)
        if outcome.late > TOLERANCE:
            continue  # it would say something about this machine, not about the router
        assert outcome.told, "nobody was told anything"
        compared.update(chosen)
        again = suspected.keys() & outcome.differences.keys()
        assert not again, "\n".join(outcome.differences[key] for key in sorted(again))
        if not outcome.differences:
            break
        suspected = outcome.differences
    for what in suspected.values():
        warnings.warn(f"seen once, not again when a second lasted longer:\n{what}", stacklevel=1)
    print(f"{len(compared)} of {len(seeds)} worlds compared, the last ones at {stretch} s a second")
    assert compared, f"this machine stood still for {TOLERANCE * stretch:.0f} s in every attempt"
