"""Whether the target is still the same process, told from what it says and how connections break."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

import pytest

from gateway.clock import ManualClock
from gateway.forward.progress import ProgressFiles
from gateway.forward.progress_keeper import ProgressKeeper
from gateway.forward.remote_write_encoder import Encoding
from gateway.forward.retry import Backoff
from gateway.forward.settings import VictoriaMetricsSettings
from gateway.forward.target_watch import TargetWatch
from gateway.forward.victoria_metrics import Silence, TargetIdentity, VictoriaMetrics
from gateway.settings_types import Duration
from gateway.telemetry.frame import LogPosition

T = TypeVar("T")

FIRST, SECOND = TargetIdentity(1_000.0, 60.0, 2_000.0), TargetIdentity(1_500.0, 60.0, 2_000.0)
YOUNG = TargetIdentity(1_000.0, None, 1_000.0)
"""Within the second of its start."""
BROKEN, GONE = Silence("it broke off", refused=False), Silence("nobody listens", refused=True)


class Client:
    """Says one thing after another; the last one for ever."""

    def __init__(self) -> None:
        self.identities: list[TargetIdentity | Silence] = [FIRST]
        self.encodings: list[Encoding | None] = ["zstd"]
        self.asked = 0

    async def identity(self) -> TargetIdentity | Silence:
        self.asked += 1
        return self.identities.pop(0) if len(self.identities) > 1 else self.identities[0]

    async def encoding(self) -> Encoding | None:
        return self.encodings.pop(0) if len(self.encodings) > 1 else self.encodings[0]


class Stage:
    """A watch with a client that says what it is told to, and ten rows acked by the first process."""

    def __init__(self, directory: Path) -> None:
        self.client, self.clock = Client(), ManualClock()
        self.sleeps: list[float] = []
        self.complaints: list[str] = []
        settings = VictoriaMetricsSettings(poll_interval=Duration(3600.0))
        self.kept = ProgressKeeper(
            ProgressFiles(directory, 0), settings, self.clock, in_disk=self._at_once, safe_written=lambda place: None
        )
        self.kept.target_start = FIRST.start_time
        self.kept.progress.acked.rows = 10
        self.kept.progress.acked.position = LogPosition(1, 10)
        self.watch = TargetWatch(
            settings, cast(VictoriaMetrics, self.client), self.kept, self.clock,
            backoff=lambda: Backoff(1.0, 8.0, lambda: 1.0), sleep=self._sleep, complain=self.complaints.append,
        )  # fmt: skip

    async def _at_once(self, call: Callable[[], T]) -> T:
        return call()

    async def _sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        await asyncio.sleep(0)

    async def met(self, *said: TargetIdentity | Silence) -> None:
        """Meet a target that says so, and begin."""
        self.client.identities = list(said)
        async with asyncio.timeout(10):
            await self.watch.meet()
        self.watch.begin()

    @property
    def went_back(self) -> bool:
        return self.kept.progress.acked.rows == 0


@pytest.fixture
async def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def test_the_process_that_acked_is_known_again(stage: Stage) -> None:
    await stage.met(BROKEN, BROKEN, FIRST)
    assert not stage.went_back
    assert (stage.watch.encoding, stage.watch.retention, stage.watch.replays) == ("zstd", 60.0, 0)
    assert stage.sleeps == [1.0, 2.0]
    assert stage.complaints == ["it broke off"] * 2


@pytest.mark.parametrize(
    "said", [[SECOND], [GONE, FIRST], [TargetIdentity(None, None)]], ids=["another", "was gone", "does not tell"]
)
async def test_one_that_may_be_another_is_sent_what_is_not_safe_again(
    stage: Stage, said: list[TargetIdentity | Silence]
) -> None:
    await stage.met(*said)
    assert stage.went_back
    assert stage.watch.replays == 1


async def test_nothing_is_sent_in_the_second_of_a_start(stage: Stage) -> None:
    await stage.met(YOUNG, YOUNG, FIRST)
    assert stage.sleeps == [1.05, 1.05]
    assert not stage.went_back


async def test_one_that_tells_no_time_is_asked_twice(stage: Stage) -> None:
    timeless = TargetIdentity(FIRST.start_time, None)
    await stage.met(timeless, timeless)
    assert stage.sleeps == [1.05]


async def test_a_target_without_a_write_address_is_waited_for(stage: Stage) -> None:
    stage.client.encodings = [None, "snappy"]
    await stage.met(FIRST)
    assert stage.complaints == ["it does not answer on its write address"]
    assert stage.watch.encoding == "snappy"


async def test_a_connection_that_broke_holds_blocks_until_the_same_process_answers(stage: Stage) -> None:
    await stage.met(FIRST)
    stage.client.identities = [BROKEN, FIRST]
    stage.client.encodings = [None, "snappy"]
    watching = asyncio.create_task(stage.watch.watch())
    stage.watch.suspect("it broke off", refused=False)
    assert not stage.watch.confirmed.is_set()
    async with asyncio.timeout(10):
        await stage.watch.confirmed.wait()
    assert stage.watch.encoding == "snappy", "it is asked again, as it may have been replaced by another version"
    assert stage.sleeps == [1.0, 2.0]
    assert not watching.done()
    watching.cancel()


@pytest.mark.parametrize(
    ("refused", "said"),
    [(False, SECOND), (True, FIRST), (False, TargetIdentity(None, None))],
    ids=["another", "nobody listened", "does not tell"],
)
async def test_the_watch_ends_when_it_is_another_process(stage: Stage, refused: bool, said: TargetIdentity) -> None:
    await stage.met(FIRST)
    stage.client.identities = [said]
    stage.watch.suspect("it broke off", refused)
    async with asyncio.timeout(10):
        await stage.watch.watch()
    assert not stage.watch.confirmed.is_set()
    await stage.met(FIRST)
    assert stage.went_back, "it may have lost what it had taken"
