"""Unaligned stores into a byte array, and a copy made of eight-byte words.

The counterpart of the loads in kernels.wire. A store checks nothing: the caller has sized the output beforehand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from kernels.jit import step
from kernels.wire import load_u64


def _store(bits: int, name: str) -> Callable[..., Any]:
    def store(typing_context: Any, out: Any, at: Any, value: Any) -> Any:
        del typing_context, at, value

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            array = context.make_array(signature.args[0])(context, builder, arguments[0])
            word = ir.IntType(bits)
            base = builder.bitcast(array.data, cgutils.voidptr_t)
            address = builder.bitcast(builder.gep(base, [arguments[1]]), word.as_pointer())
            stored = arguments[2] if bits == 64 else builder.trunc(arguments[2], word)
            builder.store(stored, address).align = 1
            return context.get_dummy_value()

        return types.none(out, types.int64, types.uint64), generate

    store.__name__ = name
    storer: Callable[..., Any] = intrinsic(store)
    return storer


store_u8 = _store(8, "store_u8")
"""(uint8[n], int64, uint64): the lowest byte. The caller has proved 0 <= at < n."""
store_u64 = _store(64, "store_u64")
"""(uint8[n], int64, uint64): eight bytes, little endian. The caller has proved 0 <= at <= n - 8."""


COPY_SLACK = 8
"""Bytes behind the copied ones that `copy_words` may write rubbish into."""


@step
def copy_words(source: Any, start: Any, count: Any, out: Any, at: Any) -> Any:
    """Copy `count` bytes from source[start:] to out[at:], eight at a time.

    The caller has proved 0 <= start <= source.size - count and 0 <= at <= out.size - count - COPY_SLACK. Reads never
    pass the end of the source; writes pass at + count by at most seven bytes.
    """
    done = np.int64(0)
    if start + count + 8 <= source.size:
        while done < count:
            store_u64(out, at + done, load_u64(source, start + done))
            done += 8
        return
    while done + 8 <= count:
        store_u64(out, at + done, load_u64(source, start + done))
        done += 8
    while done < count:
        out[at + done] = source[start + done]
        done += 1
