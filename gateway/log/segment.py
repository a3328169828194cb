"""The format of segments and frames on disk.

    <directory>/edge-<edge>/<segment:016d>.seg        little endian, everything 8-aligned

    segment header, 64 bytes
        0  magic "GWSEGMNT"      8  u32 format version    12  u32 edge          16  u64 segment number
       24  u64 first_row        32  u64 created_ns        40  u64 previous segment (0: none)
       48  u64 end of the previous segment                56  u32 nonce         60  u32 CRC32C of bytes 0…59

    frame header, 96 bytes
        0  magic                 8  u8 type                9  u8 flags          10  u16 shard   12  u32 edge
       16  u64 payload bytes    24  u64 first_row         32  u64 counted_rows  40  i64 received_ns
       48  u32 first_new_id     52  u32 rows              56  u32 definitions   60  u32 bytes of label blobs
       64  u32 exemplars        68  u32 nonce             72  i64 min_ms        80  i64 max_ms
       88  u32 CRC32C of the payload                      92  u32 CRC32C of bytes 0…91

    payload of a row frame, each column padded to 8 bytes
        times_ms i64[n], values f64[n], starts_ms i64[n] if flagged, ids u32[n],
        definition offsets u32[m + 1] (if m), kinds u8[m], label blobs,
        exemplar rows u32[k], times_ms i64[k], values f64[k], trace ids u8[k, 16], span ids u8[k, 8],
        if flagged (format version 2): i64 received_ns of the last request, then for each shard u32 rows, u32 counted

Version 2 is written where several workers share the log: the rows of a frame are grouped by shard, and the header's
`shard` is the number of shards. One worker writes version 1, whose `shard` is 0. Both are read.

An event frame's payload is opaque; `rows` is its length in bytes before padding.

The header's number is a segment's identity and the file name only a convenience, so renamed files are read in the
right order. A segment says where its predecessor ends: bytes beyond that place belong to an append that failed and
was never acknowledged. The nonce, random in each segment, stands in every frame header, so that a sender cannot plant
a frame inside a label value for the search after a damaged header to find. Checksum: CRC32C (Castagnoli), RFC 3720
appendix B.4.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from crc32c import crc32c
from numpy.typing import NDArray

from gateway.errors import StateError, UnknownVersion
from gateway.telemetry.columns import Definitions, ExemplarColumns
from gateway.telemetry.frame import Frame, LogPosition, ShardRows
from gateway.telemetry.readable import map_readable
from gateway.telemetry.state_file import open_regular

FORMAT_VERSION: Final = 2
"""The newest that is read; written where rows are grouped by shard."""
UNGROUPED_VERSION: Final = 1
SEGMENT_MAGIC: Final = b"GWSEGMNT"
FRAME_MAGIC: Final = b"\x89GWframe"
ROWS: Final = 1
EVENT: Final = 2
HAS_STARTS: Final = 1
GROUPED: Final = 2

_SEGMENT: Final = struct.Struct("<8sIIQQQQQII")
_FRAME: Final = struct.Struct("<8sBBHIQQQqIIIIIIqqII")
_U4: Final = struct.Struct("<I")
SEGMENT_HEADER_BYTES: Final = _SEGMENT.size
FRAME_HEADER_BYTES: Final = _FRAME.size
MAX_PAYLOAD_BYTES: Final = 2**31
"""A header that promises more is not ours."""
_EXEMPLAR_BYTES: Final = 8 + 8 + 16 + 8
EDGE_PREFIX: Final = "edge-"


class SegmentHeader(NamedTuple):
    """See the module's text."""

    edge: int
    segment: int
    first_row: int
    created_ns: int
    previous_segment: int
    previous_end: int
    nonce: int

    def pack(self, version: int = UNGROUPED_VERSION) -> bytes:
        """The 64 bytes."""
        edge, segment, *rest = self
        body = _SEGMENT.pack(SEGMENT_MAGIC, version, edge, segment, *rest, 0)
        return body[:-4] + _U4.pack(crc32c(body[:-4]))

    @classmethod
    def parse(cls, data: bytes) -> SegmentHeader | None:
        """From the first bytes of a file; None if they are not a whole, undamaged header.

        Raises StateError for a sound header of a format version this program does not know.
        """
        if len(data) < SEGMENT_HEADER_BYTES or data[:8] != SEGMENT_MAGIC:
            return None
        _, version, edge, *rest, crc = _SEGMENT.unpack_from(data)
        if crc != crc32c(data[: SEGMENT_HEADER_BYTES - 4]):
            return None
        if not UNGROUPED_VERSION <= version <= FORMAT_VERSION:
            raise UnknownVersion("a log segment", version, FORMAT_VERSION)
        return cls(edge, *rest)


