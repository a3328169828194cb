"""Damaged, cut, missing and swapped files, through a whole start of the data plane.

`python -m loadtest.faults_files [--step N]` damages every N-th byte (default: every byte) of each file of a small data
directory, in two ways, starts a data plane on what is left, sends to it, and prints one JSON line: what was injected
and what was found. Nothing is taken on trust: the values that can be read from the log are compared with those sent.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog

from gateway.errors import UnknownVersion
from loadtest.fault_table import Line
from tests.faults.plane import running_plane, send, settled, values_in_log

STARTS = 3
"""Starts of the small data directory, each with a segment of its own."""
ROWS = 4
"""Samples of each."""


@dataclass(slots=True)
class Verdict:
    """What a run of injections came to."""

    injected: int = 0
    refused_to_start: int = 0
    rows_lost_and_counted: int = 0
    rows_lost_uncounted: int = 0
    rows_invented: int = 0
    worst_recovery_seconds: float = 0.0


async def make_small_log(directory: Path) -> list[int]:
    """A data directory with STARTS segments; returns the values in it."""
    for start in range(STARTS):
        async with running_plane(directory) as plane:
            await send(plane, start * ROWS, ROWS)
            await settled(plane)
    return list(range(STARTS * ROWS))


def cut(data: bytes, at: int) -> bytes:
    """Everything before byte `at`."""
    return data[:at]


def flip(data: bytes, at: int) -> bytes:
    """One bit turned over."""
    return data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1 :]


async def start_on(directory: Path, verdict: Verdict, sent: list[int], *, all_can_be_read: bool) -> None:
    """Start on damaged files, send once more, and compare."""
    began = time.monotonic()
    verdict.injected += 1
    async with running_plane(directory) as plane:
        await send(plane, 1000, ROWS)
        verdict.worst_recovery_seconds = max(verdict.worst_recovery_seconds, time.monotonic() - began)
        status = await settled(plane)
        lost = sum(status["log"]["lost_rows"].values())
        not_scored = sum(status["not_scored_points"].values())
        # Rows of a series whose definition went with a damaged frame are read but belong to nothing any more.
        seen = status["scored_points"] + not_scored + lost
        assert seen <= status["accepted_points"], status
        verdict.rows_lost_and_counted += lost
        assert status["problem"] == "", status
    held = values_in_log(directory)
    assert held[-ROWS:] == [1000, 1001, 1002, 1003], held
    expected = set(sent) | set(range(1000, 1000 + ROWS))
    verdict.rows_invented += sum(1 for v in held if v not in expected) + len(held) - len(set(held))
    if all_can_be_read:
        verdict.rows_lost_uncounted += len(expected - set(held))


def places(size: int, step: int) -> Iterator[int]:
    """Every `step`-th byte, and the last."""
    yield from range(0, size, step)
    if size:
        yield size - 1


async def damage_everywhere(
    work: Path, pattern: str, damage: Callable[[bytes, int], bytes], step: int, *, from_scratch: bool
) -> Verdict:
    """Damage the files of a small data directory that match `pattern`, one place at a time.

    from_scratch: readers' positions are removed first, so that the whole log is read again.
    """
    original, copy = work / "original", work / "copy"
    sent = await make_small_log(original)
    if from_scratch:
        shutil.rmtree(original / "state")
    verdict = Verdict()
    for path in sorted(p for p in original.glob(pattern) if p.stat().st_size):
        data = path.read_bytes()
        for at in places(len(data), step):
            shutil.copytree(original, copy)
            (copy / path.relative_to(original)).write_bytes(damage(data, at))
            try:
                await start_on(copy, verdict, sent, all_can_be_read="log" not in pattern)
            except UnknownVersion:
                verdict.refused_to_start += 1  # a bit of the version number itself: it says so, and nothing is touched
            shutil.rmtree(copy)
    return verdict


DAMAGE: Final[dict[str, Callable[[bytes, int], bytes]]] = {"cut": cut, "bit": flip}
SCENARIOS: Final[dict[str, tuple[str, str, bool]]] = {
    f"{damage}-{name}": (damage, pattern, from_scratch)
    for damage in DAMAGE
    for name, pattern, from_scratch in (
        ("log", "log/edge-0/*.seg", True),
        ("log-behind-readers", "log/edge-0/*.seg", False),
        ("offset", "state/*.offset", False),
        ("snapshot", "state/*.snapshot", False),
    )
}
"""Name → kind of damage, files, whether readers begin anew."""


def title(damage: str, pattern: str, from_scratch: bool) -> str:
    """For the table."""
    what = "cut off" if damage == "cut" else "a bit changed"
    return f"`{pattern}` {what}" + (", readers anew" if from_scratch else "")


async def line(directory: Path, damage: str, pattern: str, step: int, *, from_scratch: bool) -> Line:
    """One kind of damage at every `step`-th byte. Counts are samples of the last start after each injection; rows that
    the damage itself took and that the gateway counted stand under "set aside"."""
    verdict = await damage_everywhere(directory, pattern, DAMAGE[damage], step, from_scratch=from_scratch)
    sent = verdict.injected * (STARTS + 1) * ROWS
    lost = verdict.rows_lost_uncounted
    return Line(
        f"{damage} {pattern}", title(damage, pattern, from_scratch), verdict.injected, sent,
        sent - verdict.rows_lost_and_counted - lost, lost, passed=not lost and not verdict.rows_invented,
        set_aside=verdict.rows_lost_and_counted, recovery_seconds=round(verdict.worst_recovery_seconds, 3),
        detail={"refused_to_start": verdict.refused_to_start, "invented": verdict.rows_invented, "step": step},
    )  # fmt: skip


async def run(step: int) -> None:
    """All of it, one JSON line a kind of damage."""
    for damage, pattern, from_scratch in SCENARIOS.values():
        with tempfile.TemporaryDirectory() as work:
            found = await line(Path(work), damage, pattern, step, from_scratch=from_scratch)
        print(json.dumps(found.figures()), flush=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--step", type=int, default=1)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    asyncio.run(run(parser.parse_args().step))


if __name__ == "__main__":
    main()
