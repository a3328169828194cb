"""The symbol table of a remote write 2.0 request: every text hashed and judged once, however many series use it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types

from kernels.jit import BYTES, I8, RU8, U1, U8, kernel
from kernels.label_hash import hash_bytes
from kernels.protobuf_fields import read_length, read_tag, skip_value
from kernels.remote_write_wire import (
    FIRST_SYMBOL_NOT_EMPTY,
    first_word,
    is_metric_name_label,
    prefix_of,
    telling_label,
)
from kernels.text import HIGH_BITS, is_utf8
from kernels.wire import pointer
from proto.remote_write import (
    V2_REQUEST_SYMBOLS,
)

I8x2 = types.Array(types.int64, 2, "C")
RI8x2 = types.Array(types.int64, 2, "C", readonly=True)

SYMBOL_VALID = 8
"""Of a symbol's flags, beside the HAS_ bits it gives as a label name: the text is well-formed UTF-8."""
SYMBOL_METRIC_NAME = 16
"""The text is `__name__`."""


@kernel(BYTES, RU8, I8, I8, U8, U8, U8, U1, I8)
def fill_symbols(
    body: Any,
    secrets: Any,
    symbol_at: Any,
    symbol_length: Any,
    symbol_hi: Any,
    symbol_lo: Any,
    symbol_prefix: Any,
    symbol_flags: Any,
    wrong: Any,
) -> Any:
    """Fills the symbol table of a request that `count_v2` has walked; every array has one entry a symbol.

    symbol_prefix: the first bytes, comparable as numbers. wrong: int64[2], becomes (FIRST_SYMBOL_NOT_EMPTY, offset)
    where that is so.
    """
    buf = pointer(body)
    k = pointer(secrets)
    end = np.int64(body.size)
    at, i = np.int64(0), np.int64(0)
    while at < end:
        tag, after = read_tag(buf, at, end)
        if tag != V2_REQUEST_SYMBOLS:
            at = skip_value(buf, after, end, tag)
            continue
        begin, at = read_length(buf, after, end)
        length = at - begin
        if i == 0 and length > 0:
            wrong[0], wrong[1] = FIRST_SYMBOL_NOT_EMPTY, begin
        hi, lo, seen = hash_bytes(buf, begin, length, np.uint64(0), k)
        word = first_word(buf, begin, length)
        flags = telling_label(word, length)
        if not seen & np.uint64(HIGH_BITS) or is_utf8(buf, begin, begin + length):
            flags |= SYMBOL_VALID
        if is_metric_name_label(word, length):
            flags |= SYMBOL_METRIC_NAME
        symbol_at[i], symbol_length[i] = begin, length
        symbol_hi[i], symbol_lo[i], symbol_prefix[i], symbol_flags[i] = hi, lo, prefix_of(word), np.uint8(flags)
        i += 1
    return np.int64(0)