class FrameHeader(NamedTuple):
    """See the module's text."""

    kind: int
    flags: int
    shard: int
    edge: int
    payload_bytes: int
    first_row: int
    counted_rows: int
    received_ns: int
    first_new_id: int
    rows: int
    definitions: int
    blob_bytes: int
    exemplars: int
    nonce: int
    min_ms: int
    max_ms: int
    payload_crc: int

    @property
    def nbytes(self) -> int:
        """Bytes of the frame, header included."""
        return FRAME_HEADER_BYTES + self.payload_bytes

    def pack(self) -> bytes:
        """The 96 bytes."""
        body = _FRAME.pack(FRAME_MAGIC, *self, 0)
        return body[:-4] + _U4.pack(crc32c(body[:-4]))

    @classmethod
    def parse(cls, data: memoryview | mmap.mmap, at: int, nonce: int | None = None) -> FrameHeader | None:
        """The header at byte `at`, None if there is no whole, undamaged one (of this nonce, when given)."""
        if at + FRAME_HEADER_BYTES > len(data) or data[at : at + 8] != FRAME_MAGIC:
            return None
        *fields, crc = _FRAME.unpack_from(data, at)
        if crc != crc32c(data[at : at + FRAME_HEADER_BYTES - 4]):
            return None
        header = cls(*fields[1:])
        if nonce is not None and header.nonce != nonce:
            return None
        return header if header.payload_bytes <= MAX_PAYLOAD_BYTES and _consistent(header) else None


def _consistent(header: FrameHeader) -> bool:
    if header.kind == EVENT:
        return header.payload_bytes == _pad(header.rows)
    return header.kind == ROWS and header.payload_bytes == RowLayout(header).total


def _pad(size: int) -> int:
    return size + 7 & ~7


class RowLayout:
    """Where the columns of a row frame's payload begin, in bytes from the payload's start."""

    __slots__ = ("blobs", "exemplars", "ids", "kinds", "offsets", "shards", "starts", "times", "total", "values")

    def __init__(self, header: FrameHeader) -> None:
        n, m = header.rows, header.definitions
        self.times = 0
        self.values = 8 * n
        self.starts = 16 * n
        self.ids = 24 * n if header.flags & HAS_STARTS else 16 * n
        self.offsets = self.ids + _pad(4 * n)
        self.kinds = self.offsets + (_pad(4 * (m + 1)) if m else 0)
        self.blobs = self.kinds + _pad(m)
        self.exemplars = self.blobs + _pad(header.blob_bytes)
        self.shards = self.exemplars + _pad(4 * header.exemplars) + _EXEMPLAR_BYTES * header.exemplars
        self.total = self.shards + (8 + 8 * header.shard if header.flags & GROUPED else 0)


