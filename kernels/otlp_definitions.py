"""Label blobs of OTLP rows that are seen for the first time.

What a resource, a scope and a metric give is worked out above this floor, once each, and handed over as texts; here
the attributes of each point are read and merged into them. Three kernels: where metrics and scopes keep what names
them (`describe_metrics`, `locate_fields`), what tells the rows of a point from each other (`part_details`), and the
blobs (`define_rows`). The request has been walked by `otlp_points.fill_rows`; positions are checked all the same.

A row is left to the caller (LEFT) where its labels need what kernels do badly: attributes that are numbers with a
fraction, bytes, lists or maps, two attributes that become one label, and more text than the scratch holds.
Source of the naming rules: gateway.decode.metric_names.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import types

from kernels.jit import BYTES, I8, RU1, RU4, U1, U4, b1, i8, kernel, step
from kernels.otlp_parts import message_at
from kernels.otlp_rows import (
    ROLE_COUNT,
    ROLE_QUANTILE,
    ROLE_SUM,
    ROLE_VALUE,
)
from kernels.protobuf_fields import read_length, read_tag, skip_value
from kernels.remote_write_labels import copy_bytes, put_varint, varint_size
from kernels.text import same_text, text_less
from kernels.varint import read_varint
from kernels.wire import load_u8, pointer
from proto.otlp import (
    ANY_ARRAY,
    ANY_BOOL,
    ANY_BYTES,
    ANY_DOUBLE,
    ANY_INT,
    ANY_KVLIST,
    ANY_STRING,
    KEY,
    KEY_VALUE,
)

I8x2 = types.Array(types.int64, 2, "C")
RI8x2 = types.Array(types.int64, 2, "C", readonly=True)
I8x3 = types.Array(types.int64, 3, "C")

MOST_LABELS: Final = 512
"""Labels of one row that the kernel merges; rows with more are LEFT."""
SCRATCH: Final = 1 << 16
"""Bytes for label names and numbers of one point, beside the point itself."""

DONE: Final = 0
LEFT: Final = 1

# Columns of the table of metrics, int64[m, M_COLUMNS].
M_SHARED: Final = 0
"""First of the metric's shared labels, and after it how many."""
M_ATTRIBUTES: Final = 2
"""Tag of the attributes in the metric's points."""
M_NAMES: Final = 3
"""(position, length) of the metric's name: plain, of counts, of sums, of buckets."""
M_COLUMNS: Final = 11


@step
def insert_label(
    buf: Any, labels: Any, count: Any, name_at: Any, name_length: Any, value_at: Any, value_length: Any
) -> Any:
    """(count, place, met): puts a label into `labels`, int64[4 * room] in order of names; behind larger ones it walks
    from the end. Where the name is there already nothing is changed, and `met` says so."""
    place = count
    while place > 0 and text_less(buf, name_at, name_length, labels[4 * place - 4], labels[4 * place - 3]):
        place -= 1
    if place > 0 and same_text(buf, name_at, name_length, labels[4 * place - 4], labels[4 * place - 3]):
        return count, place - 1, True
    for i in range(4 * count - 1, 4 * place - 1, -1):
        labels[i + 4] = labels[i]
    labels[4 * place + 0] = name_at
    labels[4 * place + 1] = name_length
    labels[4 * place + 2] = value_at
    labels[4 * place + 3] = value_length
    return count + 1, place, False


@step
def replace_label(labels: Any, place: Any, name_at: Any, name_length: Any, value_at: Any, value_length: Any) -> None:
    """Puts another label of the same name in its place."""
    labels[4 * place + 0] = name_at
    labels[4 * place + 1] = name_length
    labels[4 * place + 2] = value_at
    labels[4 * place + 3] = value_length


@step
def put_decimal(arena: Any, at: Any, value: Any) -> Any:
    """Writes an int64 in decimal; returns the position behind. At most 20 bytes."""
    rest = np.uint64(value)
    if value < 0:
        arena[at] = np.uint8(0x2D)
        at += 1
        rest = np.uint64(0) - rest
    digits = np.int64(1)
    power = np.uint64(10)
    while digits < 20 and rest >= power:
        digits += 1
        if digits < 20:
            power *= np.uint64(10)
    for i in range(digits - 1, -1, -1):
        arena[at + i] = np.uint8(np.uint64(0x30) + rest % np.uint64(10))
        rest //= np.uint64(10)
    return at + digits


@step
def is_label_character(byte: Any) -> Any:
    """Whether a byte may stand in a Prometheus label name, at any place but the first."""
    letter = byte | np.uint64(0x20)
    return (
        np.uint64(0x61) <= letter <= np.uint64(0x7A) or np.uint64(0x30) <= byte <= np.uint64(0x39)
    ) or byte == np.uint64(0x5F)


