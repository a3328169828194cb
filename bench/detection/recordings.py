"""What a recording is, where the recordings are, and how their files are read."""

from __future__ import annotations

import csv
import gzip
import io
import os
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gateway.baseline.scorecard import Event, Opening

REPOSITORY = Path(__file__).resolve().parents[2]
MONDAY_S = 1_499_644_800.0
"""2017-07-10 00:00 UTC, a Monday: where recordings without timestamps are made to start."""

Floats = NDArray[np.float64]
Labels = NDArray[np.int8]


def data_root() -> Path:
    """Where the recordings are: GATEWAY_DETECTION_DATA, else ../shared/data beside the repository."""
    return Path(os.environ.get("GATEWAY_DETECTION_DATA") or REPOSITORY.parent / "shared" / "data")


@dataclass(slots=True)
class Recording:
    """One series with what is known about it.

    times_s: float64[n], Unix seconds in row order; values: float64[n], NaN = missing; labels: int8[n], 1 abnormal,
    0 normal, -1 unlabelled. events: labelled events; neutral: spans without a label. warm_up_s None: by the protocol.
    vus_slices: row ranges on which published tables judge the raw score.
    """

    dataset: str
    name: str
    times_s: Floats
    values: Floats
    labels: Labels
    interval_s: float
    events: list[Event]
    neutral: list[Opening] = field(default_factory=list)
    kind: str = "gauge"
    merge_s: float = 1800.0
    warm_up_s: float | None = None
    group: str = ""
    vus_slices: list[tuple[int, int]] = field(default_factory=list)


def runs(mask: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last index of each run of true."""
    edges = np.diff(mask.astype(np.int8), prepend=np.int8(0), append=np.int8(0))
    return list(zip(np.flatnonzero(edges == 1).tolist(), (np.flatnonzero(edges == -1) - 1).tolist(), strict=True))


def _spans(times: Floats, mask: NDArray[np.bool_]) -> list[tuple[float, float]]:
    return [(float(times[a]), float(times[b])) for a, b in runs(mask)]


def events_of(times: Floats, labels: Labels) -> list[Event]:
    """The labelled stretches: one event for each run of label 1."""
    return [Event(start, end) for start, end in _spans(times, labels == 1)]


def neutral_of(times: Floats, labels: Labels) -> list[Opening]:
    """The runs without a label."""
    return [Opening(start, end) for start, end in _spans(times, labels < 0)]


def stems(root: Path, pattern: str, suffix: str) -> list[str]:
    """Paths under `root` that match, without it and without the suffix; sorted."""
    return sorted(str(path.relative_to(root)).removesuffix(suffix) for path in root.glob(pattern))


def columns_of(path: Path) -> dict[str, NDArray[Any]]:
    """A Parquet file's columns by name."""
    table = pq.read_table(path)
    return {name: table.column(name).to_numpy() for name in table.column_names}


def read_csv(path: Path, delimiter: str = ",") -> list[list[str]]:
    """Rows of a gzip-compressed file, its heading among them."""
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        return list(csv.reader(io.StringIO(file.read()), delimiter=delimiter))


def unix_seconds(text: str) -> float:
    """Of an ISO time, in UTC where it names no zone. Raises ValueError."""
    moment = datetime.fromisoformat(text.strip().strip('"').replace("Z", "+00:00"))
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def number_of(text: str) -> float:
    """NaN for an empty cell. Raises ValueError."""
    return float(text) if text.strip() else float("nan")
