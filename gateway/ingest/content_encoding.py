"""Content encodings: bytes as sent → bytes as meant, never more than a limit, never on a header's word.

Formats and what bounds them:

    gzip      RFC 1952, members may follow one another   output buffer sized by the footer if plausible, else in steps
    deflate   RFC 9110 §8.4.1.2: zlib (RFC 1950); bare RFC 1951, which some clients send, is taken too   in steps
    zstd      RFC 8878, frames may follow one another    the frame's content size if plausible, else in steps
    snappy    block: the length in front is compared with the limit and with what the format can reach at all;
              framed (framing_format.txt): told by its stream identifier, chunk by chunk, checksums verified

`take` is told of every growth before the memory is asked for, and may raise to refuse it.

A body of many empty parts (members, frames, blocks, chunks) would cost far more time than its bytes, so their number is
bounded by the sizes of the body before and after.
"""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from typing import Final, TypeAlias

import cramjam
import crc32c
import numpy as np
import zstandard

from gateway.errors import BodyTooLarge, RequestError, UnsupportedMediaType
from gateway.ingest.decoders import Body
from gateway.ingest.whole_gzip import gunzip

Take: TypeAlias = Callable[[int], None]

_STEP: Final = 1 << 20
"""Bytes of one growth where the size is not known."""
_DEFLATE_RATIO: Final = 1032
"""The most that DEFLATE can expand."""
_PLAUSIBLE: Final = 256
"""Times the compressed size that a zstd header may claim before we only believe what comes out."""
_SNAPPY_RATIO: Final = 64
"""The most that one snappy tag (three bytes, or two) can copy; a larger claim is a lie."""
_MAX_WINDOW: Final = 1 << 27
"""Largest zstd window; level 19 of the reference implementation uses 8 MiB, --long 128 MiB."""
_INPUT_STEP: Final = 1 << 12
"""Bytes that zlib is given at a time where parts may follow one another: it copies what it leaves, at every part."""
_FREE_PARTS: Final = 1024
_PART_BYTES: Final = 256
"""A body may have _FREE_PARTS parts, and one more for each so many bytes of it, before and after decompression."""
_SNAPPY_STREAM: Final = b"\xff\x06\x00\x00sNaPpY"

_local = threading.local()


def decompress(body: Body, encoding: str, limit: int, take: Take) -> Body:
    """Undo one Content-Encoding (already in lower case).

    Raises UnsupportedMediaType for an encoding not in DECOMPRESSORS, BodyTooLarge beyond `limit` bytes, RequestError
    (reason "compression") for damaged input, and whatever `take` raises.
    """
    function = DECOMPRESSORS.get(encoding)
    if function is None:
        raise UnsupportedMediaType(f'content encoding "{encoding[:40]}" is not supported', reason="encoding")
    return function(body, limit, take)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {limit} bytes after decompression")


def _damaged(encoding: str, problem: object) -> RequestError:
    return RequestError(f"the body is not valid {encoding}: {problem}", reason="compression")


def _check_parts(encoding: str, parts: int, size: int) -> None:
    if parts > _FREE_PARTS + size // _PART_BYTES:
        raise _damaged(encoding, "it consists of too many parts for its size")


def _gzip(body: Body, limit: int, take: Take) -> Body:
    if len(body) < 18:
        raise _damaged("gzip", "it is shorter than a header and a footer")
    claimed = int.from_bytes(body[-4:], "little")
    if 0 < claimed <= min(limit, len(body) * _DEFLATE_RATIO):
        take(claimed)
        content = gunzip(body, claimed)
        if content is not None:
            return content
        # Several members, padded, or damaged: the slower way tells which.
        return _inflate(body, limit, take, 31, "gzip", held=claimed)
    return _inflate(body, limit, take, 31, "gzip")


def _deflate(body: Body, limit: int, take: Take) -> Body:
    # A zlib header is a multiple of 31 with method 8; a bare deflate stream hardly ever is.
    zlib_header = len(body) >= 2 and body[0] & 0x0F == 8 and (body[0] << 8 | body[1]) % 31 == 0
    return _inflate(body, limit, take, 15 if zlib_header else -15, "deflate")


def _inflate(body: Body, limit: int, take: Take, window_bits: int, name: str, held: int = 0) -> bytes:
    """`held`: bytes that are already taken for the output."""
    parts: list[bytes] = []
    size = at = members = 0
    view, rest = memoryview(body), b""
    input_step = _STEP if window_bits != 31 else _INPUT_STEP
    try:
        while True:
            stream = zlib.decompressobj(window_bits)
            members += 1
            _check_parts(name, members, len(body) + size)
            while not stream.eof:
                piece: Body = rest
                if not rest:
                    piece = view[at : at + input_step]
                    at += len(piece)
                part = stream.decompress(piece, min(_STEP, limit - size + 1))
                rest = stream.unconsumed_tail
                if not part and not rest and at == len(view) and not stream.eof:
                    raise _damaged(name, "it ends too early")
                size += len(part)
                if size > limit:
                    raise _too_large(limit)
                if size > held:
                    take(size - held)
                    held = size
                if part:
                    parts.append(part)
            rest = stream.unused_data or bytes(view[at : at + input_step])
            at += 0 if stream.unused_data else len(rest)
            more = bool(rest.strip(b"\0") or bytes(view[at:] if rest else b"").strip(b"\0"))  # gzip may be padded
            if window_bits != 31 or not more:
                break
    except zlib.error as error:
        raise _damaged(name, error) from None
    if more:
        raise _damaged(name, "bytes follow its end")
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _zstd_context() -> zstandard.ZstdDecompressor:
    context: zstandard.ZstdDecompressor | None = getattr(_local, "zstd", None)
    if context is None:
        context = _local.zstd = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
    return context