@step
def put_label_name(arena: Any, key_at: Any, key_length: Any, free: Any) -> Any:
    """(position, length, free): the Prometheus label name of a key: the key itself, or written at `free`.

    Each character that is not allowed becomes one `_`; a name that begins with a digit gets `key_` before it, one that
    begins with a single `_` gets `key`; a name of underscores alone that the key was not is empty. Room: key + 4.
    """
    if key_length == 0:
        return key_at, key_length, free
    fits = True
    for i in range(key_length):
        if not is_label_character(load_u8(arena, key_at + i)):
            fits = False
            break
    begin = free + 4
    at = begin
    for i in range(key_length):
        byte = load_u8(arena, key_at + i)
        if is_label_character(byte):
            arena[at] = np.uint8(byte)
            at += 1
        elif byte < np.uint64(0x80) or byte >= np.uint64(0xC0):  # a character's first byte
            arena[at] = np.uint8(0x5F)
            at += 1
    if at == begin:
        return free, np.int64(0), free
    only_underscores = True
    for i in range(begin, at):
        if arena[i] != 0x5F:
            only_underscores = False
            break
    first = arena[begin]
    if 0x30 <= first <= 0x39:
        begin -= 4
        arena[begin], arena[begin + 1], arena[begin + 2], arena[begin + 3] = (
            np.uint8(0x6B),
            np.uint8(0x65),
            np.uint8(0x79),
            np.uint8(0x5F),
        )
    elif first == 0x5F and (at - begin < 2 or arena[begin + 1] != 0x5F):
        begin -= 3
        arena[begin], arena[begin + 1], arena[begin + 2] = np.uint8(0x6B), np.uint8(0x65), np.uint8(0x79)
    elif only_underscores and not fits:
        return free, np.int64(0), free
    elif fits:
        return key_at, key_length, free
    return begin, at - begin, at


@step
def read_label(arena: Any, at: Any, end: Any, prometheus: Any, free: Any, words_at: Any) -> Any:
    """(status, name at, length, value at, length, free) of the KeyValue at [at, end) of the arena.

    words_at: where `truefalse` stands. Names that are not the key and numbers are written at `free`.
    """
    zero = np.int64(0)
    key_at, key_length, value_at, value_length = at, zero, at, zero
    kind, number = zero, np.uint64(0)
    while at < end:
        tag, at = read_tag(arena, at, end)
        if at < 0:
            return LEFT, zero, zero, zero, zero, free
        if tag == KEY:
            key_at, at = read_length(arena, at, end)
            if at < 0:
                return LEFT, zero, zero, zero, zero, free
            key_length = at - key_at
        elif tag == KEY_VALUE:
            kind = zero
            at, behind = read_length(arena, at, end)
            while 0 <= at < behind:
                tag, at = read_tag(arena, at, behind)
                if at < 0:
                    break
                if tag == ANY_STRING:
                    value_at, at = read_length(arena, at, behind)
                    value_length = at - value_at
                    kind = tag
                elif tag == ANY_INT or tag == ANY_BOOL:
                    number, at = read_varint(arena, at, behind)
                    kind = tag
                else:
                    if tag == ANY_DOUBLE or tag == ANY_BYTES or tag == ANY_ARRAY or tag == ANY_KVLIST:
                        return LEFT, zero, zero, zero, zero, free
                    at = skip_value(arena, at, behind, tag)
        else:
            at = skip_value(arena, at, end, tag)
        if at < 0:
            return LEFT, zero, zero, zero, zero, free
    if kind == zero:
        value_length = zero
    elif kind == ANY_INT:
        value_at = free
        free = put_decimal(arena, free, np.int64(number))
        value_length = free - value_at
    elif kind == ANY_BOOL:
        value_at, value_length = (words_at, np.int64(4)) if number != np.uint64(0) else (words_at + 4, np.int64(5))
    if prometheus:
        key_at, key_length, free = put_label_name(arena, key_at, key_length, free)
    return DONE, key_at, key_length, value_at, value_length, free


@step
def blob_room(labels: Any, count: Any) -> Any:
    """Bytes that the blob of these labels takes at most."""
    room = np.int64(0)
    for i in range(count):
        room += labels[4 * i + 1] + labels[4 * i + 3] + 18
    return room


@step
def put_blob(arena: Any, labels: Any, count: Any, out: Any, at: Any) -> Any:
    """Writes the blob of sorted labels, leaving out empty values; returns the position behind."""
    for i in range(count):
        name_length, value_length = labels[4 * i + 1], labels[4 * i + 3]
        if value_length == 0:
            continue
        out[at] = np.uint8(0x0A)
        body = 2 + varint_size(name_length) + name_length + varint_size(value_length) + value_length
        at = put_varint(out, at + 1, body)
        out[at] = np.uint8(0x0A)
        at = put_varint(out, at + 1, name_length)
        at = copy_bytes(arena, labels[4 * i + 0], name_length, out, at)
        out[at] = np.uint8(0x12)
        at = put_varint(out, at + 1, value_length)
        at = copy_bytes(arena, labels[4 * i + 2], value_length, out, at)
    return at


@step
def name_column(role: Any) -> Any:
    """Column of the table of metrics in which the name of a row with this role stands."""
    if role == ROLE_VALUE or role == ROLE_QUANTILE:
        return np.int64(M_NAMES)
    if role == ROLE_COUNT:
        return np.int64(M_NAMES + 2)
    if role == ROLE_SUM:
        return np.int64(M_NAMES + 4)
    return np.int64(M_NAMES + 6)