def frame_view(header: FrameHeader, data: NDArray[np.uint8], at: int, position: LogPosition) -> Frame:
    """A Frame whose columns are views of `data` (uint8), where the frame's header stands at byte `at`."""
    layout, base = RowLayout(header), at + FRAME_HEADER_BYTES
    n, k = header.rows, header.exemplars

    def column(begin: int, count: int, dtype: type[np.generic], size: int) -> NDArray[np.generic]:
        return data[base + begin : base + begin + count * size].view(dtype)

    exemplars = None
    if k:
        begin = layout.exemplars + _pad(4 * k)
        exemplars = ExemplarColumns(
            column(layout.exemplars, k, np.uint32, 4),  # type: ignore[arg-type]
            column(begin, k, np.int64, 8),  # type: ignore[arg-type]
            column(begin + 8 * k, k, np.float64, 8),  # type: ignore[arg-type]
            column(begin + 16 * k, 16 * k, np.uint8, 1).reshape(k, 16),  # type: ignore[arg-type]
            column(begin + 32 * k, 8 * k, np.uint8, 1).reshape(k, 8),  # type: ignore[arg-type]
        )
    shards = None
    if header.flags & GROUPED:
        table = column(layout.shards + 8, 2 * header.shard, np.uint32, 4)
        latest = int(column(layout.shards, 1, np.int64, 8)[0])
        shards = ShardRows(latest, table[::2], table[1::2])  # type: ignore[arg-type]
    return Frame(
        edge=header.edge,
        shard=0,
        start=position,
        end=LogPosition(position.segment, position.offset + header.nbytes),
        first_row=header.first_row,
        counted_rows=header.counted_rows,
        received_ns=header.received_ns,
        ids=column(layout.ids, n, np.uint32, 4),  # type: ignore[arg-type]
        times_ms=column(layout.times, n, np.int64, 8),  # type: ignore[arg-type]
        values=column(layout.values, n, np.float64, 8),  # type: ignore[arg-type]
        starts_ms=column(layout.starts, n, np.int64, 8) if header.flags & HAS_STARTS else None,  # type: ignore[arg-type]
        first_new_id=header.first_new_id,
        definitions=definitions_view(header, data, at),
        exemplars=exemplars,
        blobs_at=position.offset + FRAME_HEADER_BYTES + layout.blobs,
        shards=shards,
    )


def definitions_view(header: FrameHeader, data: NDArray[np.uint8], at: int) -> Definitions:
    """The definitions of the row frame whose header stands at byte `at` of `data`, as views."""
    m = header.definitions
    if m == 0:
        return Definitions(np.empty(0, np.uint8), np.zeros(1, np.uint32), np.empty(0, np.uint8))
    layout, base = RowLayout(header), at + FRAME_HEADER_BYTES
    return Definitions(
        data[base + layout.kinds : base + layout.kinds + m],
        data[base + layout.offsets : base + layout.offsets + 4 * (m + 1)].view(np.uint32),
        data[base + layout.blobs : base + layout.blobs + header.blob_bytes],
    )


def payload_is_sound(header: FrameHeader, data: memoryview | mmap.mmap, at: int) -> bool:
    """Whether the payload after the header at byte `at` lies wholly in `data` and has the promised checksum."""
    begin = at + FRAME_HEADER_BYTES
    if begin + header.payload_bytes > len(data):
        return False
    with memoryview(data) as view, view[begin : begin + header.payload_bytes] as payload:
        return bool(crc32c(payload) == header.payload_crc)


def next_sound_frame(data: memoryview | mmap.mmap, at: int, end: int, nonce: int | None) -> int | None:
    """Byte of the first whole, undamaged frame that begins in [at, end); None if there is none."""
    if isinstance(data, memoryview):
        raise TypeError("the search needs a mapping")
    at = _pad(at)
    while (at := data.find(FRAME_MAGIC, at, end)) >= 0:
        header = FrameHeader.parse(data, at, nonce) if at % 8 == 0 else None
        if header is not None and payload_is_sound(header, data, at):
            return at
        at += 1
    return None


class Piece(NamedTuple):
    """What a scan meets: a sound frame (its header), or a damaged stretch (None)."""

    header: FrameHeader | None
    offset: int
    end: int


