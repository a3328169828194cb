"""Frames whose rows name series of the shard's index, and the view of that index which readers share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gateway.telemetry.frame import Frame, Place


class SeriesView(Protocol):
    """What readers may see of the series index. A series id (sid) indexes every array.

    The arrays may be longer than the number of series and may be replaced by larger ones when series are added, so
    take them anew for each frame.
    """

    @property
    def label_arena(self) -> NDArray[np.uint8]:
        """uint8[total]: all label sets and the pairs that they name (kernels.label_sets)."""
        ...

    @property
    def label_sets(self) -> NDArray[np.uint32]:
        """uint32[capacity]: where a sid's label set begins in the arena, in units of label_sets.UNIT bytes."""
        ...

    @property
    def label_lengths(self) -> NDArray[np.uint32]:
        """uint32[capacity]: length of a sid's label blob; 0 for a free id."""
        ...

    @property
    def kinds(self) -> NDArray[np.uint8]:
        """uint8[capacity]: telemetry.kind of a sid."""
        ...

    @property
    def generations(self) -> NDArray[np.uint32]:
        """uint32[capacity]: raised each time a sid is given to another series."""
        ...


@dataclass(slots=True)
class ResolvedFrame:
    """A frame and, for each of its rows, the sid: uint32[n].

    place: where a reader of several edges stands behind this frame; None where there is one edge.
    """

    frame: Frame
    sids: NDArray[np.uint32]
    place: Place | None = None

    @property
    def end(self) -> Place:
        """Where the reader stands behind this frame."""
        return self.frame.end if self.place is None else self.place