@step
def point_labels(
    arena: Any, at: Any, end: Any, wanted: Any, prometheus: Any, free: Any, room: Any, words_at: Any, own_begin: Any,
    labels: Any, count: Any,
) -> Any:  # fmt: skip
    """(status, count): merges the attributes of the point at [at, end) into `labels`, which hold the shared ones.

    Shared names lie before `own_begin` in the arena, those of the point at or behind it. On a clash the shared label
    stays in Prometheus naming, the point's own, empty ones too, in the other. room: end of the scratch.
    """
    while at < end:
        tag, at = read_tag(arena, at, end)
        if at < 0:
            return LEFT, count
        if tag != wanted:
            at = skip_value(arena, at, end, tag)
            if at < 0:
                return LEFT, count
            continue
        at, behind = read_length(arena, at, end)
        if at < 0 or free + (behind - at) + 32 > room or count + 3 > MOST_LABELS:
            return LEFT, count
        status, name_at, name_length, value_at, value_length, free = read_label(
            arena, at, behind, prometheus, free, words_at
        )
        if status != DONE:
            return status, count
        at = behind
        if name_length == 0:
            continue
        count, place, met = insert_label(arena, labels, count, name_at, name_length, value_at, value_length)
        if met:
            if labels[4 * place] >= own_begin:
                return LEFT, count
            if not prometheus:
                replace_label(labels, place, name_at, name_length, value_at, value_length)
    return DONE, count


@kernel(BYTES, U1, i8, i8, RU4, I8, RU1, RI8x2, RI8x2, RI8x2, b1, I8, i8, U4, U1, U1)
def define_rows(
    body: Any, arena: Any, fixed_at: Any, scratch_at: Any, points: Any, metric_of: Any, roles: Any, metrics: Any,
    shared: Any, extras: Any, prometheus: Any, scratch: Any, first: Any, offsets: Any, out: Any, status: Any,
) -> Any:  # fmt: skip
    """Write the label blobs of rows first … n - 1 one behind the other; returns the first row that found no room in
    `out`, n if there is none.

    body: the request. arena: texts, first those of shared labels, from fixed_at on `truefalse`, `__name__`, names of
    metrics and of extra labels, from scratch_at on room for a point and SCRATCH bytes. points: uint32[n], positions of
    lengths; metric_of: int64[n], a row of `metrics`; roles: uint8[n]. metrics: int64[m, M_COLUMNS]; shared: int64[s, 4]
    of (name at, length, value at, length), those of a metric in order of names. extras: int64[n, 4] alike, a length of
    0 for none. scratch: int64[8 * MOST_LABELS]. offsets: uint32[n + 1], offsets[first] is given; status: uint8[n],
    DONE, or LEFT with an empty blob.
    """
    n = points.size
    buf, source = pointer(arena), pointer(body)
    base, labels = pointer(scratch), pointer(scratch[4 * MOST_LABELS :])
    size, body_size = np.int64(arena.size), np.int64(body.size)
    at = np.int64(offsets[first])
    last_point, last_metric, count, state = np.int64(-1), np.int64(-1), np.int64(0), np.int64(LEFT)
    for row in range(first, n):
        point, metric = np.int64(points[row]), metric_of[row]
        if point != last_point or metric != last_metric:
            last_point, last_metric = point, metric
            state = np.int64(LEFT)
            begin, behind = message_at(source, point, body_size)
            length = behind - begin
            count = metrics[metric, M_SHARED + 1]
            if count + 3 <= MOST_LABELS and scratch_at + length <= size:
                for i in range(count):
                    label = metrics[metric, M_SHARED] + i
                    for j in range(4):
                        base[4 * i + j] = shared[label, j]
                copy_bytes(source, begin, length, buf, scratch_at)
                state, count = point_labels(
                    buf, scratch_at, scratch_at + length, metrics[metric, M_ATTRIBUTES], prometheus,
                    scratch_at + length, size, fixed_at, fixed_at, base, count,
                )  # fmt: skip
        status[row] = np.uint8(state)
        if state == DONE:
            for i in range(4 * count):
                labels[i] = base[i]
            held = count
            column = name_column(roles[row])
            name_at, name_length = metrics[metric, column], metrics[metric, column + 1]
            held, place, met = insert_label(buf, labels, held, fixed_at + 9, np.int64(8), name_at, name_length)
            if met:
                replace_label(labels, place, fixed_at + 9, np.int64(8), name_at, name_length)
            if extras[row, 1] > 0:
                held, place, met = insert_label(
                    buf, labels, held, extras[row, 0], extras[row, 1], extras[row, 2], extras[row, 3]
                )
                if met:
                    replace_label(labels, place, extras[row, 0], extras[row, 1], extras[row, 2], extras[row, 3])
            if at + blob_room(labels, held) > out.size:
                return np.int64(row)
            at = put_blob(buf, labels, held, pointer(out), at)
        offsets[row + 1] = np.uint32(at)
    return np.int64(n)
