"""Small frames taken together: the same rows, in order, with the place behind them."""

from __future__ import annotations

import numpy as np

from gateway.pipeline.coalesce import MOST_ROWS, coalesced
from gateway.telemetry.columns import Definitions, ExemplarColumns
from gateway.telemetry.frame import Frame, Frontier, LogPosition
from gateway.telemetry.resolved import ResolvedFrame

MS = 10**6
NO_DEFINITIONS = Definitions(np.empty(0, np.uint8), np.zeros(1, np.uint32), np.empty(0, np.uint8))


def frame(
    first_row: int, rows: int, received_ns: int, *, starts: bool = False, exemplar_row: int | None = None
) -> ResolvedFrame:
    numbers = np.arange(first_row, first_row + rows)
    exemplars = None
    if exemplar_row is not None:
        exemplars = ExemplarColumns(
            np.array([exemplar_row], np.uint32), np.array([1]), np.array([2.0]),
            np.zeros((1, 16), np.uint8), np.zeros((1, 8), np.uint8),
        )  # fmt: skip
    end = first_row + rows
    made = Frame(
        edge=0, shard=0, start=LogPosition(1, first_row), end=LogPosition(1, end), first_row=first_row,
        counted_rows=rows, received_ns=received_ns, ids=numbers.astype(np.uint32), times_ms=numbers,
        values=numbers / 2, starts_ms=numbers - 1 if starts else None, first_new_id=0, definitions=NO_DEFINITIONS,
        exemplars=exemplars,
    )  # fmt: skip
    return ResolvedFrame(made, numbers.astype(np.uint32), Frontier((LogPosition(1, end),), (end,), end))


def test_rows_times_starts_and_exemplars_are_kept() -> None:
    frames = [frame(0, 3, 5), frame(3, 2, 3 * MS, starts=True, exemplar_row=1), frame(5, 0, 4 * MS)]
    (one,) = coalesced(frames)
    assert one.sids.tolist() == one.frame.times_ms.tolist() == one.frame.ids.tolist() == [0, 1, 2, 3, 4]
    assert one.frame.values.tolist() == [0, 0.5, 1, 1.5, 2]
    assert one.frame.starts_ms is not None
    assert one.frame.starts_ms.tolist() == [0, 0, 0, 2, 3]
    assert one.frame.exemplars is not None
    assert one.frame.exemplars.rows.tolist() == [4]
    assert (one.frame.first_row, one.frame.counted_rows, one.frame.received_ns) == (0, 5, 5)
    assert one.end == frames[-1].end


def test_frames_far_apart_behind_a_gap_or_large_stay_apart() -> None:
    far = [frame(0, 3, 0), frame(3, 3, 60 * MS)]
    assert coalesced(far) == far
    gap = [frame(0, 3, 0), frame(4, 3, 0)]
    assert coalesced(gap) == gap
    large = [frame(0, MOST_ROWS, 0), frame(MOST_ROWS, 1, 0), frame(MOST_ROWS + 1, 1, 0)]
    assert [len(f.sids) for f in coalesced(large)] == [MOST_ROWS, 2]
    assert coalesced([]) == []
