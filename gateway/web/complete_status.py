"""The data plane's status with what the control plane knows of the same subjects."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from gateway.telemetry.freeze_status import FreezeStatus


class StatusSource(Protocol):
    """The data plane, asked from the control plane."""

    async def status(self) -> dict[str, Any]:
        """Fresh status; raises Unavailable."""
        ...


class Publication(Protocol):
    """The windows that the control plane publishes to the data plane."""

    left_out: int

    @property
    def problem(self) -> str:
        """Why the data plane does not know all windows; empty while it does."""
        ...


class CompleteStatus:
    """A StatusSource."""

    def __init__(self, data_plane: StatusSource, publication: Publication) -> None:
        self._data_plane, self._publication = data_plane, publication

    async def status(self) -> dict[str, Any]:
        """Fresh status; raises Unavailable."""
        status = await self._data_plane.status()
        known = msgspec.convert(status["frozen_learning"], FreezeStatus)
        whole = known.with_publication(self._publication.left_out, self._publication.problem)
        status["frozen_learning"] = msgspec.to_builtins(whole)
        return status
