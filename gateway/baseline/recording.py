"""Recordings: one series in a CSV or Parquet file, read as times and values, written back with its scores.

`timestamp` is Unix seconds or ISO 8601 (UTC unless it says otherwise), `value` a number or empty; column names are
matched without regard to case, and all other columns are ignored. The order of the rows is kept.
"""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pa_parquet
from numpy.typing import NDArray

from gateway.baseline.offline import OfflineResult
from gateway.baseline.written_time import END_S, EXPECTED, outside, parse_seconds
from gateway.errors import ConfigError
from gateway.telemetry.anomaly import SEVERITIES

COLUMNS = ("timestamp", "value", "expected", "lower", "upper", "score", "severity", "alert")
"""Columns of a scored recording."""
_TICKS = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


@dataclass(slots=True)
class Recording:
    """times_s: float64[n], Unix seconds; values: float64[n], NaN where missing; iso: timestamps were text."""

    name: str
    times_s: NDArray[np.float64]
    values: NDArray[np.float64]
    iso: bool


def recording_name(path: Path) -> str:
    """The file's stem, `.gz` aside."""
    return Path(path.stem).stem if path.suffix == ".gz" else path.stem


def require_distinct(paths: Iterable[Path]) -> None:
    """Raises ConfigError for two recordings of the same name: what is said of one would be said of both."""
    doubled = [name for name, count in Counter(map(recording_name, paths)).items() if count > 1]
    if doubled:
        raise ConfigError(f"two inputs are named {doubled[0]}", key="--input", expected="file stems that differ")


def _times(column: pa.ChunkedArray, source: str) -> tuple[NDArray[np.float64], bool]:
    kind = column.type
    if pa.types.is_timestamp(kind):
        ticks = column.cast(pa.int64()).to_numpy(zero_copy_only=False)
        return ticks.astype(np.float64) / _TICKS[kind.unit], True
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return column.to_numpy(zero_copy_only=False).astype(np.float64), False
    if pa.types.is_date(kind):  # a day is its beginning in UTC
        return _times(column.cast(pa.timestamp("ms")), source)
    if pa.types.is_dictionary(kind):
        return _times(column.cast(kind.value_type), source)
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind)):
        raise ConfigError(f"timestamps of type {kind}", source=source, expected=EXPECTED)
    texts = column.to_pylist()
    times = np.empty(len(texts))
    iso = False
    for row, text in enumerate(texts):
        try:
            times[row] = parse_seconds(text or "")
        except ValueError:
            problem = f'row {row + 1}: "{text}" is not a time'
            raise ConfigError(problem, source=source, expected=EXPECTED) from None
        iso = iso or not (text or "").strip().replace(".", "", 1).lstrip("-").isdigit()
    return times, iso


def _check_times(times_s: NDArray[np.float64], source: str) -> None:
    """Raises ConfigError for the first row without a time from 1970 up to 2200."""
    wrong = np.flatnonzero(~((times_s >= 0.0) & (times_s < END_S)))
    if not len(wrong):
        return
    row, time_s = int(wrong[0]), float(times_s[wrong[0]])
    problem = "the timestamp is missing" if math.isnan(time_s) else f"the timestamp {outside(time_s)}"
    raise ConfigError(f"row {row + 1}: {problem}", source=source, expected=EXPECTED)


def _values(column: pa.ChunkedArray, source: str) -> NDArray[np.float64]:
    if pa.types.is_null(column.type):
        return np.full(len(column), np.nan)
    if not pa.types.is_string(column.type):
        try:
            numbers: NDArray[np.float64] = column.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)
        except pa.ArrowException:
            raise ConfigError(f"values of type {column.type}", source=source, expected="numbers") from None
        return numbers
    values = np.full(len(column), np.nan)
    for row, text in enumerate(column.to_pylist()):
        if text is None or not text.strip():
            continue
        try:
            values[row] = float(text)
        except ValueError:
            problem = f'row {row + 1}: "{text}" is not a value'
            raise ConfigError(problem, source=source, expected="a number, NaN or nothing") from None
    return values


def _read_csv(path: Path) -> pa.Table:
    convert = pa_csv.ConvertOptions(
        strings_can_be_null=True, null_values=["", "NaN", "nan", "NA", "null"], timestamp_parsers=[]
    )
    table = pa_csv.read_csv(path, convert_options=convert)
    try:
        table.column_names  # noqa: B018  # decodes them
    except UnicodeDecodeError:
        # A column that is ignored may be named in any encoding; those that are read have ASCII names.
        return pa_csv.read_csv(path, pa_csv.ReadOptions(encoding="latin-1"), convert_options=convert)
    return table


def read_recording(path: Path) -> Recording:
    """Read one file. Raises ConfigError with the row for what cannot be read."""
    source = str(path)
    try:
        if path.suffix == ".parquet":
            table = pa_parquet.read_table(path)
        else:
            table = _read_csv(path)
    except FileNotFoundError:
        raise ConfigError("no such file", source=source) from None
    except (OSError, pa.ArrowException) as error:
        raise ConfigError(f"cannot be read: {error}", source=source, expected="CSV or Parquet") from error
    names = {name.strip().lower(): index for index, name in reversed(list(enumerate(table.column_names)))}
    for wanted in ("timestamp", "value"):
        if wanted not in names:
            raise ConfigError(f"no column {wanted}", source=source, expected="columns timestamp and value")
    times, iso = _times(table.column(names["timestamp"]), source)
    _check_times(times, source)
    return Recording(recording_name(path), times, _values(table.column(names["value"]), source), iso)


def _time_texts(times_s: NDArray[np.float64], iso: bool) -> list[str]:
    if iso:
        return [datetime.fromtimestamp(t, UTC).isoformat().replace("+00:00", "Z") for t in times_s.tolist()]
    return [str(int(t)) if t == int(t) else repr(t) for t in times_s.tolist()]


def write_scores(path: Path, result: OfflineResult, iso: bool) -> None:
    """Write a scored recording: COLUMNS, one row for each of the result's rows; NaN is written as nothing."""
    numbers = [
        ["" if math.isnan(x) else repr(x) for x in column.tolist()]
        for column in (result.values, result.expected, result.lower, result.upper)
    ]
    scores = [f"{s:.6g}" for s in result.score.tolist()]
    severities = [SEVERITIES[s] for s in result.severity.tolist()]
    alerts = result.alert.tolist()
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(zip(_time_texts(result.times_s, iso), *numbers, scores, severities, alerts, strict=True))