def scan(data: mmap.mmap, start: int, end: int, nonce: int | None) -> Iterator[Piece]:
    """Sound frames and damaged stretches of data[start:end], in order; ends at a torn tail without yielding it.

    The torn tail is what follows the last sound frame; its size is `end` minus the last piece's end.
    """
    at = start
    while at < end:
        header = FrameHeader.parse(data, at, nonce)
        if header is not None and at + header.nbytes <= end and payload_is_sound(header, data, at):
            nonce = header.nonce
            yield Piece(header, at, at + header.nbytes)
            at += header.nbytes
            continue
        # A sound header with a damaged payload is stepped over whole: its bytes are not searched for frames.
        beyond = at + header.nbytes if header is not None else at + 1
        found = next_sound_frame(data, beyond, end, nonce) if beyond < end else None
        if found is None:
            return
        yield Piece(None, at, found)
        at = found


class SegmentFile(NamedTuple):
    """A segment on disk. `header` is None when it is damaged; `end` is where its frames end at the latest."""

    number: int
    path: Path
    header: SegmentHeader | None
    end: int

    @property
    def nonce(self) -> int | None:
        """What every frame of the segment carries; None if the segment header is lost."""
        return None if self.header is None else self.header.nonce


def edge_directory(directory: Path, edge: int) -> Path:
    """Where an edge's segments are."""
    return directory / f"{EDGE_PREFIX}{edge}"


def edges_of(directory: Path, workers: int) -> range:
    """The edges of a log that this many workers write, and those that a larger number wrote once."""
    former = [p.name.removeprefix(EDGE_PREFIX) for p in directory.glob(f"{EDGE_PREFIX}*")]
    return range(max([workers, *(int(number) + 1 for number in former if number.isdigit())]))


def segment_path(directory: Path, edge: int, number: int) -> Path:
    """The file of a segment."""
    return edge_directory(directory, edge) / f"{number:016d}.seg"


def list_segments(directory: Path, edge: int) -> list[SegmentFile]:
    """The segments of an edge, by number. Empty files are left out, and what is no regular file. Raises OSError.

    The number is the header's; the name's where the header is damaged. Of two files with one number (a copy), the one
    that bears the right name is taken, else the first by name.
    """
    found: dict[int, SegmentFile] = {}
    for path in sorted(edge_directory(directory, edge).glob("*.seg")):
        try:
            with open_regular(path) as (descriptor, size):
                start = os.pread(descriptor, SEGMENT_HEADER_BYTES, 0)
        except FileNotFoundError:  # removed by retention while we looked
            continue
        except StateError:
            continue  # see `strangers`
        header = SegmentHeader.parse(start)
        if size == 0 or (header is not None and header.edge != edge):
            continue
        if header is None and not path.stem.isdigit():
            continue
        number = header.segment if header is not None else int(path.stem)
        if number not in found or path == segment_path(directory, edge, number):
            found[number] = SegmentFile(number, path, header, size)
    ordered = [found[number] for number in sorted(found)]
    for i, (segment, following) in enumerate(pairwise(ordered)):
        # Its size is final only now that a following segment has been seen.
        end = segment.path.stat().st_size if segment.path.exists() else segment.end
        if following.header is not None and following.header.previous_segment == segment.number:
            end = min(end, following.header.previous_end)
        ordered[i] = segment._replace(end=end)
    return ordered


def strangers(directory: Path, edge: int) -> list[Path]:
    """What has the name of a segment and is no regular file. Raises OSError."""
    found = []
    for path in sorted(edge_directory(directory, edge).glob("*.seg")):
        try:
            regular = stat.S_ISREG(path.stat().st_mode)
        except FileNotFoundError:
            regular = not path.is_symlink()  # removed by retention while we looked, or a link to nothing
        if not regular:
            found.append(path)
    return found


def map_segment(segment: SegmentFile) -> mmap.mmap:
    """The file in memory, read only. Raises OSError, where a page of it cannot be read as well; ValueError if it is
    empty."""
    return map_readable(segment.path)
