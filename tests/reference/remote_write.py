"""Slow, obvious twins of the remote write encoder and of folding deltas."""

from __future__ import annotations

import math
import struct
from typing import NamedTuple

from kernels import cumulative


def varint(number: int) -> bytes:
    """Base-128, least significant group first; negative numbers as 64-bit two's complement."""
    number &= (1 << 64) - 1
    out = []
    while True:
        number, group = number >> 7, number & 0x7F
        out.append(group | (0x80 if number else 0))
        if not number:
            return bytes(out)


def write_request(rows: list[tuple[bytes, int, float]]) -> bytes:
    """(label blob, time in ms, value) → WriteRequest; neighbours with one blob share a TimeSeries."""
    series: list[tuple[bytes, list[bytes]]] = []
    for blob, time_ms, value in rows:
        sample = b"\x09" + struct.pack("<d", value) + b"\x10" + varint(time_ms)
        if not series or series[-1][0] is not blob:
            series.append((blob, []))
        series[-1][1].append(b"\x12" + varint(len(sample)) + sample)
    bodies = [blob + b"".join(samples) for blob, samples in series]
    return b"".join(b"\x0a" + varint(len(body)) + body for body in bodies)


def by_series(rows: list[tuple[int, int, float]]) -> list[tuple[int, list[tuple[int, float]]]]:
    """(series, time, value) in order of the log → each series' samples; series in order of their first row."""
    found: dict[int, list[tuple[int, float]]] = {}
    for series, time_ms, value in rows:
        found.setdefault(series, []).append((time_ms, value))
    return list(found.items())


class Row(NamedTuple):
    """One log row. part: "" for a series of its own, else "count", "sum", "bucket" or "range" of a histogram."""

    sid: int
    start: int
    time: int
    value: float
    delta: bool = False
    stale: bool = False
    monotonic: bool = False
    part: str = ""


class Folding:
    """Running totals as dictionaries, one point at a time."""

    def __init__(self) -> None:
        self.totals: dict[int, float] = {}
        self.ends: dict[int, int] = {}
        self.restarts = 0

    def fold(self, rows: list[Row], *, oldest: int, latest: int) -> list[tuple[int, float]]:
        """(verdict, value that goes out) of each row."""
        results = []
        for point in points_of(rows):
            late = None
            head = point[0]
            if head.part == "count" and not head.stale and math.isfinite(head.value) and head.time <= latest:
                late = self.overlap(head)
                known = self.ends.get(head.sid)
                if not late and any(self.ends.get(r.sid) != known for r in point if r.part == "bucket"):
                    self.restarts += 1
                    for row in point:
                        self.totals.pop(row.sid, None)
            results += [self.row(row, late, oldest, latest) for row in point]
        return results

    def overlap(self, row: Row) -> bool:
        """Whether the row's interval reaches into what was added."""
        end = self.ends.get(row.sid)
        return end is not None and (row.time <= end or 0 < row.start < min(end, row.time + 1))

    def row(self, row: Row, late: bool | None, oldest: int, latest: int) -> tuple[int, float]:
        """(verdict, value that goes out); late: what was decided for the whole point."""
        value = row.value
        if math.isnan(value) and not row.stale:
            return cumulative.NOT_A_NUMBER, value
        if row.time > latest:
            return cumulative.TOO_FAR_AHEAD, value
        if row.delta and not row.stale:
            if math.isinf(value):
                return cumulative.DELTA_NOT_FINITE, value
            if row.monotonic and value < 0:
                return cumulative.DELTA_NEGATIVE, value
            if late or (late is None and self.overlap(row)):
                return cumulative.DELTA_OVERLAP, value
            self.totals[row.sid] = self.totals.get(row.sid, 0.0) + value
            self.ends[row.sid] = row.time
            value = self.totals[row.sid]
        if row.time < oldest:
            return cumulative.OUT_OF_RETENTION, value
        return cumulative.KEPT, value


def points_of(rows: list[Row]) -> list[list[Row]]:
    """Rows that belong together: the count of a delta histogram and its sum and buckets behind it, of one interval."""
    points: list[list[Row]] = []
    for row in rows:
        if points and row.delta and row.part in ("sum", "bucket", "range"):
            head = points[-1][0]
            if head.part == "count" and head.delta and (head.start, head.time) == (row.start, row.time):
                points[-1].append(row)
                continue
        points.append([row])
    return points
