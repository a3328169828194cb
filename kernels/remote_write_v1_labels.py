"""Labels of remote write 1.0 series, read from their messages: one by one, as label blobs, and to name a series."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from kernels.jit import BYTES, I8, RU4, U1, U4, b1, i8, kernel, step
from kernels.protobuf_fields import read_length, read_tag, skip_value
from kernels.remote_write_labels import add_row_blob, copy_bytes, put_label, varint_size
from kernels.remote_write_wire import first_word, is_metric_name_label
from kernels.wire import load_u8, pointer
from proto.remote_write import LABEL_NAME, LABEL_VALUE, V1_SERIES_LABELS

RI8x2 = types.Array(types.int64, 2, "C", readonly=True)


@step
def read_label(body: Any, at: Any, end: Any) -> Any:
    """(name at, length, value at, length, exact, next) of the Label message at [at, end); next may be a fault.

    `exact`: the bytes are the one encoding a label blob uses.
    """
    if end - at >= 4 and load_u8(body, at) == np.uint64(LABEL_NAME):
        length = np.int64(load_u8(body, at + 1))
        value_at = at + 2 + length
        if length < 0x80 and value_at + 2 <= end and load_u8(body, value_at) == np.uint64(LABEL_VALUE):
            value_length = np.int64(load_u8(body, value_at + 1))
            if value_length < 0x80 and value_at + 2 + value_length == end:
                return at + 2, length, value_at + 2, value_length, True, end
    name_at, name_length, value_at, value_length = at, np.int64(0), at, np.int64(0)
    exact, fields = True, 0
    while at < end:
        tag, after = read_tag(body, at, end)
        if after < 0:
            return name_at, name_length, value_at, value_length, False, after
        if tag == LABEL_NAME or tag == LABEL_VALUE:
            begin, stop = read_length(body, after, end)
            if begin < 0:
                return name_at, name_length, value_at, value_length, False, begin
            exact = exact and begin - at == 1 + varint_size(stop - begin)
            if tag == LABEL_NAME:
                exact = exact and fields == 0
                name_at, name_length = begin, stop - begin
            else:
                exact = exact and fields == 1
                value_at, value_length = begin, stop - begin
            fields += 1
            at = stop
        else:
            exact = False
            at = skip_value(body, after, end, tag)
            if at < 0:
                return name_at, name_length, value_at, value_length, False, at
    return name_at, name_length, value_at, value_length, exact and fields == 2, end


@step
def collect_v1(buf: Any, at: Any, end: Any, labels: Any, most: Any, empty_too: Any) -> Any:
    """The first `most` labels of the series' message at [at, end) into `labels` (see put_label): how many, and which
    of them is the metric's name. The fill pass has walked these bytes to their end, so no position is a fault here."""
    count, metric = np.int64(0), np.int64(0)
    while at < end and count < most:
        tag, q = read_tag(buf, at, end)
        if tag != V1_SERIES_LABELS:
            at = skip_value(buf, q, end, tag)
            continue
        q, at = read_length(buf, q, end)
        name_at, name_length, value_at, value_length, _, _ = read_label(buf, q, at)
        if is_metric_name_label(first_word(buf, name_at, name_length), name_length):
            metric = count
        count = put_label(labels, count, name_at, name_length, value_at, value_length, empty_too)
    return count, metric


@kernel(BYTES, RI8x2, RU4, RI8x2, b1, I8, U4, U1, b1)
def define_v1(
    arena: Any,
    series: Any,
    row_series: Any,
    override: Any,
    overriding: Any,
    scratch: Any,
    offsets: Any,
    out: Any,
    writing: Any,
) -> Any:
    """Label blobs of accepted rows: first without writing, which fills offsets, uint32[m + 1]; then into `out`.

    arena: the request's bytes, and behind them the texts `override` (see override_labels) points to. row_series:
    uint32[m], the series of each row. scratch: int64[4 * (labels a series + 1)].
    """
    buf = pointer(arena)
    labels, text = pointer(scratch), pointer(out)
    at = np.int64(0)
    offsets[0] = 0
    for row in range(row_series.size):
        s = np.int64(row_series[row])
        begin, end = series[s, 0], series[s, 1]
        exact = series[s, 2] == 1
        if exact and not (overriding and override[row, 0] >= 0):
            if writing:
                at = copy_bytes(buf, begin, end - begin, text, at)
            else:
                at += end - begin
                offsets[row + 1] = np.uint32(at)
            continue
        count, metric = collect_v1(buf, begin, end, labels, scratch.size // 4, False)
        at = add_row_blob(buf, labels, count, override, overriding, row, metric, offsets, text, at, writing)
    return at


@kernel(BYTES, i8, i8, I8)
def describe_v1(body: Any, begin: Any, end: Any, places: Any) -> Any:
    """The first labels of a series (of its blob or its message), good or bad, as (name at, length, value at, length)
    into places, int64[4 * m]; returns how many."""
    count, _ = collect_v1(pointer(body), begin, end, pointer(places), places.size // 4, True)
    return count