def _zstd(body: Body, limit: int, take: Take) -> Body:
    context = _zstd_context()
    held = 0
    try:
        claimed = zstandard.frame_content_size(body)
        if 0 < claimed <= min(limit, len(body) * _PLAUSIBLE):
            take(claimed)
            held = claimed
            try:
                return context.decompress(body, allow_extra_data=False)
            except zstandard.ZstdError:
                pass  # several frames, or damaged: the slower way tells which
        parts: list[bytes] = []
        size = 0
        with context.stream_reader(body, read_across_frames=True) as reader:
            while part := reader.read(min(_STEP, limit - size + 1)):
                size += len(part)
                if size > limit:
                    raise _too_large(limit)
                if size > held:
                    take(size - held)
                    held = size
                parts.append(part)
        if not _zstd_complete(body, size):
            raise _damaged("zstd", "it ends too early")
    except zstandard.ZstdError as error:
        raise _damaged("zstd", error) from None
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _zstd_complete(body: Body, size: int) -> bool:
    """Whether the last frame is whole, which the stream reader does not tell: walks the block headers.
    `size`: bytes that it became. Raises RequestError."""
    at, end, blocks = 0, len(body), 0
    while at < end:
        blocks += 1
        _check_parts("zstd", blocks, end + size)
        magic = int.from_bytes(body[at : at + 4], "little")
        if magic & 0xFFFFFFF0 == 0x184D2A50:  # skippable frame
            at += 8 + int.from_bytes(body[at + 4 : at + 8], "little")
            continue
        if magic != 0xFD2FB528 or end - at < 6:
            return False
        descriptor = body[at + 4]
        single_segment = descriptor >> 5 & 1
        at += 5 + (0 if single_segment else 1) + (0, 1, 2, 4)[descriptor & 3]
        at += (single_segment, 2, 4, 8)[descriptor >> 6]
        last = 0
        while not last:
            if at + 3 > end:
                return False
            blocks += 1
            _check_parts("zstd", blocks, end + size)
            header = int.from_bytes(body[at : at + 3], "little")
            last, kind = header & 1, header >> 1 & 3
            at += 3 + (1 if kind == 1 else header >> 3)
        at += 4 if descriptor & 4 else 0
    return at == end and end > 0


def _snappy(body: Body, limit: int, take: Take) -> Body:
    if body[: len(_SNAPPY_STREAM)] == _SNAPPY_STREAM:
        return _snappy_framed(body, limit, take)
    return snappy_block(body, limit, take)


def snappy_block(body: Body, limit: int, take: Take) -> Body:
    """The block format, which remote write 1.0 prescribes (snappy/format_description.txt)."""
    size = shift = at = 0
    while True:
        if at >= len(body) or shift > 28:
            raise _damaged("snappy", "it does not begin with a length")
        size |= (body[at] & 0x7F) << shift
        shift += 7
        at += 1
        if body[at - 1] < 0x80:
            break
    if size > limit:
        raise _too_large(limit)
    if size > len(body) * _SNAPPY_RATIO:
        raise _damaged("snappy", "it claims more than it can hold")
    take(size)
    if size == 0 and at == len(body):
        return b""
    # Not zeroed: every byte is written, or the body refused.
    out = memoryview(np.empty(size, np.uint8))  # type: ignore[arg-type]
    try:
        written = cramjam.snappy.decompress_raw_into(body, out)
    except cramjam.DecompressionError as error:
        raise _damaged("snappy", error) from None
    if written != size:
        raise _damaged("snappy", "it is shorter than it claims")
    return out


def _snappy_framed(body: Body, limit: int, take: Take) -> Body:
    out = bytearray()
    at, chunks = len(_SNAPPY_STREAM), 0
    while at < len(body):
        chunks += 1
        _check_parts("snappy", chunks, len(body) + len(out))
        kind = body[at]
        length = int.from_bytes(body[at + 1 : at + 4], "little")
        at += 4
        chunk = body[at : at + length]
        if at > len(body) or len(chunk) != length:
            raise _damaged("snappy", "it ends too early")
        at += length
        if kind in (0, 1):
            if length < 4:
                raise _damaged("snappy", "a chunk has no checksum")
            data: Body = chunk[4:]
            if kind == 0:
                data = snappy_block(bytes(data), min(limit - len(out), 65536), take)
            elif len(out) + len(data) > limit:
                raise _too_large(limit)
            else:
                take(len(data))
            checksum = crc32c.crc32c(data)
            if ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF != int.from_bytes(chunk[:4], "little"):
                raise _damaged("snappy", "a checksum is wrong")
            out += data
        elif kind < 0x80:
            raise _damaged("snappy", f"chunk type {kind} is not known")
    return out


DECOMPRESSORS: Final[dict[str, Callable[[Body, int, Take], Body]]] = {
    "gzip": _gzip,
    "x-gzip": _gzip,
    "zstd": _zstd,
    "deflate": _deflate,
    "snappy": _snappy,
    "x-snappy-framed": _snappy,
}
"""Encodings that OTLP/HTTP takes, beside none and "identity"."""

REMOTE_WRITE_DECOMPRESSORS: Final[dict[str, Callable[[Body, int, Take], Body]]] = {
    "snappy": snappy_block,
    "zstd": _zstd,
}
"""Encodings that remote write takes."""
