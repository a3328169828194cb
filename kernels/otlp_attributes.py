"""OTLP attributes: checked, hashed, and summed without regard to their order.

Of a key that occurs twice the last one counts. Whether a key may have occurred is asked of a table of 1,024 stamps
indexed by a few bits of the key; only when two keys of one set meet in a slot are keys compared byte by byte.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from kernels.jit import hot_step, step
from kernels.label_hash import hash_bytes, load_tail
from kernels.otlp_reasons import ACCEPTED, ATTRIBUTE_DEPTH, LABEL_TOO_LONG, NOT_UTF8, TOO_MANY_ATTRIBUTES
from kernels.protobuf_fields import read_length, read_tag, skip_value
from kernels.text import HIGH_BITS, is_utf8, same_bytes
from kernels.wire import load_u8, load_u64
from proto.otlp import ANY_ARRAY, ANY_KVLIST, ANY_STRING, KEY, KEY_VALUE, LIST_VALUES

STAMP_BITS: Final = 10
"""The stamp table has 2 ** STAMP_BITS entries, uint32."""
STACK: Final = 32
"""Nesting that `walk_key_value` follows, in messages; a map in a map takes three."""

_IN_KEY_VALUE: Final = 0
_IN_ANY: Final = 1
_IN_ARRAY: Final = 2
_IN_KVLIST: Final = 3


@step
def walk_key_value(buf: Any, at: Any, end: Any, stack: Any) -> Any:
    """(next, key position, key length, reason) of a KeyValue of any shape; next is `end` or a fault.

    stack: int64[2 * STACK], scratch. Checks the structure of nested values and that every string is UTF-8.
    """
    key_at, key_length, reason = at, np.int64(0), np.int64(ACCEPTED)
    level = 0
    stack[0] = end
    stack[STACK] = _IN_KEY_VALUE
    while True:
        here = stack[level]
        if at == here:
            if level == 0:
                return end, key_at, key_length, reason
            level -= 1
            continue
        kind = stack[STACK + level]
        tag, at = read_tag(buf, at, here)
        if at < 0:
            return at, key_at, key_length, reason
        child = np.int64(-1)
        text = False
        if kind == _IN_KEY_VALUE:
            if tag == KEY:
                text = True
            elif tag == KEY_VALUE:
                child = np.int64(_IN_ANY)
        elif kind == _IN_ANY:
            if tag == ANY_STRING:
                text = True
            elif tag == ANY_ARRAY:
                child = np.int64(_IN_ARRAY)
            elif tag == ANY_KVLIST:
                child = np.int64(_IN_KVLIST)
        elif tag == LIST_VALUES:
            child = np.int64(_IN_ANY) if kind == _IN_ARRAY else np.int64(_IN_KEY_VALUE)
        if not text and child < 0:
            at = skip_value(buf, at, here, tag)
            if at < 0:
                return at, key_at, key_length, reason
            continue
        begin, behind = read_length(buf, at, here)
        if begin < 0:
            return begin, key_at, key_length, reason
        if text:
            if not is_utf8(buf, begin, behind):
                reason = np.int64(NOT_UTF8)
            if level == 0:
                key_at, key_length = begin, behind - begin
            at = behind
        elif level + 1 == STACK:
            reason = np.int64(ATTRIBUTE_DEPTH)
            at = behind
        else:
            level += 1
            stack[level] = behind
            stack[STACK + level] = child
            at = begin


@hot_step
def key_slot(buf: Any, key_at: Any, key_length: Any) -> Any:
    """Stamp slot of a key: equal keys have equal slots; made of its length and its first and last bytes."""
    if key_length >= 8:
        word = load_u64(buf, key_at) + load_u64(buf, key_at + key_length - 8) * np.uint64(0x9E3779B97F4A7C15)
    else:
        word = load_tail(buf, key_at, key_length)
    word = (word + np.uint64(key_length)) * np.uint64(0xD6E8FEB86659FD93)
    return np.int64(word >> np.uint64(64 - STAMP_BITS))


@hot_step
def read_attribute(buf: Any, at: Any, end: Any, k: Any, most: Any, stack: Any) -> Any:
    """(next, high, low, slot, reason) of the attribute whose length stands at `at`.

    k: the secrets; most: bytes a key and its value may have together. The hash covers the encoded KeyValue.
    """
    zero = np.uint64(0)
    begin, behind = read_length(buf, at, end)
    if begin < 0:
        return begin, zero, zero, np.int64(0), np.int64(ACCEPTED)
    length = behind - begin
    if length > most:
        # Its inside is walked all the same: malformed bytes must not hide behind a limit.
        fault, _, _, _ = walk_key_value(buf, begin, behind, stack)
        return fault, zero, zero, np.int64(0), np.int64(LABEL_TOO_LONG)
    # The usual form: a key and a string value, each shorter than 128 bytes, in this order, and nothing else.
    if length >= 6:
        if load_u8(buf, begin) == np.uint64(KEY):
            key_length = np.int64(load_u8(buf, begin + 1))
            value = begin + 2 + key_length
            if key_length < 0x80 and value + 4 <= behind and load_u8(buf, value) == np.uint64(KEY_VALUE):
                any_length = np.int64(load_u8(buf, value + 1))
                text_length = np.int64(load_u8(buf, value + 3))
                if (
                    value + 2 + any_length == behind
                    and load_u8(buf, value + 2) == np.uint64(ANY_STRING)
                    and value + 4 + text_length == behind
                    and any_length < 0x80
                ):
                    high, low, seen = hash_bytes(buf, begin, length, zero, k)
                    reason = np.int64(ACCEPTED)
                    if seen & np.uint64(HIGH_BITS) != zero:
                        if not is_utf8(buf, begin + 2, value) or not is_utf8(buf, value + 4, behind):
                            reason = np.int64(NOT_UTF8)
                    return behind, high, low, key_slot(buf, begin + 2, key_length), reason
    after, key_at, key_length, reason = walk_key_value(buf, begin, behind, stack)
    if after < 0:
        return after, zero, zero, np.int64(0), reason
    high, low, _ = hash_bytes(buf, begin, length, zero, k)
    return behind, high, low, key_slot(buf, key_at, key_length), reason


@step
def sum_last_of_each(buf: Any, at: Any, end: Any, wanted: Any, k: Any, stack: Any) -> Any:
    """(high, low, overwritten): sum over the attributes of at … end - 1 of which no later one has the same key.

    The slow way, for sets in which two keys met in a stamp slot; quadratic in at most the permitted number of
    attributes. The caller has walked the range before, so that there are no faults.
    """
    high, low, overwritten = np.uint64(0), np.uint64(0), np.int64(0)
    while at < end:
        tag, at = read_tag(buf, at, end)
        if tag != wanted:
            at = skip_value(buf, at, end, tag)
            continue
        begin, behind = read_length(buf, at, end)
        _, key_at, key_length, _ = walk_key_value(buf, begin, behind, stack)
        later, repeated = behind, False
        while later < end and not repeated:
            tag, later = read_tag(buf, later, end)
            if tag != wanted:
                later = skip_value(buf, later, end, tag)
                continue
            other, later = read_length(buf, later, end)
            _, other_key, other_length, _ = walk_key_value(buf, other, later, stack)
            repeated = other_length == key_length and same_bytes(buf, key_at, other_key, key_length)
        if repeated:
            overwritten += 1
        else:
            h, g, _ = hash_bytes(buf, begin, behind - begin, np.uint64(0), k)
            high += h
            low += g
        at = behind
    return high, low, overwritten


@step
def sum_attributes(
    buf: Any, at: Any, end: Any, wanted: Any, k: Any, limits: Any, stamps: Any, epoch: Any, stack: Any
) -> Any:
    """(next, high, low, count, overwritten, reason) of the attributes (fields with tag `wanted`) of one message.

    limits: int64[], [2] attributes in a set, [3] bytes in one. stamps: uint32[2 ** STAMP_BITS]; epoch: a number no
    other set has used on these stamps. Other fields are stepped over.
    """
    began = at
    high, low = np.uint64(0), np.uint64(0)
    count, overwritten, reason = np.int64(0), np.int64(0), np.int64(ACCEPTED)
    met = False
    while at < end:
        tag, at = read_tag(buf, at, end)
        if at < 0:
            return at, high, low, count, overwritten, reason
        if tag != wanted:
            at = skip_value(buf, at, end, tag)
            if at < 0:
                return at, high, low, count, overwritten, reason
            continue
        at, h, g, slot, why = read_attribute(buf, at, end, k, limits[3], stack)
        if at < 0:
            return at, high, low, count, overwritten, reason
        if why != ACCEPTED:
            reason = why
        met = met or stamps[slot] == epoch
        stamps[slot] = epoch
        high += h
        low += g
        count += 1
    if count > limits[2]:
        reason = np.int64(TOO_MANY_ATTRIBUTES)
    elif met and reason == ACCEPTED:
        high, low, overwritten = sum_last_of_each(buf, began, end, wanted, k, stack)
    return at, high, low, count, overwritten, reason
