"""Scores on their way back to the target: a queue of their own, one block at a time.

They stand in no log. What does not fit into the queue is dropped; what was on its way out of it when a flow ended is
sent by the next one. So every sample that was offered is forwarded, dropped or waiting.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from gateway.forward.remote_write_encoder import EncodedBlock, PackedRows
from gateway.forward.score_queue import ScoreQueue
from gateway.forward.settings import VictoriaMetricsSettings


class ScoreSender:
    """Scores that wait, and the blocks that were made of the first ones. All but `add` is for one event loop."""

    def __init__(self, settings: VictoriaMetricsSettings, sleep: Callable[[float], Awaitable[object]]) -> None:
        self._settings, self._sleep = settings, sleep
        self._queue = ScoreQueue(settings.score_queue_rows)
        self._added = asyncio.Event()
        self._packed: PackedRows | None = None
        """Out of the queue and not encoded yet."""
        self._blocks: deque[EncodedBlock] = deque()
        """Encoded; the first one is on its way."""
        self._sent = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._refused = 0
        self.forwarded = 0
        """Samples that the target has taken."""

    @property
    def dropped(self) -> int:
        """Samples that found no room, that could not be encoded, or that the target refused."""
        return self._queue.dropped + self._refused

    @property
    def waiting(self) -> int:
        """Samples in the queue, or on their way."""
        packed = 0 if self._packed is None else len(self._packed)
        return len(self._queue) + packed + sum(block.rows for block in self._blocks)

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
        """Hand blocks to `send`, each after `finished` was called for the one before, until cancelled.
        Raises what `encode` and `send` raise; it may be called again then."""
        self._loop = asyncio.get_running_loop()
        while True:
            while self._blocks:
                self._sent.clear()
                await send(self._blocks[0])
                await self._sent.wait()
            if self._packed is None:
                self._added.clear()
                self._packed = self._queue.take(self._settings.block_rows)
            if self._packed is None:
                await self._added.wait()
                await self._sleep(self._settings.flush_interval)
                continue
            try:
                self._blocks.extend(await encode(self._packed))
            except Exception:
                self._refused += len(self._packed)  # it would fail again, and nothing behind it would go out
                self._packed = None
                raise
            self._packed = None

    def finished(self, block: EncodedBlock, *, taken: bool) -> None:
        """The block under way is done with; taken: by the target, else it was refused for good."""
        if taken:
            self.forwarded += block.rows
        else:
            self._refused += block.rows
        self._blocks.popleft()
        self._sent.set()
