"""Baselines that come back from a snapshot, and how long its file is held."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gateway.baseline.detector import Baseline
from gateway.baseline.settings import DetectionSettings
from gateway.pipeline.baseline_store import BaselineStore, ScorerCounts
from gateway.series.index import SeriesIndex
from gateway.telemetry.columns import Definitions
from gateway.telemetry.frame import LogPosition
from gateway.telemetry.labels import encode_label_blob

SERIES = 50


def defined(numbers: range) -> tuple[SeriesIndex, NDArray[np.uint32]]:
    index = SeriesIndex(100, arena_bytes=1 << 20)
    blobs = [encode_label_blob({"__name__": "m", "number": str(number)}) for number in numbers]
    return index, index.define(Definitions.from_blobs(blobs, np.ones(len(blobs), np.uint8)))


def is_mapped(path: Path) -> bool:
    return str(path) in Path("/proc/self/maps").read_text()


def test_every_series_finds_its_record_and_then_the_file_is_let_go(tmp_path: Path) -> None:
    index, sids = defined(range(SERIES))
    baseline = Baseline(DetectionSettings())
    times = np.full(SERIES, 1_700_000_000_000, np.int64)
    baseline.observe(
        sids, times, np.arange(SERIES, dtype=float), None, index.kinds, index.generations, 1_700_000_000_000_000_000
    )
    store = BaselineStore(tmp_path, 0, (1, 2))
    store.finish(store.begin(baseline, sids, index, 0), LogPosition(1, 64), ScorerCounts())
    (path,) = tmp_path.glob("*.snapshot")

    again = BaselineStore(tmp_path, 0, (1, 2))
    assert again.load()[0] == LogPosition(1, 64)
    assert is_mapped(path)
    other, new_sids = defined(range(SERIES - 1, -1, -1))  # other ids than before
    restored = Baseline(DetectionSettings())
    assert again.restore(restored, new_sids[:20], other) == 20
    assert is_mapped(path), "the others' records are still there"
    assert again.restore(restored, new_sids[20:], other) == SERIES - 20
    assert not is_mapped(path)
    assert restored.states["raw"][new_sids].tolist() == list(range(SERIES - 1, -1, -1))
    assert again.restore(restored, new_sids, other) == 0
    store.finish(again.begin(restored, new_sids, other, 0), LogPosition(1, 128), ScorerCounts())
