"""Fields of a protobuf message as bytes, of values as ProtoJSON writes them. Tags are given as they stand on the wire.

Source: protobuf's "Encoding" and "ProtoJSON Format".
"""

from __future__ import annotations

import re
import struct

from gateway.decode.otlp_json_shapes import Number
from gateway.telemetry.varint import varint


def bytes_field(tag: int, value: bytes) -> bytes:
    """A length-delimited field: the tag as it stands on the wire, the length, the bytes."""
    return varint(tag) + varint(len(value)) + value


def text_field(tag: int, value: str | None) -> bytes:
    """A string field; nothing for an empty one."""
    # A lone surrogate passes as bytes that are not UTF-8: the kernel then refuses this point and not its neighbours.
    return b"" if not value else bytes_field(tag, value.encode("utf-8", "surrogatepass"))


def integer_of(value: Number) -> int:
    """An integer as ProtoJSON may write it. Raises ValueError."""
    if isinstance(value, float):
        if value != int(value):
            raise ValueError(f"{value} is not an integer")
        return int(value)
    return int(value)


def double_of(value: Number) -> float:
    """A double as ProtoJSON may write it. Raises ValueError."""
    if isinstance(value, str) and value not in ("NaN", "Infinity", "-Infinity"):
        if not re.fullmatch(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?", value):
            raise ValueError(f'"{value[:40]}" is not a number')
        return float(value)
    return float(value)


def fixed_field(tag: int, value: Number | None) -> bytes:
    """A fixed64 field; nothing where there is no value."""
    return b"" if value is None else varint(tag) + struct.pack("<Q", integer_of(value))


def signed_fixed_field(tag: int, value: Number | None) -> bytes:
    """An sfixed64 field; nothing where there is no value."""
    return b"" if value is None else varint(tag) + struct.pack("<q", integer_of(value))


def double_field(tag: int, value: Number | None) -> bytes:
    """A double field; nothing where there is no value."""
    return b"" if value is None else varint(tag) + struct.pack("<d", double_of(value))


def varint_field(tag: int, value: int) -> bytes:
    """An integer field of up to 64 bits, negative ones in two's complement. Raises ValueError."""
    if not -(1 << 63) <= value < 1 << 64:
        raise ValueError(f"{value} does not fit 64 bits")
    return varint(tag) + varint(value & 0xFFFFFFFFFFFFFFFF)


def zigzag_field(tag: int, value: Number | None) -> bytes:
    """An sint32 field; nothing where there is no value. Raises ValueError."""
    if value is None:
        return b""
    number = integer_of(value)
    if not -(1 << 31) <= number < 1 << 31:
        raise ValueError(f"{number} does not fit 32 bits")
    return varint(tag) + varint((number << 1) ^ (number >> 31) if number >= 0 else (-number << 1) - 1)
