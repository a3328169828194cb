"""What a segment holds, without reading it: one small file beside a closed segment.

Frames are taken together into at most 64 blocks. The index has for each frame its place, time range and block, and
for each local id the place of its definition and a 64-bit set of the blocks in which it occurs: 21 bytes a series and
40 bytes a frame. A query reads the blocks that some wanted series occurs in and whose frames overlap its time.

    magic "GWSEGIDX", u32 format version, u32 CRC32C of what follows; u64 frames, u64 ids; then the columns
    per frame: offset u64, end u64, min_ms i64, max_ms i64, block u64
    per id: begin u64, blocks u64, length u32, kind u8

The file can be lost: it is made again from the segment.
"""

from __future__ import annotations

import mmap
import struct
from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import structlog
from crc32c import crc32c
from numpy.typing import NDArray

from gateway.errors import DiskFailed, StateError
from gateway.log.retention import INDEX_SUFFIX
from gateway.log.segment import (
    FRAME_HEADER_BYTES,
    ROWS,
    SEGMENT_HEADER_BYTES,
    FrameHeader,
    RowLayout,
    SegmentFile,
    definitions_view,
    map_segment,
    scan,
)
from gateway.telemetry.state_file import read_regular, store_file
from kernels.log_rows import note_blocks

log = structlog.get_logger(__name__)

_MAGIC: Final = b"GWSEGIDX"
_VERSION: Final = 1
_HEAD: Final = struct.Struct("<8sII")
_COUNTS: Final = struct.Struct("<QQ")
_LEAST_BYTES: Final = _HEAD.size + _COUNTS.size
_AT_MOST: Final = 5
"""Bytes of an index to each of its segment, where a definition takes 5 at least and a frame more than 40."""
BLOCKS: Final = 64


