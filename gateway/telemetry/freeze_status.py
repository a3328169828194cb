"""What there is to say of learning that maintenance windows freeze: the status' `frozen_learning`."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class FreezeStatus(msgspec.Struct, frozen=True, kw_only=True):
    """Of one worker, or of the whole program."""

    windows: int
    """That cover the newest points' time; the wall clock's where there are no points yet."""
    windows_left_out: int = 0
    """That freeze nothing, because there are too many or too large ones; the control plane knows."""
    series: int
    """That are frozen and get back what they knew."""
    new_series: int
    """That begin anew when the window ends."""
    refused_series: int
    """That go on learning, over `detection.max_frozen_series`."""
    bytes: int
    """Memory of what is kept of them."""
    problem: str
    """Why windows do not freeze what they should; empty if they do."""

    def with_publication(self, left_out: int, problem: str) -> FreezeStatus:
        """With what the control plane knows of the windows it publishes; a problem there comes first."""
        return msgspec.structs.replace(self, windows_left_out=left_out, problem=problem or self.problem)


def merged_freeze_status(parts: Sequence[FreezeStatus]) -> FreezeStatus:
    """One of several workers', which all know the same windows."""
    return FreezeStatus(
        windows=max(part.windows for part in parts),
        series=sum(part.series for part in parts),
        new_series=sum(part.new_series for part in parts),
        refused_series=sum(part.refused_series for part in parts),
        bytes=sum(part.bytes for part in parts),
        problem=next((part.problem for part in parts if part.problem), ""),
    )
