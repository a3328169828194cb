"""The labelled recordings: one loader a set. None of the data is part of this repository.

A folder that is absent is skipped with a message. What is odd about a set stands at its loader. A *recording* is one
series; the recordings of one machine, pod or plant share a `group`, and their labels are the group's.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.detection.recordings import (
    MONDAY_S,
    Floats,
    Recording,
    columns_of,
    events_of,
    neutral_of,
    number_of,
    read_csv,
    stems,
    unix_seconds,
)
from gateway.baseline.scorecard import Event, Opening


@dataclass(frozen=True, slots=True)
class DataSet:
    """A set: the keys of its loading units, and how to load one. One unit is one file, machine or pod."""

    name: str
    keys: Callable[[Path], list[str]]
    load: Callable[[Path, str], list[Recording]]
    licence_allows_training: bool = False
    """Of others figures may be taken, but nothing that is shipped may be fitted to them: see train.trainable."""


# NAB: windows begin before the anomaly; the first 15 % (at most 750 rows) are probation. One file runs backward.


def _load_nab(root: Path, key: str) -> list[Recording]:
    rows = read_csv(root / "nab" / "data" / f"{key}.csv.gz")[1:]
    times = np.array([unix_seconds(row[0]) for row in rows])
    values = np.array([number_of(row[1]) for row in rows])
    windows = json.loads((root / "nab" / "labels" / "combined_windows.json").read_text())[f"{key}.csv"]
    events = [Event(unix_seconds(a.split(".")[0]), unix_seconds(b.split(".")[0])) for a, b in windows]
    labels = np.zeros(len(times), np.int8)
    for event in events:
        labels[(times >= event.start) & (times <= event.end)] = 1
    step = float(np.median(np.diff(times)))
    probation = min(int(0.15 * len(times)), 750)
    return [
        Recording("nab", key, times, values, labels, step, events, merge_s=3600.0,
                  warm_up_s=float(times[probation] - times[0]), vus_slices=[(0, len(times))])
    ]  # fmt: skip


# WSD: real gaps and missing values (label -1). Three source files a recording, judged one by one for VUS-PR.


def _load_wsd(root: Path, key: str) -> list[Recording]:
    c = columns_of(root / "wsd" / f"{key}.parquet")
    times, values, labels = c["timestamp"].astype(np.float64), c["value"].astype(np.float64), c["label"]
    segments = c["segment"]
    slices = [
        (int(np.flatnonzero(segments == s)[0]), int(np.flatnonzero(segments == s)[-1]) + 1) for s in np.unique(segments)
    ]
    return [
        Recording("wsd", key, times, values, labels, 60.0, events_of(times, labels), neutral_of(times, labels),
                  vus_slices=slices)
    ]  # fmt: skip


# AIOps KPI: gaps were filled by linear interpolation at the source. VUS-PR on the competition's test half.


def _load_kpi(root: Path, key: str) -> list[Recording]:
    c = columns_of(root / "aiops_kpi" / f"{key}.parquet")
    times, values, labels = c["timestamp"].astype(np.float64), c["value"].astype(np.float64), c["label"]
    first_test = int(np.argmax(c["part"] == 1))
    return [
        Recording("aiops_kpi", key, times, values, labels, float(np.median(np.diff(times))), events_of(times, labels),
                  vus_slices=[(first_test, len(times))])
    ]  # fmt: skip


# Microsoft cloud monitoring: repeated and backward timestamps are kept as they are.


def _load_ms(root: Path, key: str) -> list[Recording]:
    rows = read_csv(root / "ms_cloud_monitoring" / f"{key}.csv.gz")[1:]
    times = np.array([unix_seconds(row[0]) for row in rows])
    values = np.array([number_of(row[1]) for row in rows])
    labels = np.array([int(float(row[2])) for row in rows], np.int8)
    order = np.argsort(times, kind="stable")
    step = float(np.median(np.diff(times)))
    return [
        Recording("ms_cloud_monitoring", key, times, values, labels, step, events_of(times[order], labels[order]),
                  merge_s=7200.0, vus_slices=[(0, len(times))])
    ]  # fmt: skip


# SMD and ASD: a machine each, no timestamps; labels exist for part 1 only, part 0 is taken as normal.


def _machine(dataset: str, root: Path, key: str, step: float) -> list[Recording]:
    c = columns_of(root / dataset / f"{key}.parquet")
    labels = np.where(c["part"] == 1, c["label"], 0).astype(np.int8)
    times = MONDAY_S + step * np.arange(len(labels), dtype=np.float64)
    first_test = int(np.argmax(c["part"] == 1))
    metrics = [name for name in c if name.startswith("m")]
    return [
        Recording(dataset, f"{key}/{name}", times, c[name].astype(np.float64), labels, step, events_of(times, labels),
                  group=key, vus_slices=[(first_test, len(times))])
        for name in metrics
    ]  # fmt: skip


# SKAB: a plant's run of minutes at one second; GPL-3.0, evaluation only.


def _load_skab(root: Path, key: str) -> list[Recording]:
    rows = read_csv(root / "skab" / f"{key}.csv.gz", ";")
    header, rows = rows[0], rows[1:]
    times = np.array([unix_seconds(row[0]) for row in rows])
    labelled = "anomaly" in header
    labels = (
        np.array([int(float(row[header.index("anomaly")])) for row in rows], np.int8)
        if labelled
        else np.zeros(len(times), np.int8)
    )
    return [
        Recording("skab", f"{key}/{header[j]}", times, np.array([number_of(row[j]) for row in rows]), labels, 1.0,
                  events_of(times, labels), group=key, vus_slices=[(0, len(times))] if labelled else [])
        for j in range(1, 9)
    ]  # fmt: skip


# PetShop: five rows an issue, put behind the fault-free recording where its time of day continues. One recording an
# issue: the series in which the symptom is seen; labelled where it is beyond 6 robust σ, left out where it never is.


@lru_cache(maxsize=4)
def _petshop_table(path: Path) -> tuple[dict[tuple[str, str, str], int], Floats]:
    rows = read_csv(path)
    names = {(rows[0][j], rows[1][j], rows[2][j]): j for j in range(1, len(rows[0]))}
    width = len(rows[0])
    body = [row for row in rows[3:] if len(row) == width and row[0][:1].isdigit()]
    return names, np.array([[number_of(cell) for cell in row] for row in body], dtype=np.float64).reshape(-1, width)


def _petshop_keys(root: Path) -> list[str]:
    return sorted(
        str(path.parent.relative_to(root / "petshop"))
        for scenario in ("high_traffic", "low_traffic")
        for path in (root / "petshop" / scenario).glob("*/issue_*/target.json")
    )


def _load_petshop(root: Path, key: str) -> list[Recording]:
    scenario = key.split("/")[0]
    target = json.loads((root / "petshop" / key / "target.json").read_text())["target"]
    names, normal = _petshop_table(root / "petshop" / scenario / "noissue" / "metrics.csv.gz")
    issue_names, issue = _petshop_table(root / "petshop" / key / "metrics.csv.gz")
    wanted = [n for n in names if n[0] == target["node"] and n[1] == target["metric"] and n in issue_names]
    wanted = [n for n in wanted if n[2] == target["agg"]] or wanted
    if not wanted or len(issue) == 0:
        return []
    column, issue_column = names[wanted[0]], issue_names[wanted[0]]
    of_day = np.mod(normal[:, 0] - issue[0, 0], 86400.0)
    candidates = np.flatnonzero((of_day > 86400.0 - 450.0) | (of_day < 150.0))
    cut = int(candidates[-1]) + 1 if len(candidates) and candidates[-1] > 288 else len(normal)
    values = np.concatenate([normal[:cut, column], issue[:, issue_column]])
    times = normal[0, 0] + 300.0 * np.arange(len(values))
    before = normal[:cut, column][np.isfinite(normal[:cut, column])]
    if len(before) < 100:
        return []
    centre = float(np.median(before))
    off = np.abs(before - centre)
    sigma = 1.4826 * float(np.median(off)) or 1.25 * float(off.mean())
    sigma = max(sigma, 1e-3 * abs(centre), 1e-9)
    # The first rows of an issue are still normal, and so are often its last.
    visible = np.flatnonzero(np.abs(issue[:, issue_column] - centre) >= 6 * sigma)
    if len(visible) == 0:
        return []
    labels = np.zeros(len(values), np.int8)
    labels[cut + visible[0] : cut + visible[-1] + 1] = 1
    return [
        Recording("petshop", f"{key}/{'/'.join(wanted[0])}", times, values, labels, 300.0, events_of(times, labels))
    ]


# Nezha: one group a pod, labels from the injection times. TimeStamp of 2022 is 200,000,000 s too high and
# inject_timestamp of 2023 is off by 8 h, so the texts are used. A fault lasts minutes; only those with a visible effect
# on one of the pod's metrics (6 robust σ against the two hours before) count.

_NEZHA_FAULT_S = 300.0


def _nezha_keys(root: Path) -> list[str]:
    keys = set()
    for path in (root / "nezha" / "rca_data").glob("*/*fault_list.json"):
        for faults in json.loads(path.read_text()).values():
            for fault in faults:
                file = path.parent / "metric" / f"{fault['inject_pod']}_metric.csv.gz"
                if file.is_file():
                    keys.add(f"{path.parent.name}/{fault['inject_pod']}")
    return sorted(keys)


def _nezha_faults(folder: Path, day: str) -> list[dict[str, str]]:
    document: dict[str, list[dict[str, str]]] = json.loads((folder / f"{day}-fault_list.json").read_text())
    return [fault for hour in document.values() for fault in hour]


def _load_nezha(root: Path, key: str) -> list[Recording]:
    day, pod = key.split("/")
    folder = root / "nezha" / "rca_data" / day
    rows = read_csv(folder / "metric" / f"{pod}_metric.csv.gz")
    header, rows = rows[0], rows[1:]
    times = np.array([unix_seconds(row[0][:19]) for row in rows])
    faults = [
        (unix_seconds(fault["inject_time"]), fault["inject_type"])
        for fault in _nezha_faults(folder, day)
        if fault["inject_pod"] == pod
    ]
    table = {header[j]: np.array([number_of(row[j]) for row in rows]) for j in range(3, len(header))}
    events, neutral = [], []
    for start, kind in faults:
        span = (times >= start) & (times <= start + _NEZHA_FAULT_S)
        before = (times >= start - 7200.0) & (times < start - 60.0)
        if any(_visible(values, before, span) for values in table.values()):
            events.append(Event(start, start + _NEZHA_FAULT_S, kind=kind))
        else:
            neutral.append(Opening(start, start + _NEZHA_FAULT_S))
    labels = np.zeros(len(times), np.int8)
    # A fault in another pod may be felt here: that time is neither normal nor this pod's.
    for other in _nezha_faults(folder, day):
        if other["inject_pod"] != pod:
            start = unix_seconds(other["inject_time"])
            neutral.append(Opening(start - 60.0, start + 2 * _NEZHA_FAULT_S))
    for event in events:
        labels[(times >= event.start) & (times <= event.end)] = 1
    return [
        Recording("nezha", f"{key}/{name}", times, values, labels, 60.0, events, neutral, group=key,
                  vus_slices=[(0, len(times))] if labels.any() else [])
        for name, values in table.items()
        if np.isfinite(values).sum() > 100
    ]  # fmt: skip


def _visible(values: Floats, before: NDArray[np.bool_], span: NDArray[np.bool_]) -> bool:
    """At least two samples of the span beyond 6 robust σ of the time before."""
    past, now = values[before & np.isfinite(values)], values[span & np.isfinite(values)]
    if len(past) < 10 or len(now) < 2:
        return False
    centre = float(np.median(past))
    sigma = max(1.4826 * float(np.median(np.abs(past - centre))), 0.01 * abs(centre), 1e-9)
    return int((np.abs(now - centre) >= 6 * sigma).sum()) >= 2


# ETT and M4: no labels; backgrounds for injected faults and forecasting.


def _load_ett(root: Path, key: str) -> list[Recording]:
    rows = read_csv(root / "ett" / f"{key}.csv.gz")
    times = np.array([unix_seconds(row[0]) for row in rows[1:]])
    none = np.zeros(len(times), np.int8)
    return [
        Recording(
            "ett", f"{key}/{rows[0][j]}", times, np.array([number_of(row[j]) for row in rows[1:]]), none, 3600.0, []
        )
        for j in range(1, len(rows[0]))
    ]


def _m4_keys(root: Path) -> list[str]:
    return ["hourly"] if (root / "m4_hourly" / "hourly_train.csv.gz").is_file() else []


def _load_m4(root: Path, key: str) -> list[Recording]:
    out = []
    for row in read_csv(root / "m4_hourly" / f"{key}_train.csv.gz"):
        values = np.array([float(cell) for cell in row[1:] if cell.strip()])
        times = MONDAY_S + 3600.0 * np.arange(len(values), dtype=np.float64)
        out.append(Recording("m4_hourly", row[0], times, values, np.zeros(len(values), np.int8), 3600.0, []))
    return out


# UCR: one abnormal stretch a file, always in part 1; ECG-like shapes, read as if one sample a minute.


def _load_ucr(root: Path, key: str) -> list[Recording]:
    c = columns_of(root / "ucr" / f"{key}.parquet")
    times = MONDAY_S + 60.0 * np.arange(len(c["value"]), dtype=np.float64)
    labels = c["label"].astype(np.int8)
    first_test = int(np.argmax(c["part"] == 1))
    return [
        Recording("ucr", key, times, c["value"].astype(np.float64), labels, 60.0, events_of(times, labels),
                  vus_slices=[(first_test, len(times))])
    ]  # fmt: skip


def _ms_keys(root: Path) -> list[str]:
    return stems(root / "ms_cloud_monitoring", "*/*.csv.gz", ".csv.gz")


DATA_SETS: dict[str, DataSet] = {
    s.name: s
    for s in (
        DataSet("nab", lambda root: stems(root / "nab" / "data", "*/*.csv.gz", ".csv.gz"), _load_nab, True),
        DataSet("wsd", lambda root: stems(root / "wsd", "*.parquet", ".parquet"), _load_wsd),
        DataSet("aiops_kpi", lambda root: stems(root / "aiops_kpi", "*.parquet", ".parquet"), _load_kpi),
        DataSet("ms_cloud_monitoring", _ms_keys, _load_ms, True),
        DataSet(
            "smd",
            lambda root: stems(root / "smd", "*.parquet", ".parquet"),
            lambda root, key: _machine("smd", root, key, 60.0),
            True,
        ),
        DataSet(
            "asd",
            lambda root: stems(root / "asd", "*.parquet", ".parquet"),
            lambda root, key: _machine("asd", root, key, 300.0),
            True,
        ),
        DataSet("skab", lambda root: stems(root / "skab", "*/*.csv.gz", ".csv.gz"), _load_skab),
        DataSet("petshop", _petshop_keys, _load_petshop, True),
        DataSet("nezha", _nezha_keys, _load_nezha, True),
        DataSet("ett", lambda root: stems(root / "ett", "*.csv.gz", ".csv.gz"), _load_ett),
        DataSet("m4_hourly", _m4_keys, _load_m4),
        DataSet("ucr", lambda root: stems(root / "ucr", "*.parquet", ".parquet"), _load_ucr),
    )
}
LABELLED = ("nab", "wsd", "aiops_kpi", "ms_cloud_monitoring", "smd", "asd", "skab", "petshop", "nezha", "ucr")
