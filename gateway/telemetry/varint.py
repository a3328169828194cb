"""Base-128 varints of protobuf ("Encoding") in messages of a few bytes; kernels.varint reads those of the hot path."""

from __future__ import annotations


def varint(number: int) -> bytes:
    """The bytes of a number that is not negative."""
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_varint(blob: bytes, at: int) -> tuple[int, int]:
    """(value, next position) of a varint in bytes known to be sound; IndexError where they end inside it."""
    value = shift = 0
    while True:
        byte = blob[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
