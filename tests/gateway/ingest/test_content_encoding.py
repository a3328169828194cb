"""Decompression: round trips, bounds, damage."""

from __future__ import annotations

import gzip
import zlib

import cramjam
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import BodyTooLarge, Overloaded, RequestError, UnsupportedMediaType
from gateway.ingest.content_encoding import DECOMPRESSORS, decompress


def _bare_deflate(body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-15)
    return stream.compress(body) + stream.flush()


def _unsized_zstd(body: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_content_size=False).compress(body)


def _halves(compress):
    def encode(body: bytes) -> bytes:
        middle = len(body) // 2
        return compress(body[:middle]) + compress(body[middle:])

    return encode


ENCODERS = {
    "gzip": ("gzip", gzip.compress),
    "gzip members": ("gzip", _halves(gzip.compress)),
    "deflate": ("deflate", zlib.compress),
    "bare deflate": ("deflate", _bare_deflate),
    "zstd": ("zstd", zstandard.compress),
    "zstd without size": ("zstd", _unsized_zstd),
    "zstd frames": ("zstd", _halves(zstandard.compress)),
    "zstd checksum": ("zstd", zstandard.ZstdCompressor(write_checksum=True, write_content_size=False).compress),
    "snappy block": ("snappy", lambda b: bytes(cramjam.snappy.compress_raw(b))),
    "snappy framed": ("snappy", lambda b: bytes(cramjam.snappy.compress(b)) or b"\xff\x06\x00\x00sNaPpY"),
}
BODIES = [b"", b"a", bytes(300_000), bytes(range(256)) * 1000]


class Account:
    """Adds up what was taken; refuses beyond a limit."""

    def __init__(self, limit: int = 1 << 40) -> None:
        self.held, self.limit = 0, limit

    def take(self, amount: int) -> None:
        if self.held + amount > self.limit:
            raise Overloaded("full")
        self.held += amount


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize("body", BODIES, ids=len)
def test_round_trip_and_account(name, body):
    encoding, encode = ENCODERS[name]
    account = Account()
    assert decompress(encode(body), encoding, len(body), account.take) == body
    assert account.held >= len(body)
    assert account.held <= 2 * len(body) + 64


@pytest.mark.parametrize("name", ENCODERS)
def test_never_more_than_the_limit_and_never_unaccounted(name):
    encoding, encode = ENCODERS[name]
    packed = encode(bytes(3_000_000))
    with pytest.raises(BodyTooLarge):
        decompress(packed, encoding, 2_999_999, Account().take)
    account = Account(limit=500_000)
    with pytest.raises(Overloaded):
        decompress(packed, encoding, 1 << 26, account.take)


@pytest.mark.parametrize("name", ENCODERS)
def test_cut_and_extended_bodies_are_damaged(name):
    encoding, encode = ENCODERS[name]
    body = bytes(range(256)) * 20
    packed = encode(body)
    for cut in (1, 4, 9, len(packed) // 3, len(packed) - 1):
        with pytest.raises(RequestError):
            decompress(packed[:-cut], encoding, 1 << 20, Account().take)
    with pytest.raises(RequestError):
        decompress(packed + b"trailing junk", encoding, 1 << 20, Account().take)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_hostile_bytes_give_bytes_or_a_request_error(data):
    name = data.draw(st.sampled_from(sorted(ENCODERS)))
    encoding, encode = ENCODERS[name]
    packed = bytearray(encode(data.draw(st.binary(max_size=300)) * data.draw(st.integers(1, 50))))
    for _ in range(data.draw(st.integers(0, 4))):
        if packed:
            packed[data.draw(st.integers(0, len(packed) - 1))] = data.draw(st.integers(0, 255))
    try:
        out = decompress(bytes(packed), encoding, 100_000, Account().take)
    except RequestError:
        return
    assert len(out) <= 100_000


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(DECOMPRESSORS)), st.binary(max_size=60))
def test_garbage_gives_bytes_or_a_request_error(encoding, garbage):
    account = Account()
    try:
        out = decompress(garbage, encoding, 100_000, account.take)
    except RequestError:
        out = b""
    assert len(out) <= account.held <= 200_000


def test_a_claimed_size_is_not_believed():
    packed = bytearray(gzip.compress(b"points"))
    packed[-4:] = (1 << 26).to_bytes(4, "little")
    account = Account()
    with pytest.raises(RequestError):
        decompress(bytes(packed), "gzip", 1 << 26, account.take)
    assert account.held < 1 << 20


EMPTY_PARTS = {
    "gzip members": ("gzip", b"", gzip.compress(b""), b""),
    "zstd blocks": ("zstd", b"\x28\xb5\x2f\xfd\0\0", b"\0\0\0", b"\x01\0\0"),
    "zstd frames": ("zstd", b"", b"\x28\xb5\x2f\xfd\x20\0\x01\0\0", b""),
    "zstd skipped": ("zstd", b"", b"\x50\x2a\x4d\x18\0\0\0\0", b""),
    "snappy padding": ("snappy", b"\xff\x06\0\0sNaPpY", b"\xfe\0\0\0", b""),
}


@pytest.mark.parametrize("name", EMPTY_PARTS)
def test_a_body_of_empty_parts_is_given_up_early(name):
    encoding, before, part, after = EMPTY_PARTS[name]
    assert len(decompress(before + part * 500 + after, encoding, 1 << 20, Account().take)) == 0
    with pytest.raises(RequestError, match="too many parts"):
        decompress(before + part * (1_200 + 1_200 * len(part) // 256) + after, encoding, 1 << 20, Account().take)


@pytest.mark.parametrize("padding", [1, 5_000])
def test_gzip_may_be_padded_with_zeros_and_nothing_else(padding):
    packed = gzip.compress(b"points") + gzip.compress(b" more") + bytes(padding)
    assert decompress(packed, "gzip", 100, Account().take) == b"points more"
    with pytest.raises(RequestError):
        decompress(packed + b"x", "gzip", 100, Account().take)


def test_many_members_that_fit_into_pieces_of_any_kind():
    words = [bytes([n % 251]) * n for n in range(0, 9_000, 37)]
    packed = b"".join(gzip.compress(word, n % 10) for n, word in enumerate(words))
    assert decompress(packed, "gzip", 1 << 26, Account().take) == b"".join(words)


def test_unknown_encodings_are_named():
    with pytest.raises(UnsupportedMediaType, match='"br"'):
        decompress(b"", "br", 10, Account().take)
