"""What other detectors scored, read from the recordings' folder `_peers`."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from bench.detection.datasets import DATA_SETS
from bench.detection.nab_score import PROFILES, FileScores, best_score, window_rows


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


SHOWN = ("ARTime", "numenta", "contextOSE", "randomCutForest", "twitterADVec", "windowedGaussian")
_SOURCES = {"wsd": "WSD", "aiops_kpi": "IOPS", "nab": "NAB", "ucr": "UCR", "smd": "SMD"}


def comparison(root: Path, sets: set[str]) -> list[dict[str, Any]]:
    """Rows for the detectors that published scores on these sets: NAB on the same files and by the same threshold
    search; VUS-PR as published means over other files of the same sources, best method first."""
    rows: list[dict[str, Any]] = []
    if not (root / "_peers").is_dir():
        return rows
    for peer in SHOWN if "nab" in sets else ():
        files = list(nab_files(root, peer).values())
        scores = {f"nab_{name}": round(best_score(files, profile)[0], 1) for name, profile in PROFILES.items()}
        rows.append({"bench": "detection", "set": "nab", "peer": peer, **scores})
    for name, source in _SOURCES.items():
        if name in sets:
            means = published_vus(root, source, multivariate=name == "smd")
            best = sorted(means, key=lambda m: -means[m])[:1]
            rows += [
                {"bench": "detection", "set": name, "peer": method, "vus_pr": round(means[method], 3)}
                for method in dict.fromkeys([*best, *(m for m in ("POLY", "PCA") if m in means)])
            ]
    return rows
