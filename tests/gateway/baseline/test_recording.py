"""Recordings in and scored recordings out, and the command around them."""

from __future__ import annotations

import csv
import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
import typer
from typer.testing import CliRunner

from gateway.baseline.recording import COLUMNS, read_recording
from gateway.commands.detect import detect, register
from gateway.errors import ConfigError

START = 1_700_000_000


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_days_are_their_beginnings_in_utc(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "timestamp,value\n2023-11-14,1\n2023-11-15,2\n")
    got = read_recording(path)
    assert list(got.times_s) == [1_699_920_000, 1_700_006_400]
    table = pa.table({"timestamp": pa.array([19_675, None], pa.date32()), "value": [1.0, 2.0]})
    pa_parquet.write_table(table, tmp_path / "b.parquet")
    with pytest.raises(ConfigError, match="row 2: the timestamp is missing"):
        read_recording(tmp_path / "b.parquet")


def test_unix_seconds_and_other_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", f"label,Value,timestamp\n1,2.5,{START}\n0,,{START + 60}\n0,NaN,{START + 120}\n")
    got = read_recording(path)
    assert list(got.times_s) == [START, START + 60, START + 120]
    assert got.values[0] == 2.5
    assert np.isnan(got.values[1:]).all()
    assert not got.iso


def test_iso_times_are_utc_unless_they_say_otherwise(tmp_path: Path) -> None:
    text = "timestamp,value\n2023-11-14 22:13:20,1\n2023-11-14T22:14:20Z,2\n2023-11-14T23:15:20+01:00,3\n"
    got = read_recording(write(tmp_path / "a.csv", text))
    assert list(got.times_s) == [START, START + 60, START + 120]
    assert got.iso


def test_columns_that_are_ignored_may_be_of_any_encoding(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(f"timestamp,value,n\xf6te\n{START},1.5,h\xe4\n{START + 60},2,\xff\n".encode("latin-1"))
    assert list(read_recording(path).values) == [1.5, 2.0]


def test_parquet_and_gzip(tmp_path: Path) -> None:
    table = pa.table({"timestamp": [START, START + 60], "value": [1.0, None], "label": [0, 1]})
    pa_parquet.write_table(table, tmp_path / "p.parquet")
    assert np.isnan(read_recording(tmp_path / "p.parquet").values[1])
    with gzip.open(tmp_path / "z.csv.gz", "wt") as file:
        file.write(f"timestamp,value\n{START},7\n")
    got = read_recording(tmp_path / "z.csv.gz")
    assert (got.name, got.values[0]) == ("z", 7)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("time,value\n1,2\n", "no column timestamp"),
        ("timestamp,value\nyesterday,2\n", 'row 1: "yesterday" is not a time'),
        (f"timestamp,value\n{START},3\n{START},much\n", 'row 2: "much" is not a value'),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        read_recording(write(tmp_path / "bad.csv", text))


@pytest.mark.parametrize("time", ["1700000000000", "-5", "1e300"])
def test_times_outside_of_1970_to_2200_are_refused(tmp_path: Path, time: str) -> None:
    path = write(tmp_path / "bad.csv", f"timestamp,value\n{START},3\n{time},3\n")
    with pytest.raises(ConfigError, match=r"row 2: the timestamp .* outside 1970") as refused:
        read_recording(path)
    assert ("milliseconds" in str(refused.value)) == (time == "1700000000000")


@pytest.mark.parametrize(
    ("column", "problem"),
    [
        (pa.array([19000, 19001], pa.time32("s")), "timestamps of type time32"),
        (pa.array([[START], [START]]), "timestamps of type list"),
        (pa.array([True, False]), "timestamps of type bool"),
        (pa.array([float(START), float("nan")]), "row 2: the timestamp is missing"),
        (pa.array([START, None], pa.timestamp("s")), "row 2: the timestamp is missing"),
    ],
)
def test_parquet_timestamps_that_are_no_times_are_refused(tmp_path: Path, column: pa.Array, problem: str) -> None:
    path = tmp_path / "bad.parquet"
    pa_parquet.write_table(pa.table({"timestamp": column, "value": [1.0, 2.0]}), path)
    with pytest.raises(ConfigError, match=problem):
        read_recording(path)


def test_parquet_timestamps_of_every_unit(tmp_path: Path) -> None:
    for unit, ticks in (("s", START), ("ms", START * 10**3), ("us", START * 10**6), ("ns", START * 10**9 + 1)):
        table = pa.table({"timestamp": pa.array([ticks], pa.timestamp(unit, tz="UTC")), "value": [1.0]})
        pa_parquet.write_table(table, tmp_path / "a.parquet")
        assert read_recording(tmp_path / "a.parquet").times_s[0] == pytest.approx(START, abs=1e-6)


def test_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    pa_parquet.write_table(pa.table({"timestamp": [START], "value": [[1.0]]}), tmp_path / "bad.parquet")
    with pytest.raises(ConfigError, match="values of type list"):
        read_recording(tmp_path / "bad.parquet")


def test_an_input_is_never_replaced(tmp_path: Path) -> None:
    text = f"timestamp,value\n{START},1\n"
    source, other = write(tmp_path / "a.csv", text), write(tmp_path / "b.csv.gz", text)
    (tmp_path / "sub").mkdir()
    with pytest.raises(ConfigError, match="is an input and would be replaced"):
        detect([other, source], tmp_path / "sub" / "..")
    assert source.read_text() == text
    assert not (tmp_path / "b.csv").exists(), "nothing is written"


def test_one_output_row_for_each_input_row_and_extra_rows_in_gaps(tmp_path: Path) -> None:
    lines = ["timestamp,value"]
    rng = np.random.default_rng(1)
    lines += [f"{START + 60 * minute},{10 + rng.normal():.3f}" for minute in [*range(300), *range(330, 400)]]
    source = write(tmp_path / "gap.csv", "\n".join(lines) + "\n")
    (done,) = detect([source], tmp_path / "out")
    rows = rows_of(tmp_path / "out" / "gap.csv")
    assert tuple(rows[0]) == COLUMNS
    assert len(rows) == 371
    (extra,) = [row for row in rows if row["value"] == ""]
    assert (extra["alert"], extra["severity"]) == ("1", "critical")
    assert START + 60 * 299 < int(extra["timestamp"]) < START + 60 * 330
    assert (done.rows, done.extra_rows, done.alerts) == (370, 1, 1)
    assert {row["alert"] for row in rows if row is not extra} == {"0"}


def test_two_inputs_of_one_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    text = f"timestamp,value\n{START},1\n"
    with pytest.raises(ConfigError, match="two inputs are named a"):
        detect([write(tmp_path / "a.csv", text), write(tmp_path / "b" / "a.csv", text)], tmp_path / "out")


def test_the_command(tmp_path: Path) -> None:
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    source = write(tmp_path / "a.csv", f"timestamp,value\n{START},1\n{START + 60},2\n{START + 60},2\n")
    good = CliRunner().invoke(
        app, ["detect", "--input", str(source), "--output-dir", str(tmp_path / "out"), "--interval", "60s"]
    )
    assert good.exit_code == 0
    assert "3 rows, 0 alerts, 1 repeated" in good.output
    for wrong in (["--kind", "gouge"], ["--interval", "soon"], ["--sensitivity", "brave"]):
        bad = CliRunner().invoke(app, ["detect", "--input", str(source), "--output-dir", str(tmp_path), *wrong])
        assert bad.exit_code == 2
