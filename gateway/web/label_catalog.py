"""What series there are, told by the labels that name services and hosts; shared by everything that lists these."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, Protocol

from gateway.telemetry.label_groups import LabelGroups
from gateway.telemetry.service_labels import SERVICE_LABELS
from gateway.web.kept import Kept

HOST_LABELS: Final = ("host_name", "host.name", "instance", "service_instance_id")
NAMES: Final = ("__name__", *SERVICE_LABELS, *HOST_LABELS)

Groups = list[tuple[dict[str, str], int]]
"""(labels, how many series have these), among NAMES only."""


class GroupSource(Protocol):
    """The data plane, asked from the control plane."""

    async def label_groups(self, names: Sequence[str]) -> list[LabelGroups]:
        """Of each worker; raises Unavailable."""
        ...


class LabelCatalog:
    """The groups, at most some seconds old."""

    def __init__(self, source: GroupSource) -> None:
        self._source = source
        self._answer: list[LabelGroups] = []
        self._groups: Groups = []
        self._kept = Kept(self._take, "label-catalog")

    async def groups(self) -> Groups:
        """The same list, the object too, as long as nothing has changed. Raises Unavailable."""
        return await self._kept.get()

    async def stop(self) -> None:
        """Ends a question in progress; idempotent."""
        await self._kept.stop()

    async def _take(self) -> Groups:
        answer = await self._source.label_groups(NAMES)
        if answer != self._answer:
            self._groups = await asyncio.to_thread(lambda: [group for worker in answer for group in worker])
            self._answer = answer
        return self._groups
