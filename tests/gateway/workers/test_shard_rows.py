"""A commit's rows in the order of their shards: refused rows are left out, exemplars go with their rows."""

from __future__ import annotations

import numpy as np
import pytest

from gateway.pipeline.shard_rows import RowGrouping
from gateway.series.edge_table import Resolution
from gateway.series.shard import Shard
from gateway.telemetry import kind
from gateway.telemetry.columns import Definitions, ExemplarColumns, LabelSource, PointColumns
from gateway.telemetry.labels import encode_label_blob

SERIES = 9
SHARD = Shard(0, 3, (1, 2))


class NoLabels(LabelSource):
    """Nothing is asked of it."""

    def definitions(self, rows: object) -> Definitions:
        raise AssertionError


@pytest.mark.parametrize("refused", [[], [0, 4, 7]])
def test_rows_go_to_their_shard_with_what_belongs_to_them(refused: list[int]) -> None:
    blobs = [encode_label_blob({"__name__": "m", "n": str(i)}) for i in range(SERIES)]
    definitions = Definitions.from_blobs(blobs, np.full(SERIES, kind.GAUGE, np.uint8))
    owners = SHARD.owners(definitions).tolist()
    ids = np.arange(SERIES, dtype=np.uint32)
    keep = None
    if refused:
        keep = np.ones(SERIES, np.bool_)
        keep[refused] = False
    marked = np.array([1, 4, 8], np.uint32)
    columns = PointColumns(
        hash_hi=ids.astype(np.uint64), hash_lo=ids.astype(np.uint64), times_ms=np.arange(SERIES) * 10,
        values=np.arange(SERIES) / 2, starts_ms=np.arange(SERIES) * 10 - 5,
        kinds=np.array([kind.TARGET_INFO if i == 2 else kind.GAUGE for i in range(SERIES)], np.uint8),
        source=NoLabels(),
        exemplars=ExemplarColumns(
            marked, marked.astype(np.int64), marked / 1.0, np.zeros((3, 16), np.uint8), np.zeros((3, 8), np.uint8)
        ),
    )  # fmt: skip
    grouped = RowGrouping(SHARD).group(columns, Resolution(ids, keep, definitions, 0, 0), 77)
    stay = [i for i in range(SERIES) if i not in refused]
    assert grouped.ids.tolist() == sorted(stay, key=lambda i: owners[i])
    assert grouped.times_ms.tolist() == [10 * i for i in grouped.ids.tolist()]
    assert grouped.values.tolist() == [i / 2 for i in grouped.ids.tolist()]
    assert grouped.starts_ms is not None
    assert grouped.starts_ms.tolist() == [10 * i - 5 for i in grouped.ids.tolist()]
    assert grouped.shards.latest_ns == 77
    assert grouped.shards.rows.tolist() == [sum(owners[i] == s for i in stay) for s in range(3)]
    assert grouped.shards.counted.tolist() == [sum(owners[i] == s and i != 2 for i in stay) for s in range(3)]
    assert grouped.exemplars is not None
    named = {
        int(grouped.ids[row]): value
        for row, value in zip(grouped.exemplars.rows, grouped.exemplars.values, strict=True)
    }
    assert named == {i: float(i) for i in (1, 4, 8) if i in stay}
