"""Writes files of format version 1 from their description alone, so that a later program is tried on them as they were.

Nothing of `gateway.log` or `gateway.baseline` is used: when a format changes, this file does not.
"""

from __future__ import annotations

import struct
from pathlib import Path

from crc32c import crc32c

_CRC = struct.Struct("<I")
NONCE = 0x5EED


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 8)


def _labels(labels: dict[str, str]) -> bytes:
    """Sorted, as labels of a remote-write 1.0 series."""
    blob = b""
    for name, value in sorted(labels.items()):
        inner = b"".join(bytes([tag, len(text)]) + text.encode() for tag, text in ((0x0A, name), (0x12, value)))
        blob += bytes([0x0A, len(inner)]) + inner
    return blob


def _frame(first_row: int, rows: list[tuple[int, int, float]], first_id: int, series: list[bytes]) -> bytes:
    """rows: (local id, Unix ms, value); series: label blobs of the ids from first_id on, all gauges."""
    times = [time for _, time, _ in rows]
    payload = struct.pack(f"<{len(rows)}q", *times)
    payload += struct.pack(f"<{len(rows)}d", *(value for _, _, value in rows))
    payload += _padded(struct.pack(f"<{len(rows)}I", *(number for number, _, _ in rows)))
    blobs = b"".join(series)
    if series:
        ends = [sum(len(blob) for blob in series[:i]) for i in range(len(series) + 1)]
        payload += _padded(struct.pack(f"<{len(ends)}I", *ends)) + _padded(bytes([1] * len(series))) + _padded(blobs)
    head = struct.pack(
        "<8sBBHIQQQqIIIIIIqqI", b"\x89GWframe", 1, 0, 0, 0, len(payload), first_row, len(rows),
        min(times) * 1_000_000, first_id, len(rows), len(series), len(blobs), 0, NONCE, min(times), max(times),
        crc32c(payload),
    )  # fmt: skip
    return head + _CRC.pack(crc32c(head)) + payload


def write_log(directory: Path, frames: list[tuple[list[tuple[int, int, float]], list[dict[str, str]]]]) -> list[int]:
    """Segment 1 of edge 0 with these frames (rows, series that are new in it); returns where each begins, and the
    end."""
    head = struct.pack("<8sIIQQQQQI", b"GWSEGMNT", 1, 0, 1, 0, 1_700_000_000_000_000_000, 0, 0, NONCE)
    data = head + _CRC.pack(crc32c(head))
    first_row = first_id = 0
    begins = []
    for rows, series in frames:
        begins.append(len(data))
        data += _frame(first_row, rows, first_id, [_labels(labels) for labels in series])
        first_row += len(rows)
        first_id += len(series)
    place = directory / "log" / "edge-0" / "0000000000000001.seg"
    place.parent.mkdir(parents=True)
    place.write_bytes(data)
    return [*begins, len(data)]


def write_offset(path: Path, segment: int, offset: int, next_row: int, payload: bytes) -> None:
    """A reader's committed place."""
    body = struct.pack("<8sIIQQQ", b"GWOFFSET", 1, len(payload), segment, offset, next_row) + payload
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body + _CRC.pack(crc32c(body)))


def write_snapshot(path: Path, record_bytes: int, watermark_ms: int) -> None:
    """A baseline snapshot that remembers no series."""
    path.write_bytes(struct.pack("<8sIIQQI4x", b"GWBASELN", 1, record_bytes, 0, watermark_ms, crc32c(b"")))
