"""Exemplars of remote write → columns: time, value, trace id and span id.

Trace and span are read from the labels `trace_id` and `span_id`, in hexadecimal; anything else in them leaves zeros.
Source: OpenMetrics, "Exemplars"; OpenTelemetry compatibility specification, "Exemplars" (names of the labels).
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numba import types

from kernels.jit import BYTES, F8, I8, RI8, U1, kernel, step
from kernels.protobuf_fields import read_length, read_tag, skip_value
from kernels.remote_write_v1_labels import read_label
from kernels.remote_write_wire import first_word, read_double
from kernels.varint import read_varint
from kernels.wire import bits_as_f64, load_u8, pointer
from proto.remote_write import EXEMPLAR_LABEL_REF, EXEMPLAR_LABELS, EXEMPLAR_TIMESTAMP, EXEMPLAR_VALUE

RI8x2 = types.Array(types.int64, 2, "C", readonly=True)
U1x2 = types.Array(types.uint8, 2, "C")
_TRACE_ID: Final = int.from_bytes(b"trace_id", "little")
_SPAN_ID: Final = int.from_bytes(b"span_id", "little")


@step
def _hex_digit(byte: Any) -> Any:
    """0 to 15, or 16 for anything else; int64."""
    digit = np.int64(byte)
    if 48 <= digit <= 57:
        return digit - 48
    digit |= 0x20
    return digit - 87 if 97 <= digit <= 102 else np.int64(16)


@step
def _read_hex(body: Any, at: Any, length: Any, ids: Any, row: Any) -> Any:
    """Writes a hexadecimal id, right-aligned, into ids[row]; zeros if it is none."""
    width = ids.shape[1]
    if length == 0 or length % 2 or length > 2 * width:
        return
    for i in range(length):
        if _hex_digit(load_u8(body, at + i)) == 16:
            return
    first = width - length // 2
    for i in range(length // 2):
        high, low = _hex_digit(load_u8(body, at + 2 * i)), _hex_digit(load_u8(body, at + 2 * i + 1))
        ids[row, first + i] = np.uint8(high << 4 | low)


@step
def _read_id(
    body: Any, name_at: Any, name_length: Any, at: Any, length: Any, trace_ids: Any, span_ids: Any, row: Any
) -> Any:
    word = first_word(body, name_at, name_length)
    if name_length == 8 and word == np.uint64(_TRACE_ID):
        _read_hex(body, at, length, trace_ids, row)
    elif name_length == 7 and word == np.uint64(_SPAN_ID):
        _read_hex(body, at, length, span_ids, row)


@kernel(BYTES, RI8x2, RI8, RI8, I8, F8, U1x2, U1x2, U1)
def fill_exemplars(
    body: Any,
    exemplars: Any,
    symbol_at: Any,
    symbol_length: Any,
    times: Any,
    values: Any,
    trace_ids: Any,
    span_ids: Any,
    refused: Any,
) -> Any:
    """Reads exemplars, int64[k, 4] of (series, begin, end, 0); returns 0 or a fault.

    symbol_at, symbol_length: where the texts that label references name stand; empty for 1.0, whose labels are
    messages. trace_ids: uint8[k, 16] and span_ids: uint8[k, 8], zeros at the call. refused: uint8[k], becomes 1
    where a reference names no symbol or their number is odd.
    """
    buf = pointer(body)
    by_reference = symbol_at.size > 0
    for row in range(exemplars.shape[0]):
        at, end = exemplars[row, 1], exemplars[row, 2]
        name = np.int64(-1)
        while at < end:
            tag, after = read_tag(buf, at, end)
            if after < 0:
                return after
            if tag == EXEMPLAR_VALUE:
                bits, after = read_double(buf, after, end)
                values[row] = bits_as_f64(bits)
            elif tag == EXEMPLAR_TIMESTAMP:
                raw, after = read_varint(buf, after, end)
                times[row] = np.int64(raw)
            elif tag == EXEMPLAR_LABELS and not by_reference:
                begin, after = read_length(buf, after, end)
                if begin < 0:
                    return begin
                name_at, name_length, value_at, value_length, _, fault_or_end = read_label(buf, begin, after)
                if fault_or_end < 0:
                    return fault_or_end
                _read_id(buf, name_at, name_length, value_at, value_length, trace_ids, span_ids, row)
            elif by_reference and (tag == EXEMPLAR_LABELS or tag == EXEMPLAR_LABEL_REF):
                stop = end
                if tag == EXEMPLAR_LABELS:
                    after, stop = read_length(buf, after, end)
                    if after < 0:
                        return after
                while after < stop:
                    raw, after = read_varint(buf, after, stop)
                    if after < 0:
                        return after
                    if raw >= np.uint64(symbol_at.size):
                        refused[row], raw = 1, np.uint64(0)
                    reference = np.int64(raw)
                    if name < 0:
                        name = reference
                    else:
                        _read_id(
                            buf, symbol_at[name], symbol_length[name], symbol_at[reference], symbol_length[reference],
                            trace_ids, span_ids, row,
                        )  # fmt: skip
                        name = np.int64(-1)
                    if tag == EXEMPLAR_LABEL_REF:
                        break
            else:
                after = skip_value(buf, after, end, tag)
            if after < 0:
                return after
            at = after
        if name >= 0:
            refused[row] = 1
    return np.int64(0)
