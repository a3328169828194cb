"""CSV files of spans of time: labels of recordings, and maintenance windows.

The first line names the columns `start`, `end` and, if it matters which recording is meant, `recording`: the stem of
the recording's file, where empty or absent means every recording. Times are Unix seconds or ISO 8601 (UTC unless they
say otherwise). The text is UTF-8, with or without a byte order mark.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from gateway.baseline.scorecard import Event
from gateway.baseline.written_time import EXPECTED, outside, parse_seconds
from gateway.errors import ConfigError

_MOST_BYTES: Final = 64 * 2**20


@dataclass(frozen=True, slots=True)
class Window:
    """One line of a file of maintenance windows: [start, end), Unix seconds. recording: "" for every one."""

    line: int
    start: float
    end: float
    recording: str


@dataclass(frozen=True, slots=True)
class Label:
    """One line of a file of labels. recording: "" for every one."""

    line: int
    event: Event
    recording: str


def strangers(lines: Sequence[Window | Label], names: Iterable[str], source: Path, what: str) -> Iterator[str]:
    """What to say of lines that are of no recording, of which there are those by `names`. what: one line."""
    if not lines:
        yield f"{source}: names no {what}"
    known = {"", *names}
    first: dict[str, int] = {}
    for one in lines:
        if one.recording not in known:
            first.setdefault(one.recording, one.line)
    for name, line in first.items():
        yield f'{source}: line {line}: no input is named "{name}" (the file\'s name without its ending is)'


def read_labels(path: Path) -> list[Label]:
    """Labels in the order of the file. `end` is the last abnormal sample; it may be empty for a single one. Raises
    ConfigError with the line."""
    labels = []
    for line, start, end, recording in _spans(path):
        if end is not None and end < start:
            raise ConfigError(f"line {line} ends before it starts", source=str(path))
        labels.append(Label(line, Event(start, start if end is None else end), recording))
    return labels


def read_windows(path: Path) -> list[Window]:
    """Maintenance windows in the order of the file. Raises ConfigError with the line, also for a window without an end
    or without length."""
    windows = []
    for line, start, end, recording in _spans(path):
        if end is None:
            raise ConfigError(f"line {line} has no end", source=str(path), expected=EXPECTED)
        if end <= start:
            problem = "ends before it starts" if end < start else "ends when it starts"
            raise ConfigError(f"line {line} {problem}", source=str(path), expected="an end behind the start")
        windows.append(Window(line, start, end, recording))
    return windows


def _spans(path: Path) -> Iterator[tuple[int, float, float | None, str]]:
    """(line, start, end or None where it is empty, recording) of each row. Raises ConfigError."""
    rows = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    try:
        names = [name.strip().lower() for name in next(rows, [])]
        if not {"start", "end"} <= set(names):
            raise ConfigError("the first line does not name them", source=str(path), expected="columns start,end")
        for row in rows:
            if not any(field.strip() for field in row):
                continue
            line = rows.line_num
            # Spreadsheets fill lines up with empty fields; anything else out of place would be read as another column.
            if len(row) < len(names) or any(field.strip() for field in row[len(names) :]):
                problem = f"line {line} has {len(row)} of the first line's {len(names)} columns"
                raise ConfigError(problem, source=str(path), expected=",".join(names))
            fields = dict(zip(names, (field.strip() for field in row), strict=False))
            start = _time(fields["start"], line, path)
            end = _time(fields["end"], line, path) if fields["end"] else None
            yield line, start, end, fields.get("recording", "")
    except csv.Error as error:
        raise ConfigError(f"line {rows.line_num} is not CSV: {error}", source=str(path)) from error


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:  # perhaps a pipe of the shell's
            raw = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise ConfigError(f"cannot be read: {error.strerror}", source=str(path)) from error
    if len(raw) > _MOST_BYTES:
        raise ConfigError(f"is longer than {_MOST_BYTES} bytes", source=str(path), expected="a CSV file")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"line {line} is not UTF-8", source=str(path), expected="a CSV file in UTF-8") from error


def _time(text: str, line: int, path: Path) -> float:
    try:
        time_s = parse_seconds(text)
    except ValueError:
        raise ConfigError(f'line {line}: "{text:.100}" is not a time', source=str(path), expected=EXPECTED) from None
    if problem := outside(time_s):
        raise ConfigError(f"line {line}: {problem}", source=str(path), expected=EXPECTED)
    return time_s
