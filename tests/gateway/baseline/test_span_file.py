"""Files of labels and of maintenance windows: what is read, and what is said of what cannot be."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.baseline.scorecard import Event
from gateway.baseline.span_file import Label, Window, read_labels, read_windows
from gateway.errors import ConfigError


def written(directory: Path, content: str | bytes) -> Path:
    path = directory / "spans.csv"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_labels_are_read_with_their_recording(tmp_path: Path) -> None:
    path = written(tmp_path, "recording,start,end\ncpu,2026-01-01T00:00:00Z,2026-01-01T00:05:00Z\n,100,\n")
    assert read_labels(path) == [
        Label(2, Event(1767225600.0, 1767225900.0), "cpu"),
        Label(3, Event(100.0, 100.0), ""),
    ]


def test_windows_are_read_as_spreadsheets_write_them(tmp_path: Path) -> None:
    path = written(tmp_path, b"\xef\xbb\xbfStart, End ,Recording\r\n100,200,cpu,,\r\n,,\r\n 300 ,400.5,\r\n")
    assert read_windows(path) == [Window(2, 100.0, 200.0, "cpu"), Window(4, 300.0, 400.5, "")]


@pytest.mark.parametrize("read", [read_labels, read_windows])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "columns start,end"),
        (b"a,b\n1,2\n", "columns start,end"),
        (b"start,end\nsoon,later\n", 'line 2: "soon" is not a time'),
        (b"start,end\n,200\n", "line 2: .* is not a time"),
        (b"start,end\n1,2\n20,10\n", "line 3 ends before it starts"),
        (b"start,end\n\xff,1\n", "line 2 is not UTF-8"),
        ("start,end\n1,2\n".encode("utf-16"), "line 1 is not UTF-8"),
        (b"start,end\nnan,nan\n", 'line 2: "nan" is not a time'),
        (b"start,end\n-inf,inf\n", 'line 2: "-inf" is not a time'),
        (b"start,end\n1,1e400\n", 'line 2: "1e400" is not a time'),
        (b"start,end\n-5,1\n", "line 2: -5 lies outside"),
        (b"start,end\n1767225600000,1767225900000\n", "line 2: .*milliseconds"),
        (b"start,end\n1,2\n" + b"9" * 140_000 + b",1\n", "line 3 is not CSV: field larger"),
        (b'start,end\n1,"2\n', "is not CSV"),
        (b"start,end\n1\n", "line 2 has 1 of the first line's 2 columns"),
        (b"start,end\n1,2,cpu\n", "line 2 has 3 of the first line's 2 columns"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(
    tmp_path: Path, read: Callable[[Path], object], content: bytes, said: str
) -> None:
    path = written(tmp_path, content)
    with pytest.raises(ConfigError, match=said) as refused:
        read(path)
    assert refused.value.source == str(path)


def test_a_file_that_is_absent_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_labels(tmp_path / "absent.csv")


@pytest.mark.parametrize(
    ("rows", "said"), [("100,\n", "line 2 has no end"), ("100,200\n\n300,300\n", "line 4 ends when it starts")]
)
def test_a_window_has_a_length(tmp_path: Path, rows: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_windows(written(tmp_path, f"start,end\n{rows}"))


def test_labels_may_come_through_a_pipe() -> None:
    reading, writing = os.pipe()
    os.write(writing, b"start,end\n0,60\n")
    os.close(writing)
    try:
        assert [(label.event.start, label.event.end) for label in read_labels(Path(f"/dev/fd/{reading}"))] == [
            (0.0, 60.0)
        ]
    finally:
        os.close(reading)


def test_what_has_no_end_is_refused() -> None:
    with pytest.raises(ConfigError, match="longer than"):
        read_labels(Path("/dev/zero"))
