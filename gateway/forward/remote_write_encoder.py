"""Packed rows → compressed remote write requests, and back for people who look into a dead-letter file."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import cramjam
import numpy as np
import zstandard
from numpy.typing import NDArray

from gateway.errors import StateError
from gateway.telemetry.label_sets import placed
from gateway.telemetry.labels import decode_label_blob
from gateway.telemetry.varint import varint
from kernels.remote_write_encode import BAD_PLACE, FILL_SLACK, fill_runs, size_runs

Encoding = Literal["zstd", "snappy"]

_LARGEST_BODY: Final = 2**31 - 1


@dataclass(slots=True)
class PackedRows:
    """n rows that go out, in r runs: a series and the row behind its last one.

    series: uint32[r]; ends: int64[r], rising; times_ms: int64[n]; values: float64[n].
    arena: uint8[total]; label_sets: uint32, where each series' label set stands in it (see SeriesView); label_lengths:
    uint32, length of its label blob; kinds: uint8, its telemetry.kind, by which target_info is counted apart; all three
    are indexed by series.
    """

    arena: NDArray[np.uint8]
    label_sets: NDArray[np.uint32]
    label_lengths: NDArray[np.uint32]
    kinds: NDArray[np.uint8]
    series: NDArray[np.uint32]
    ends: NDArray[np.int64]
    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.times_ms)

    @classmethod
    def from_blobs(cls, blobs: Sequence[bytes], times_ms: Sequence[int], values: Sequence[float]) -> PackedRows:
        """From separate label blobs, one a row; each row is a run of its own."""
        arena, sets, lengths = placed(blobs)
        rows = np.arange(len(blobs), dtype=np.uint32)
        return cls(
            arena, sets, lengths, np.zeros(len(blobs), np.uint8), rows, rows.astype(np.int64) + 1,
            np.array(times_ms, np.int64), np.array(values, np.float64),
        )  # fmt: skip


@dataclass(slots=True)
class EncodedBlock:
    """One request body. `rows` without those counted apart, which `apart_rows` counts."""

    body: bytes
    encoding: Encoding
    rows: int
    apart_rows: int
    raw_bytes: int


class RemoteWriteEncoder:
    """Makes request bodies. Owns one output buffer, so it is used by one thread at a time; releases the GIL in both the
    kernel and the compression."""

    def __init__(self, block_rows: int, block_bytes: int, zstd_level: int) -> None:
        self._block_rows, self._block_bytes = block_rows, block_bytes
        self._buffer = np.empty(0, np.uint8)
        self._zstd = zstandard.ZstdCompressor(level=zstd_level)

    def encode(self, rows: PackedRows, encoding: Encoding) -> Iterator[EncodedBlock]:
        """All rows, in order, as blocks within the limits; each is made when it is asked for.

        Raises StateError if a label set lies outside the arena.
        """
        run = row = 0
        while row < len(rows):
            next_run, last, size, apart = size_runs(
                rows.series, rows.ends, rows.times_ms, rows.label_lengths, rows.kinds,
                run, row, self._block_rows, self._block_bytes,
            )  # fmt: skip
            if size == BAD_PLACE or last == row:
                raise StateError(f"row {last}: no such series, or no such run")
            out = self._room(size + FILL_SLACK)
            written = fill_runs(
                rows.arena, rows.series, rows.ends, rows.times_ms, rows.values, rows.label_sets, rows.label_lengths,
                run, row, last, size, out,
            )  # fmt: skip
            if written != size:
                raise StateError(f"rows {row} to {last}: their labels lie outside the arena, or are of another length")
            body = self.compress(out[:size].data, encoding)
            yield EncodedBlock(body, encoding, last - row - apart, apart, size)
            run, row = next_run, last

    def compress(self, raw: memoryview | bytes, encoding: Encoding) -> bytes:
        """In the content encoding the target takes."""
        if encoding == "zstd":
            return self._zstd.compress(raw)
        return bytes(cramjam.snappy.compress_raw(raw))

    def recode(self, block: EncodedBlock, encoding: Encoding) -> None:
        """Change a block's content encoding in place, as after a target restarted with another version."""
        if block.encoding != encoding:
            block.body = self.compress(decompress(block.body, block.encoding), encoding)
            block.encoding = encoding

    def _room(self, size: int) -> NDArray[np.uint8]:
        """The kept buffer, or a passing one for a series beyond the block size."""
        if size > self._block_bytes + FILL_SLACK:
            return np.empty(size, np.uint8)
        if size > len(self._buffer):
            self._buffer = np.empty(min(2 * size, self._block_bytes + FILL_SLACK), np.uint8)
        return self._buffer


def decompress(body: bytes, encoding: str) -> bytes:
    """Body of a block of ours."""
    if encoding == "zstd":
        return zstandard.ZstdDecompressor().decompress(body, max_output_size=_LARGEST_BODY)
    return bytes(cramjam.snappy.decompress_raw(body))


def decode_request(raw: bytes) -> Iterator[tuple[dict[str, str], list[tuple[int, float]]]]:
    """(labels, [(time in ms, value)]) of each TimeSeries of a request made by us; for inspection, slow.

    Raises StateError for anything else.
    """
    for tag, series in _messages(raw):
        if tag != 0x0A:
            raise StateError("not a remote write request of ours")
        labels = bytearray()
        samples: list[tuple[int, float]] = []
        for inner_tag, part in _messages(series):
            if inner_tag == 0x0A:
                labels += b"\x0a" + varint(len(part)) + part
            else:
                value = struct.unpack_from("<d", part, 1)[0]
                time, _ = _read_varint(part, 10)
                samples.append((time - (1 << 64) if time >> 63 else time, value))
        yield decode_label_blob(bytes(labels)), samples


def _messages(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        tag = data[at]
        length, at = _read_varint(data, at + 1)
        if at + length > len(data):
            raise StateError("a message ends early")
        yield tag, data[at : at + length]
        at += length


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data):
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise StateError("a number ends early")
