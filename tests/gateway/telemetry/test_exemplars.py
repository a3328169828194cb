"""Exemplars of blocks of rows that are put one after another."""

from __future__ import annotations

import numpy as np

from gateway.telemetry.columns import ExemplarColumns


def exemplars(*rows: int) -> ExemplarColumns:
    count = len(rows)
    return ExemplarColumns(
        np.array(rows, np.uint32),
        np.array(rows, np.int64) + 1000,
        np.array(rows, np.float64) / 2,
        np.full((count, 16), rows[0], np.uint8),
        np.full((count, 8), rows[0], np.uint8),
    )


def test_rows_count_on_over_blocks_with_and_without_exemplars() -> None:
    joined = ExemplarColumns.joined([(None, 3), (exemplars(0, 4), 5), (None, 2), (exemplars(1), 7)])
    assert joined is not None
    assert joined.rows.tolist() == [3, 7, 11]
    assert joined.rows.dtype == np.uint32
    assert joined.times_ms.tolist() == [1000, 1004, 1001]
    assert joined.values.tolist() == [0.0, 2.0, 0.5]
    assert joined.trace_ids[:, 0].tolist() == [0, 0, 1]
    assert joined.span_ids.shape == (3, 8)


def test_no_exemplars_are_none() -> None:
    assert ExemplarColumns.joined([(None, 3), (None, 1)]) is None
    assert ExemplarColumns.joined([]) is None
