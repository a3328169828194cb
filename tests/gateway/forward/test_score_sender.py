"""Whatever interrupts scores on their way, each is forwarded, dropped or waiting."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from gateway.errors import StateError
from gateway.forward.remote_write_encoder import (
    EncodedBlock,
    PackedRows,
    RemoteWriteEncoder,
    decode_request,
    decompress,
)
from gateway.forward.score_sender import ScoreSender
from gateway.forward.settings import VictoriaMetricsSettings
from gateway.telemetry.labels import encode_label_blob

BLOB = encode_label_blob({"__name__": "anomaly_score", "sensor": "1"})
BLOCK_BYTES = 200
"""Of which a packet of ten samples makes several."""


class Stage:
    """A sender and what is around it: an encoder and a way to the target that may be kept waiting."""

    def __init__(self, queue_rows: int = 1_000) -> None:
        self.sleeps: list[float] = []
        self.scores = ScoreSender(VictoriaMetricsSettings(block_rows=10, score_queue_rows=queue_rows), self._sleep)
        self.encoder = RemoteWriteEncoder(10, BLOCK_BYTES, -2)
        self.offered = 0
        self.may_encode, self.may_send, self.answers = asyncio.Event(), asyncio.Event(), asyncio.Event()
        for each in (self.may_encode, self.may_send, self.answers):
            each.set()
        self.reached = asyncio.Event()
        """Somebody waits for one of those that are not set."""
        self.fails = False
        self.refuses = False
        self.after_answer: Callable[[], object] = lambda: None
        self.answered = 0
        self.taken: list[float] = []
        self.most_on_their_way = self._on_their_way = 0

    async def _sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)

    def offer(self, count: int) -> int:
        values = [float(self.offered + n) for n in range(count)]
        self.offered += count
        return self.scores.add([BLOB] * count, list(range(count)), values)

    async def _wait(self, for_event: asyncio.Event) -> None:
        if not for_event.is_set():
            self.reached.set()
        await for_event.wait()

    async def encode(self, packed: PackedRows) -> list[EncodedBlock]:
        await self._wait(self.may_encode)
        if self.fails:
            raise StateError("planted")
        return list(self.encoder.encode(packed, "snappy"))

    async def send(self, block: EncodedBlock) -> None:
        await self._wait(self.may_send)
        self._on_their_way += 1
        self.most_on_their_way = max(self.most_on_their_way, self._on_their_way)
        if not self.answers.is_set():
            self.reached.set()
            return  # it is under way, and nobody says what becomes of it
        asyncio.get_running_loop().call_soon(self._answer, block)

    def _answer(self, block: EncodedBlock) -> None:
        self._on_their_way -= 1
        self.check()
        self.scores.finished(block, taken=not self.refuses)
        if not self.refuses:
            for _, samples in decode_request(decompress(block.body, block.encoding)):
                self.taken += [value for _, value in samples]
        self.answered += 1
        self.after_answer()
        self.check()

    def check(self) -> None:
        assert self.scores.forwarded + self.scores.dropped + self.scores.waiting == self.offered

    @contextlib.asynccontextmanager
    async def flow(self) -> AsyncIterator[asyncio.Task[None]]:
        task = asyncio.create_task(self.scores.run(self.encode, self.send))
        try:
            async with asyncio.timeout(30):
                yield task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self._on_their_way = 0
            self.check()

    async def until_nothing_waits(self) -> None:
        while self.scores.waiting:
            self.check()
            await asyncio.sleep(0)


async def test_blocks_go_out_in_order_and_one_at_a_time() -> None:
    stage = Stage()
    async with stage.flow():
        await asyncio.sleep(0)  # it waits for scores
        assert stage.offer(25) == 25
        await stage.until_nothing_waits()
    assert stage.taken == [float(n) for n in range(25)]
    assert stage.most_on_their_way == 1
    assert stage.scores.forwarded == 25
    assert stage.sleeps == [0.25], "more may come for the first block"


@pytest.mark.parametrize("place", ["may_encode", "may_send", "answers"])
@pytest.mark.parametrize("before", [0, 1, 2], ids=lambda blocks: f"after {blocks} blocks")
async def test_a_flow_that_ends_takes_no_scores_with_it(place: str, before: int) -> None:
    stage = Stage()
    stage.offer(20)
    event = getattr(stage, place)

    def block() -> None:
        if stage.answered == before:
            event.clear()

    block()
    stage.after_answer = block
    async with stage.flow():
        await stage.reached.wait()
    assert 0 < stage.scores.waiting <= 20
    event.set()
    async with stage.flow():
        await stage.until_nothing_waits()
    assert stage.scores.forwarded == 20
    assert sorted(set(stage.taken)) == [float(n) for n in range(20)]


async def test_what_cannot_be_encoded_is_counted_and_stops_nothing_behind_it() -> None:
    stage = Stage()
    stage.offer(15)
    stage.fails = True
    async with stage.flow() as flow:
        with pytest.raises(StateError, match="planted"):
            await flow
    assert (stage.scores.dropped, stage.scores.waiting) == (10, 5)
    stage.fails = False
    async with stage.flow():
        await stage.until_nothing_waits()
    assert (stage.scores.dropped, stage.scores.forwarded) == (10, 5)


async def test_what_finds_no_room_or_is_refused_is_counted() -> None:
    stage = Stage(queue_rows=12)
    assert stage.offer(15) == 12
    stage.refuses = True
    async with stage.flow():
        await stage.until_nothing_waits()
    assert (stage.scores.dropped, stage.scores.forwarded) == (15, 0)
