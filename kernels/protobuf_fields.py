"""Stepping over protobuf fields, always within the end of their message.

A field of a known number but another wire type than its declaration is an unknown field, as in every protobuf library.
Groups (wire types 3 and 4) do not exist in protobuf 3 and are a fault. Source: protobuf encoding specification.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from kernels.jit import hot_step, step
from kernels.varint import BAD_FIELD_NUMBER, BAD_WIRE_TYPE, LENGTH_BEYOND_END, TRUNCATED, fault, read_varint
from kernels.wire import load_u8


@hot_step
def read_tag(buf: Any, at: Any, end: Any) -> Any:
    """(tag int64 = field << 3 | wire type, next position) of a field; the position is a fault if the tag is wrong."""
    if at < end:
        first = load_u8(buf, at)
        if np.uint64(8) <= first < np.uint64(0x80):
            return np.int64(first), at + 1
    value, after = read_varint(buf, at, end)
    if after < 0:
        return np.int64(0), after
    if value < np.uint64(8) or value >= np.uint64(1 << 32):
        return np.int64(0), fault(at, BAD_FIELD_NUMBER)
    return np.int64(value), after


@hot_step
def read_length(buf: Any, at: Any, end: Any) -> Any:
    """(first byte, first byte behind) of a length-delimited value; both are the fault if it does not fit."""
    value, after = read_varint(buf, at, end)
    if after < 0:
        return after, after
    if value > np.uint64(end - after):
        wrong = fault(at, LENGTH_BEYOND_END)
        return wrong, wrong
    return after, after + np.int64(value)


@step
def skip_value(buf: Any, at: Any, end: Any, tag: Any) -> Any:
    """Position behind the value of a field that is not read, or a fault."""
    wire = tag & 7
    if wire == 0:
        _, after = read_varint(buf, at, end)
        return after
    if wire == 2:
        _, after = read_length(buf, at, end)
        return after
    if wire == 1:
        return at + 8 if end - at >= 8 else fault(at, TRUNCATED)
    if wire == 5:
        return at + 4 if end - at >= 4 else fault(at, TRUNCATED)
    return fault(at, BAD_WIRE_TYPE)
