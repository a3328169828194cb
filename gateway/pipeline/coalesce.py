"""Small frames that follow one another taken together, so that what a reader does once a frame is not done too often.

Small requests make small frames, and of N edges' commits a shard gets N times as many frames as it would of one, each
with an N-th of the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.telemetry.columns import ExemplarColumns
from gateway.telemetry.frame import Frame
from gateway.telemetry.resolved import ResolvedFrame

MOST_ROWS: Final = 65_536
"""A frame of so many rows is large enough."""
_MOST_APART_NS: Final = 50_000_000
"""Frames received further apart stay apart: rows of one frame count as received when the first was."""


def coalesced(frames: Sequence[ResolvedFrame]) -> list[ResolvedFrame]:
    """The same rows in the same order in fewer frames. Frames between which rows are missing stay apart."""
    found: list[ResolvedFrame] = []
    group: list[ResolvedFrame] = []
    rows = 0
    for resolved in frames:
        if group and not (rows + len(resolved.sids) <= MOST_ROWS and _follows(group, resolved)):
            found.append(_joined(group))
            group, rows = [], 0
        group.append(resolved)
        rows += len(resolved.sids)
    if group:
        found.append(_joined(group))
    return found


def _follows(group: Sequence[ResolvedFrame], following: ResolvedFrame) -> bool:
    first, last, frame = group[0].frame, group[-1].frame, following.frame
    near = abs(frame.received_ns - first.received_ns) <= _MOST_APART_NS
    return near and frame.first_row == last.first_row + last.counted_rows


def _joined(group: Sequence[ResolvedFrame]) -> ResolvedFrame:
    if len(group) == 1:
        return group[0]
    frames = [resolved.frame for resolved in group]
    starts: NDArray[np.int64] | None = None
    if any(frame.starts_ms is not None for frame in frames):
        starts = np.concatenate([_starts(frame) for frame in frames])
    joined = replace(
        frames[0],
        end=frames[-1].end,
        counted_rows=sum(frame.counted_rows for frame in frames),
        received_ns=min(frame.received_ns for frame in frames),
        ids=np.concatenate([frame.ids for frame in frames]),
        times_ms=np.concatenate([frame.times_ms for frame in frames]),
        values=np.concatenate([frame.values for frame in frames]),
        starts_ms=starts,
        exemplars=ExemplarColumns.joined((frame.exemplars, len(frame)) for frame in frames),
    )
    return ResolvedFrame(joined, np.concatenate([resolved.sids for resolved in group]), group[-1].place)


def _starts(frame: Frame) -> NDArray[np.int64]:
    return frame.starts_ms if frame.starts_ms is not None else np.zeros(len(frame), np.int64)
