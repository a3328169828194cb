"""Labels of remote write 2.0 series, looked up in the symbol table: as label blobs on demand, and to name a series."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from kernels.jit import BYTES, I8, RI8, RU4, U1, U4, b1, i8, kernel
from kernels.protobuf_fields import read_length, read_tag, skip_value
from kernels.remote_write_labels import override_labels, put_label, sort_labels, write_blob
from kernels.remote_write_wire import (
    first_word,
    is_metric_name_label,
    read_reference,
)
from kernels.wire import pointer
from proto.remote_write import (
    V2_SERIES_LABEL_REF,
    V2_SERIES_LABEL_REFS,
)

I8x2 = types.Array(types.int64, 2, "C")
RI8x2 = types.Array(types.int64, 2, "C", readonly=True)


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
        p, end = series[s, 0], series[s, 1]
        count, metric, name = np.int64(0), np.int64(0), np.int64(-1)
        while p < end:
            # The fill pass has walked these bytes to their end, so no position is a fault here.
            tag, q = read_tag(buf, p, end)
            if tag != V2_SERIES_LABEL_REFS and tag != V2_SERIES_LABEL_REF:
                p = skip_value(buf, q, end, tag)
                continue
            stop = end
            if tag == V2_SERIES_LABEL_REFS:
                q, stop = read_length(buf, q, end)
                p = stop
            while q < stop:
                raw, q = read_reference(buf, q, stop)
                if tag == V2_SERIES_LABEL_REF:
                    p = q
                    stop = q
                reference = np.int64(raw)
                if name < 0:
                    name = reference
                    continue
                if is_metric_name_label(first_word(buf, symbol_at[name], symbol_length[name]), symbol_length[name]):
                    metric = count
                count = put_label(
                    labels, count, symbol_at[name], symbol_length[name], symbol_at[reference], symbol_length[reference]
                )
                name = np.int64(-1)
        if overriding:
            count = override_labels(labels, count, override, row, metric)
        sort_labels(buf, labels, count)
        at = write_blob(buf, labels, count, text, at, writing)
        if not writing:
            offsets[row + 1] = np.uint32(at)
    return at


@kernel(BYTES, RI8, RI8, i8, i8, I8x2)
def describe_v2(body: Any, symbol_at: Any, symbol_length: Any, begin: Any, end: Any, places: Any) -> Any:
    """The first labels of a series, good or bad, as (name at, length, value at, length) into places, int64[m, 4];
    returns how many. The fill pass has walked these bytes; a reference that names no symbol shows as an empty text."""
    buf = pointer(body)
    found, name, p = np.int64(0), np.int64(-1), begin
    while p < end and found < places.shape[0]:
        tag, q = read_tag(buf, p, end)
        if tag != V2_SERIES_LABEL_REFS and tag != V2_SERIES_LABEL_REF:
            p = skip_value(buf, q, end, tag)
            continue
        stop = end
        if tag == V2_SERIES_LABEL_REFS:
            q, stop = read_length(buf, q, end)
            p = stop
        while q < stop and found < places.shape[0]:
            raw, q = read_reference(buf, q, stop)
            if tag == V2_SERIES_LABEL_REF:
                p = q
                stop = q
            reference = np.int64(min(raw, np.uint64(symbol_at.size)))
            if name < 0:
                name = reference
                continue
            places[found, :] = 0
            if name < symbol_at.size:
                places[found, 0], places[found, 1] = symbol_at[name], symbol_length[name]
            if reference < symbol_at.size:
                places[found, 2], places[found, 3] = symbol_at[reference], symbol_length[reference]
            name = np.int64(-1)
            found += 1
    return found
