"""All couriers of a configuration: started and stopped together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from gateway.alerting.courier import Courier
from gateway.owned_tasks import end_tasks


class Couriers:
    """One task for each channel. Used on one loop."""

    def __init__(self) -> None:
        self._all: list[tuple[Courier, asyncio.Task[None]]] = []

    def start(self, couriers: Mapping[str, Courier]) -> None:
        """Lets them run; `stop` was called for those before."""
        self._all = [
            (courier, asyncio.create_task(courier.run(), name=f"courier {key}")) for key, courier in couriers.items()
        ]

    async def stop(self) -> None:
        """Attempts under way are cut off and awaited; idempotent."""
        tasks, self._all = [task for _, task in self._all], []
        await end_tasks(*tasks)

    def wake(self) -> None:
        """There may be something to send."""
        for courier, _ in self._all:
            courier.wake()
