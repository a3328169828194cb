"""What other detectors scored, read from the recordings' folder `_peers`."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from bench.detection.datasets import DATA_SETS
from bench.detection.nab_score import FileScores, window_rows


def nab_peers(root: Path) -> list[str]:
    """Names of the detectors whose raw scores on NAB are there."""
    return sorted(path.stem for path in (root / "_peers" / "nab" / "scores").glob("*.parquet"))


def nab_files(root: Path, peer: str) -> dict[str, FileScores]:
    """A peer's raw scores and the windows, by file."""
    table = pq.read_table(root / "_peers" / "nab" / "scores" / f"{peer}.parquet")
    names = np.array(table.column("file").to_pylist())
    scores = table.column("anomaly_score").to_numpy().astype(np.float64)
    out = {}
    for key in DATA_SETS["nab"].keys(root):
        recording = DATA_SETS["nab"].load(root, key)[0]
        windows = window_rows(recording.times_s, [(e.start, e.end) for e in recording.events])
        out[key] = FileScores(scores[names == f"{key}.csv"], windows)
    return out


def nab_thresholds(root: Path, peer: str) -> dict[str, float]:
    """A peer's published threshold, by profile."""
    document: dict[str, Any] = json.loads((root / "_peers" / "nab" / "thresholds.json").read_text())[peer]
    names = {"standard": "standard", "low_fp": "reward_low_FP_rate", "low_fn": "reward_low_FN_rate"}
    return {ours: float(document[theirs]["threshold"]) for ours, theirs in names.items()}


def published_vus(root: Path, source: str, *, multivariate: bool = False) -> dict[str, float]:
    """Mean published VUS-PR of every method over the files of a source (its name in TSB-AD)."""
    name = ("multi" if multivariate else "uni") + "_mergedTable_VUS-PR.csv.gz"
    with gzip.open(root / "_peers" / "tsb_ad" / name, "rt", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(io.StringIO(file.read())) if row["file"].split("_")[1] == source]
    if not rows:
        return {}
    columns = list(rows[0])
    methods = columns[1 : columns.index("ts_len")]
    return {m: float(np.mean([float(row[m]) for row in rows if row[m]])) for m in methods}
