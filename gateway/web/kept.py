"""An answer of the data plane that is kept a while, as asking costs: shown at once, renewed behind what is shown."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

from gateway.errors import Unavailable
from gateway.owned_tasks import end_tasks

T = TypeVar("T")

_KEEP_SECONDS: Final = 5.0
_STALE_SECONDS: Final = 60.0
_KEEP_PER_COST: Final = 20.0
"""Seconds an answer is kept further for each second it took: asking takes at most a twentieth of the time."""


class Kept(Generic[T]):
    """The last answer to `ask`, at most some seconds old.

    Once it is older, whoever asks gets it for another minute while a new one is fetched. Then he waits. ask raises
    Unavailable where there is none.
    """

    def __init__(self, ask: Callable[[], Awaitable[T]], name: str) -> None:
        self._ask, self._name = ask, name
        self._value: T | None = None
        self._until = 0.0
        self._lock = asyncio.Lock()
        self._renewing: asyncio.Task[None] | None = None

    async def get(self) -> T:
        """The answer. Raises Unavailable."""
        now = time.monotonic()
        if now >= self._until:
            if self._value is not None and now < self._until + _STALE_SECONDS:
                if self._renewing is None or self._renewing.done():
                    self._renewing = asyncio.create_task(self._renew_quietly(), name=self._name)
            else:
                await self._renew()
        assert self._value is not None
        return self._value

    async def stop(self) -> None:
        """Ends a fetch in progress; idempotent."""
        task, self._renewing = self._renewing, None
        await end_tasks(task)

    async def _renew(self) -> None:
        async with self._lock:
            began = time.monotonic()
            if began < self._until:
                return  # somebody else did while we waited
            self._value = await self._ask()
            now = time.monotonic()
            self._until = now + _KEEP_SECONDS + _KEEP_PER_COST * (now - began)

    async def _renew_quietly(self) -> None:
        # Whoever asks a minute later asks directly, and is told.
        with contextlib.suppress(Unavailable):
            await self._renew()
