"""Unaligned stores into a byte array, and a copy made of blocks.

The counterpart of the loads in kernels.wire. A store checks nothing: the caller has sized the output beforehand.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def _store(bits: int, name: str) -> Callable[..., Any]:
    def store(typing_context: Any, out: Any, at: Any, value: Any) -> Any:
        del typing_context, at, value

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            data = arguments[0]
            if isinstance(signature.args[0], types.Array):
                data = context.make_array(signature.args[0])(context, builder, data).data
            word = ir.IntType(bits)
            base = builder.bitcast(data, cgutils.voidptr_t)
            address = builder.bitcast(builder.gep(base, [arguments[1]]), word.as_pointer())
            stored = arguments[2] if bits == 64 else builder.trunc(arguments[2], word)
            builder.store(stored, address).align = 1
            return context.get_dummy_value()

        return types.none(out, types.int64, types.uint64), generate

    store.__name__ = name
    storer: Callable[..., Any] = intrinsic(store)
    return storer


store_u8 = _store(8, "store_u8")
"""(uint8[n] or pointer, int64, uint64): the lowest byte. The caller has proved 0 <= at < n."""
store_u32 = _store(32, "store_u32")
"""(uint8[n] or pointer, int64, uint64): the lower four bytes, little endian. The caller has proved 0 <= at <= n - 4."""
store_u64 = _store(64, "store_u64")
"""(uint8[n] or pointer, int64, uint64): eight bytes, little endian. The caller has proved 0 <= at <= n - 8."""


BLOCK = 32
"""Bytes of a vector register, which `copy_block` copies at a time."""


@intrinsic  # type: ignore[untyped-decorator]  # numba ships no types
def copy_block(typing_context: Any, source: Any, start: Any, out: Any, at: Any) -> Any:
    """(pointer, int64, pointer, int64): copy BLOCK bytes. The caller has proved that both places have them."""
    del typing_context, start, at

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del signature
        block = ir.VectorType(ir.IntType(8), BLOCK)
        value = builder.load(builder.bitcast(builder.gep(arguments[0], [arguments[1]]), block.as_pointer()))
        value.align = 1
        builder.store(value, builder.bitcast(builder.gep(arguments[2], [arguments[3]]), block.as_pointer())).align = 1
        return context.get_dummy_value()

    return types.none(source, types.int64, out, types.int64), generate
