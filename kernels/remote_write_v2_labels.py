"""Labels of remote write 2.0 series, looked up in the symbol table: as label blobs on demand, and to name a series."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from kernels.jit import BYTES, I8, RI8, RU4, U1, U4, b1, i8, kernel, step
from kernels.protobuf_fields import read_length, read_tag, skip_value
from kernels.remote_write_labels import add_row_blob, put_label
from kernels.remote_write_wire import first_word, is_metric_name_label, read_reference
from kernels.wire import pointer
from proto.remote_write import V2_SERIES_LABEL_REF, V2_SERIES_LABEL_REFS

RI8x2 = types.Array(types.int64, 2, "C", readonly=True)


@step
def symbol_place(symbol_at: Any, symbol_length: Any, reference: Any) -> Any:
    """(at, length) of a symbol; an empty text for a reference that names none."""
    if reference < np.uint64(symbol_at.size):
        return symbol_at[np.int64(reference)], symbol_length[np.int64(reference)]
    return np.int64(0), np.int64(0)


@step
def collect_v2(
    buf: Any, symbol_at: Any, symbol_length: Any, at: Any, end: Any, labels: Any, most: Any, empty_too: Any
) -> Any:
    """As `collect_v1`, of references into the symbol table, packed or not."""
    count, metric = np.int64(0), np.int64(0)
    name_at, name_length, named = np.int64(0), np.int64(0), False
    while at < end and count < most:
        tag, q = read_tag(buf, at, end)
        if tag != V2_SERIES_LABEL_REFS and tag != V2_SERIES_LABEL_REF:
            at = skip_value(buf, q, end, tag)
            continue
        stop = end
        if tag == V2_SERIES_LABEL_REFS:
            q, stop = read_length(buf, q, end)
            at = stop
        while q < stop and count < most:
            reference, q = read_reference(buf, q, stop)
            if tag == V2_SERIES_LABEL_REF:
                at = q
                stop = q
            text_at, text_length = symbol_place(symbol_at, symbol_length, reference)
            if not named:
                name_at, name_length, named = text_at, text_length, True
                continue
            if is_metric_name_label(first_word(buf, name_at, name_length), name_length):
                metric = count
            count = put_label(labels, count, name_at, name_length, text_at, text_length, empty_too)
            named = False
    return count, metric


@kernel(BYTES, RI8, RI8, RI8x2, RU4, RI8x2, b1, I8, U4, U1, b1)
def define_v2(
    arena: Any,
    symbol_at: Any,
    symbol_length: Any,
    series: Any,
    row_series: Any,
    override: Any,
    overriding: Any,
    scratch: Any,
    offsets: Any,
    out: Any,
    writing: Any,
) -> Any:
    """Label blobs of accepted rows, as `define_v1` makes them."""
    buf = pointer(arena)
    labels, text = pointer(scratch), pointer(out)
    at = np.int64(0)
    offsets[0] = 0
    for row in range(row_series.size):
        s = np.int64(row_series[row])
        begin, end = series[s, 0], series[s, 1]
        count, metric = collect_v2(buf, symbol_at, symbol_length, begin, end, labels, scratch.size // 4, False)
        at = add_row_blob(buf, labels, count, override, overriding, row, metric, offsets, text, at, writing)
    return at


@kernel(BYTES, RI8, RI8, i8, i8, I8)
def describe_v2(body: Any, symbol_at: Any, symbol_length: Any, begin: Any, end: Any, places: Any) -> Any:
    """As `describe_v1`; a reference that names no symbol shows as an empty text."""
    most = places.size // 4
    count, _ = collect_v2(pointer(body), symbol_at, symbol_length, begin, end, pointer(places), most, True)
    return count
