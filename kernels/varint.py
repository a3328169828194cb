"""Base-128 varints, read within bounds.

A position that is negative is a fault: it carries the byte offset and what was wrong (see `fault`), so that every step
of a walk returns one integer and the outermost kernel turns the first negative one into the declared decode error.
Source: protobuf encoding specification, section "Base 128 Varints".
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from kernels.jit import hot_step, step
from kernels.wire import load_u8

TRUNCATED: Final = 1
"""The message ends inside a value."""
OVERLONG_VARINT: Final = 2
"""A varint of more than ten bytes, or more than 64 bits."""
LENGTH_BEYOND_END: Final = 3
"""A length that reaches behind the end of its message."""
BAD_WIRE_TYPE: Final = 4
"""A group (wire types 3 and 4) or a wire type that does not exist."""
BAD_FIELD_NUMBER: Final = 5
"""Field number 0, or more than 29 bits."""
TOO_DEEP: Final = 6
"""Messages nested deeper than the walk allows."""

FAULT_TEXTS: Final = {
    TRUNCATED: "the message ends inside a value",
    OVERLONG_VARINT: "a varint is longer than 64 bits",
    LENGTH_BEYOND_END: "a length reaches behind the end of its message",
    BAD_WIRE_TYPE: "a wire type that protobuf 3 does not use",
    BAD_FIELD_NUMBER: "a field number out of range",
    TOO_DEEP: "messages are nested too deep",
}
"""What a fault's code says to the sender."""


@step
def fault(at: Any, code: Any) -> Any:
    """The negative position that stands for "wrong at byte `at`"; int64."""
    return -(at * 8 + code)


def fault_offset(position: int) -> int:
    """Byte offset of a fault."""
    return -position >> 3


def fault_code(position: int) -> int:
    """What was wrong; a key of FAULT_TEXTS."""
    return -position & 7


@step
def _read_long_varint(buf: Any, at: Any, end: Any) -> Any:
    """`read_varint` of more than one byte."""
    value, shift = np.uint64(0), np.uint64(0)
    began = at
    while at < end:
        byte = load_u8(buf, at)
        at += 1
        if shift == np.uint64(63) and byte > np.uint64(1):
            return np.uint64(0), fault(began, OVERLONG_VARINT)
        value |= (byte & np.uint64(0x7F)) << shift
        if byte < np.uint64(0x80):
            return value, at
        shift += np.uint64(7)
    return np.uint64(0), fault(began, TRUNCATED)


@hot_step
def read_varint(buf: Any, at: Any, end: Any) -> Any:
    """(value uint64, next position int64) of the varint at `at`, not reading at or behind `end`."""
    if at < end:
        byte = load_u8(buf, at)
        if byte < np.uint64(0x80):
            return byte, at + 1
    return _read_long_varint(buf, at, end)


@step
def zigzag(value: Any) -> Any:
    """The int64 that a sint32 or sint64 varint stands for."""
    return np.int64(value >> np.uint64(1)) ^ -np.int64(value & np.uint64(1))
