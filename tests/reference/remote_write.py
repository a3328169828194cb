"""Slow, obvious twins of the remote write encoder and of folding deltas."""

from __future__ import annotations

import math
import struct

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


class Folding:
    """Running totals as dictionaries, one row at a time."""

    def __init__(self) -> None:
        self.totals: dict[int, float] = {}
        self.ends: dict[int, int] = {}

    def row(
        self, sid: int, start: int, time: int, value: float, *, delta: bool, stale: bool, oldest: int, latest: int
    ) -> tuple[int, float]:
        """(verdict, value that goes out)."""
        if math.isnan(value) and not stale:
            return cumulative.NOT_A_NUMBER, value
        if time > latest:
            return cumulative.TOO_FAR_AHEAD, value
        if delta and not stale:
            if math.isinf(value):
                return cumulative.DELTA_NOT_FINITE, value
            if sid in self.ends:
                known_start = 0 < start <= time
                if time <= self.ends[sid] or (known_start and start < self.ends[sid]):
                    return cumulative.DELTA_OVERLAP, value
            self.totals[sid] = self.totals.get(sid, 0.0) + value
            self.ends[sid] = time
            value = self.totals[sid]
        if time < oldest:
            return cumulative.OUT_OF_RETENTION, value
        return cumulative.KEPT, value
