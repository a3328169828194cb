"""Bytes as text: whether they are UTF-8, whether two are the same, which comes first.

All ranges have been proved to lie within the buffer.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from kernels.jit import hot_step, step
from kernels.wire import load_u8, load_u64

HIGH_BITS: Final = 0x8080808080808080
"""Set in a word in which some byte is not ASCII."""


@step
def is_utf8(buf: Any, at: Any, end: Any) -> Any:
    """Whether bytes at … end - 1 are UTF-8 (RFC 3629: no surrogates, no overlong forms, nothing above U+10FFFF)."""
    while at < end:
        if at + 8 <= end and load_u64(buf, at) & np.uint64(HIGH_BITS) == np.uint64(0):
            at += 8
            continue
        lead = load_u8(buf, at)
        at += 1
        if lead < np.uint64(0x80):
            continue
        if lead < np.uint64(0xC2) or lead > np.uint64(0xF4):
            return False
        low, high, more = np.uint64(0x80), np.uint64(0xBF), 1
        if lead >= np.uint64(0xF0):
            more = 3
            if lead == np.uint64(0xF0):
                low = np.uint64(0x90)
            elif lead == np.uint64(0xF4):
                high = np.uint64(0x8F)
        elif lead >= np.uint64(0xE0):
            more = 2
            if lead == np.uint64(0xE0):
                low = np.uint64(0xA0)
            elif lead == np.uint64(0xED):
                high = np.uint64(0x9F)
        if end - at < more:
            return False
        byte = load_u8(buf, at)
        if byte < low or byte > high:
            return False
        at += 1
        for _ in range(more - 1):
            byte = load_u8(buf, at)
            if byte < np.uint64(0x80) or byte > np.uint64(0xBF):
                return False
            at += 1
    return True


@step
def same_bytes(buf: Any, left: Any, right: Any, count: Any) -> Any:
    """Whether two ranges, both proved to lie in the array, hold the same bytes."""
    for index in range(count):
        if load_u8(buf, left + index) != load_u8(buf, right + index):
            return False
    return True


@hot_step
def same_words(buf: Any, a: Any, b: Any, size: Any) -> Any:
    """Whether `size` bytes, at least 8, are equal."""
    i = np.int64(0)
    while i + 8 < size:
        if load_u64(buf, a + i) != load_u64(buf, b + i):
            return False
        i += 8
    return load_u64(buf, a + size - 8) == load_u64(buf, b + size - 8)


@step
def same_text(buf: Any, a_at: Any, a_length: Any, b_at: Any, b_length: Any) -> Any:
    """Whether two texts are equal."""
    return a_length == b_length and same_bytes(buf, a_at, b_at, a_length)


@step
def text_less(buf: Any, a_at: Any, a_length: Any, b_at: Any, b_length: Any) -> Any:
    """Whether text a sorts bytewise before text b."""
    shorter = min(a_length, b_length)
    for i in range(shorter):
        a, b = load_u8(buf, a_at + i), load_u8(buf, b_at + i)
        if a != b:
            return a < b
    return a_length < b_length