@dataclass(slots=True)
class SegmentIndex:
    """See the module's text. f frames, m local ids; a local id whose definition was damaged has length 0.

    offsets, ends: uint64[f]; min_ms, max_ms: int64[f]; blocks: uint64[f], a single bit each.
    blob_begins: uint64[m], in the segment's file; occurs_in: uint64[m]; blob_lengths: uint32[m]; kinds: uint8[m].
    """

    offsets: NDArray[np.uint64]
    ends: NDArray[np.uint64]
    min_ms: NDArray[np.int64]
    max_ms: NDArray[np.int64]
    blocks: NDArray[np.uint64]
    blob_begins: NDArray[np.uint64]
    occurs_in: NDArray[np.uint64]
    blob_lengths: NDArray[np.uint32]
    kinds: NDArray[np.uint8]

    @classmethod
    def build(cls, segment: SegmentFile) -> Self:
        """Read the whole segment. Raises DiskFailed."""
        try:
            with map_segment(segment) as mapped:
                end = min(segment.end, len(mapped))
                frames = [
                    (piece.header, piece.offset)
                    for piece in scan(mapped, SEGMENT_HEADER_BYTES, end, segment.nonce)
                    if piece.header is not None and piece.header.kind == ROWS
                ]
                return cls._from_frames(mapped, frames, end)
        except (OSError, ValueError) as error:
            raise DiskFailed(f"{segment.path} cannot be read: {error}") from error

    @classmethod
    def _from_frames(cls, mapped: mmap.mmap, frames: list[tuple[FrameHeader, int]], end: int) -> Self:
        return cls.empty().with_frames(mapped, frames, max(1, -(-(end - SEGMENT_HEADER_BYTES) // BLOCKS)))

    @classmethod
    def empty(cls) -> Self:
        """Of no frames."""
        u8, i8 = np.zeros(0, np.uint64), np.zeros(0, np.int64)
        return cls(u8, u8, i8, i8, u8, u8, u8, np.zeros(0, np.uint32), np.zeros(0, np.uint8))

    def with_frames(self, mapped: mmap.mmap, frames: list[tuple[FrameHeader, int]], width: int) -> Self:
        """A new index with these frames added, which follow those that are known; width: bytes of a block."""
        known, offsets = len(self.kinds), np.array([at for _, at in frames], np.uint64)
        ids = max((h.first_new_id + h.definitions for h, _ in frames), default=0)
        blocks = np.uint64(1) << ((offsets - np.uint64(SEGMENT_HEADER_BYTES)) // np.uint64(width))
        more = max(ids - known, 0)
        index = type(self)(
            offsets=np.concatenate([self.offsets, offsets]),
            ends=np.concatenate([self.ends, np.array([at + h.nbytes for h, at in frames], np.uint64)]),
            min_ms=np.concatenate([self.min_ms, np.array([h.min_ms for h, _ in frames], np.int64)]),
            max_ms=np.concatenate([self.max_ms, np.array([h.max_ms for h, _ in frames], np.int64)]),
            blocks=np.concatenate([self.blocks, blocks]),
            blob_begins=np.concatenate([self.blob_begins, np.zeros(more, np.uint64)]),
            occurs_in=np.concatenate([self.occurs_in, np.zeros(more, np.uint64)]),
            blob_lengths=np.concatenate([self.blob_lengths, np.zeros(more, np.uint32)]),
            kinds=np.concatenate([self.kinds, np.zeros(more, np.uint8)]),
        )
        for i, (header, at) in enumerate(frames):
            layout = RowLayout(header)
            data = np.frombuffer(mapped, np.uint8, header.nbytes, at)
            if header.definitions:
                found = definitions_view(header, data, 0)
                here = slice(header.first_new_id, header.first_new_id + header.definitions)
                index.blob_begins[here] = found.offsets[:-1] + np.uint64(at + FRAME_HEADER_BYTES + layout.blobs)
                index.blob_lengths[here] = np.diff(found.offsets)
                index.kinds[here] = found.kinds
                del found
            begin = FRAME_HEADER_BYTES + layout.ids
            rows = data[begin : begin + 4 * header.rows].view(np.uint32)
            note_blocks(rows, blocks[i], index.occurs_in)
            del rows, data  # the mapping is closed when nothing looks into it
        return index

    @classmethod
    def of_closed(cls, segment: SegmentFile) -> Self:
        """The index of a closed segment, from its file, else built and written there. Raises DiskFailed for the
        segment itself; an index file that is damaged or cannot be written is a log line."""
        path = segment.path.with_suffix(INDEX_SUFFIX)
        try:
            loaded = cls._unpack(read_regular(path, _LEAST_BYTES + _AT_MOST * segment.end))
            if loaded is not None:
                return loaded
            log.warning("a segment's index is damaged and is made again", path=str(path))
        except FileNotFoundError:
            pass
        except (OSError, StateError) as error:
            log.warning("a segment's index cannot be read", path=str(path), error=str(error))
        index = cls.build(segment)
        try:
            store_file(path, index._pack())
        except DiskFailed as error:
            log.warning("a segment's index cannot be written", error=str(error))
        return index

    def _columns(self) -> list[NDArray[np.generic]]:
        return [getattr(self, name) for name in self.__slots__]

    def _pack(self) -> bytes:
        body = _COUNTS.pack(len(self.offsets), len(self.kinds)) + b"".join(c.tobytes() for c in self._columns())
        return _HEAD.pack(_MAGIC, _VERSION, crc32c(body)) + body

    @classmethod
    def _unpack(cls, data: bytes) -> Self | None:
        if len(data) < _HEAD.size + _COUNTS.size:
            return None
        magic, version, crc = _HEAD.unpack_from(data)
        if magic != _MAGIC or version != _VERSION or crc != crc32c(data[_HEAD.size :]):
            return None
        frames, ids = _COUNTS.unpack_from(data, _HEAD.size)
        at, columns = _HEAD.size + _COUNTS.size, []
        if len(data) != at + 40 * frames + 21 * ids:
            return None
        for number, dtype in enumerate((np.uint64, np.uint64, np.int64, np.int64, np.uint64, *_ID_TYPES)):
            count = frames if number < 5 else ids
            columns.append(np.frombuffer(data, dtype, count, at))
            at += columns[-1].nbytes
        return cls(*columns)


_ID_TYPES: Final = (np.uint64, np.uint64, np.uint32, np.uint8)
