"""Label blobs (see telemetry.labels) written from labels that lie anywhere in one byte array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from kernels.jit import step
from kernels.text import text_less


@step
def varint_size(value: Any) -> Any:
    """Bytes of a non-negative int64 as a varint."""
    size = np.int64(1)
    while value > 0x7F:
        value >>= 7
        size += 1
    return size


@step
def put_varint(out: Any, at: Any, value: Any) -> Any:
    """Writes a non-negative int64; returns the position behind."""
    while value > 0x7F:
        out[at] = np.uint8((value & 0x7F) | 0x80)
        at += 1
        value >>= 7
    out[at] = np.uint8(value)
    return at + 1


@intrinsic  # type: ignore[untyped-decorator]
def _copy(typing_context: Any, source: Any, at: Any, length: Any, out: Any, to: Any) -> Any:
    """memcpy of `length` bytes from source + at to out + to; all pointers and int64."""
    del typing_context, at, length, to

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del signature
        origin, at, length, target, to = arguments
        cgutils.raw_memcpy(builder, builder.gep(target, [to]), builder.gep(origin, [at]), length, 1)
        return context.get_dummy_value()

    return types.none(source, types.int64, types.int64, out, types.int64), generate


@step
def copy_bytes(source: Any, at: Any, length: Any, out: Any, to: Any) -> Any:
    """Copies between pointers; returns the position behind in `out`."""
    _copy(source, at, length, out, to)
    return to + length


@step
def put_label(
    labels: Any, count: Any, name_at: Any, name_length: Any, value_at: Any, value_length: Any, empty_too: Any
) -> Any:
    """Adds a label to `labels`, a pointer to int64[4 * room] of (name at, length, value at, length).

    Returns the new count. An empty value is no label, and is kept only with `empty_too`. The caller has seen to it that
    there is room.
    """
    if value_length == 0 and not empty_too:
        return count
    labels[4 * count + 0] = name_at
    labels[4 * count + 1] = name_length
    labels[4 * count + 2] = value_at
    labels[4 * count + 3] = value_length
    return count + 1


@step
def sort_labels(buf: Any, labels: Any, count: Any) -> Any:
    """Puts `labels` in bytewise order of names, by insertion: they come sorted, or nearly so."""
    for i in range(1, count):
        a, b, c, d = labels[4 * i + 0], labels[4 * i + 1], labels[4 * i + 2], labels[4 * i + 3]
        j = i
        while j > 0 and text_less(buf, a, b, labels[4 * (j - 1) + 0], labels[4 * (j - 1) + 1]):
            labels[4 * j + 0] = labels[4 * (j - 1) + 0]
            labels[4 * j + 1] = labels[4 * (j - 1) + 1]
            labels[4 * j + 2] = labels[4 * (j - 1) + 2]
            labels[4 * j + 3] = labels[4 * (j - 1) + 3]
            j -= 1
        labels[4 * j + 0], labels[4 * j + 1], labels[4 * j + 2], labels[4 * j + 3] = a, b, c, d


@step
def write_blob(buf: Any, labels: Any, count: Any, out: Any, at: Any, writing: Any) -> Any:
    """Writes the blob of sorted labels at `at` if `writing`; returns the position behind it either way."""
    for i in range(count):
        name_length, value_length = labels[4 * i + 1], labels[4 * i + 3]
        body = 2 + varint_size(name_length) + name_length + varint_size(value_length) + value_length
        if writing:
            out[at] = np.uint8(0x0A)
            at = put_varint(out, at + 1, body)
            out[at] = np.uint8(0x0A)
            at = put_varint(out, at + 1, name_length)
            at = copy_bytes(buf, labels[4 * i + 0], name_length, out, at)
            out[at] = np.uint8(0x12)
            at = put_varint(out, at + 1, value_length)
            at = copy_bytes(buf, labels[4 * i + 2], value_length, out, at)
        else:
            at += 1 + varint_size(body) + body
    return at


@step
def override_labels(labels: Any, count: Any, override: Any, row: Any, name_at: Any) -> Any:
    """Gives the labels of a series to one row of its native histogram; returns the new count.

    override: int64[m, 6] of (metric name at, length, label at, length, value at, length); -1 leaves it. `name_at` is
    where the series' `__name__` value stands in `labels`.
    """
    if override[row, 0] >= 0:
        labels[4 * name_at + 2] = override[row, 0]
        labels[4 * name_at + 3] = override[row, 1]
    if override[row, 2] >= 0:
        count = put_label(labels, count, override[row, 2], override[row, 3], override[row, 4], override[row, 5], False)
    return count


@step
def add_row_blob(
    buf: Any,
    labels: Any,
    count: Any,
    override: Any,
    overriding: Any,
    row: Any,
    name_at: Any,
    offsets: Any,
    out: Any,
    at: Any,
    writing: Any,
) -> Any:
    """One row's blob from its series' labels in any order; returns the position behind it.

    It is written at `at` if `writing`; else where it would end goes to offsets, uint32[m + 1]. override, name_at: see
    `override_labels`.
    """
    if overriding:
        count = override_labels(labels, count, override, row, name_at)
    sort_labels(buf, labels, count)
    at = write_blob(buf, labels, count, out, at, writing)
    if not writing:
        offsets[row + 1] = np.uint32(at)
    return at
