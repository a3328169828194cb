"""Scores on their way back to the target: a queue of their own, one block at a time.

They stand in no log. What does not fit into the queue is dropped; the block under way when a flow ends is sent again by
the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from gateway.forward.remote_write_encoder import EncodedBlock, PackedRows
from gateway.forward.score_queue import ScoreQueue
from gateway.forward.settings import VictoriaMetricsSettings


class ScoreSender:
    """Scores that wait, and the one block that is on its way. All but `add` is for one event loop."""

    def __init__(self, settings: VictoriaMetricsSettings, sleep: Callable[[float], Awaitable[object]]) -> None:
        self._settings, self._sleep = settings, sleep
        self._queue = ScoreQueue(settings.score_queue_rows)
        self._added = asyncio.Event()
        self._block: EncodedBlock | None = None
        self._sent = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._refused = 0
        self.forwarded = 0
        """Samples that the target has taken."""

    @property
    def dropped(self) -> int:
        """Samples that found no room, or that the target refused."""
        return self._queue.dropped + self._refused

    @property
    def waiting(self) -> int:
        """Samples in the queue."""
        return len(self._queue)

    def add(self, blobs: Sequence[bytes], times_ms: Sequence[int], values: Sequence[float]) -> int:
        """Samples by label blob; from any thread. Returns how many were taken, the rest is dropped."""
        taken = self._queue.add(blobs, times_ms, values)
        if taken and self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._added.set)
        return taken

    async def run(
        self,
        encode: Callable[[PackedRows], Awaitable[list[EncodedBlock]]],
        send: Callable[[EncodedBlock], Awaitable[None]],
    ) -> None:
        """Hand blocks to `send`, each after `finished` was called for the one before, until cancelled."""
        self._loop = asyncio.get_running_loop()
        while True:
            if self._block is None:
                self._added.clear()
                packed = self._queue.take(self._settings.block_rows)
                if packed is None:
                    await self._added.wait()
                    await self._sleep(self._settings.flush_interval)
                    continue
                blocks = await encode(packed)
            else:
                blocks = [self._block]
            for block in blocks:
                self._block = block
                self._sent.clear()
                await send(block)
                await self._sent.wait()

    def finished(self, block: EncodedBlock, *, taken: bool) -> None:
        """The block under way is done with; taken: by the target, else it was refused for good."""
        if taken:
            self.forwarded += block.rows
        else:
            self._refused += block.rows
        self._block = None
        self._sent.set()
