"""Small frames for the log's tests: row i of a log has value i, so a reader's answer says which rows it holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from gateway.clock import ManualClock
from gateway.log.reader import LogReader
from gateway.log.settings import LogSettings
from gateway.log.writer import LogWriter
from gateway.telemetry.columns import Definitions
from gateway.telemetry.frame import Frame, LogPosition

OS = LogSettings(durability="os")
NOTHING = Definitions(np.empty(0, np.uint8), np.zeros(1, np.uint32), np.empty(0, np.uint8))


def definitions(*blobs: bytes) -> Definitions:
    return Definitions.from_blobs(list(blobs), np.arange(1, len(blobs) + 1, dtype=np.uint8))


def open_writer(
    directory: Path, settings: LogSettings = OS, clock: ManualClock | None = None, **more: int
) -> LogWriter:
    return LogWriter.open(directory, 0, settings, clock or ManualClock(), **more)


def append(writer: LogWriter, rows: int, defined: Definitions = NOTHING, first_new_id: int = 0) -> Frame:
    return writer.append(
        ids=np.zeros(rows, np.uint32),
        times_ms=np.arange(rows, dtype=np.int64),
        values=np.arange(writer.next_row, writer.next_row + rows, dtype=np.float64),
        starts_ms=None,
        definitions=defined,
        first_new_id=first_new_id,
        counted_rows=rows,
        received_ns=7,
    )


def write(writer: LogWriter, *sizes: int) -> list[Frame]:
    """One durable frame for each size; the first of a segment defines series 0."""
    frames = []
    for rows in sizes:
        before = writer.segment
        fresh = writer.prepare(1000) != before
        frames.append(append(writer, rows, definitions(b"series zero") if fresh else NOTHING))
        writer.sync()
    return frames


def values(frames: list[Frame]) -> list[int]:
    return [int(v) for frame in frames for v in frame.values]


def read_all(directory: Path, position: LogPosition | None = None) -> tuple[list[Frame], LogReader]:
    reader = LogReader.open(directory, 0, position)
    frames: list[Frame] = []
    while more := reader.read(1000):
        frames += more
    return frames, reader
