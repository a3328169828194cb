"""Unaligned loads from bytes, pointers to arrays, and bit-level views of numbers.

The loads compile to one instruction and check nothing: the caller has compared the position with the end of a message
that itself lies within the array. Everything that reads a length first proves it against that end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic


def _load(bits: int, result: Any, name: str) -> Callable[..., Any]:
    def load(typing_context: Any, buf: Any, at: Any) -> Any:
        del typing_context

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            data = arguments[0]
            if isinstance(signature.args[0], types.Array):
                data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
            word = ir.IntType(bits)
            base = builder.bitcast(data, cgutils.voidptr_t)
            address = builder.bitcast(builder.gep(base, [arguments[1]]), word.as_pointer())
            value = builder.load(address)
            value.align = 1
            return value if bits == 64 else builder.zext(value, ir.IntType(64))

        return result(buf, types.int64), generate

    load.__name__ = name
    loader: Callable[..., Any] = intrinsic(load)
    return loader


@intrinsic  # type: ignore[untyped-decorator]
def pointer(typing_context: Any, array: Any) -> Any:
    """Array → pointer to its first item, which is indexed like the array but neither counted nor checked.

    Steps take pointers, because every array handed from step to step costs two atomic additions. The kernel that makes
    one keeps the array alive and has compared every index with its length.
    """
    del typing_context

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, arguments[0]).data

    return types.CPointer(array.dtype)(array), generate


load_u8 = _load(8, types.uint64, "load_u8")
"""(uint8[n] or pointer, int64) → uint64: one byte. The caller has proved 0 <= at < n."""
load_u32 = _load(32, types.uint64, "load_u32")
"""(uint8[n] or pointer, int64) → uint64: four bytes, little endian. The caller has proved 0 <= at <= n - 4."""
load_u64 = _load(64, types.uint64, "load_u64")
"""(uint8[n] or pointer, int64) → uint64: eight bytes, little endian. The caller has proved 0 <= at <= n - 8."""


@intrinsic  # type: ignore[untyped-decorator]
def bits_as_f64(typing_context: Any, value: Any) -> Any:
    """uint64 → float64 of the same bits."""
    del typing_context, value

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.bitcast(arguments[0], ir.DoubleType())

    return types.float64(types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def f64_as_bits(typing_context: Any, value: Any) -> Any:
    """float64 → uint64 of the same bits."""
    del typing_context, value

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return builder.bitcast(arguments[0], ir.IntType(64))

    return types.uint64(types.float64), generate


@intrinsic  # type: ignore[untyped-decorator]
def fold_multiply(typing_context: Any, left: Any, right: Any) -> Any:
    """(uint64, uint64) → uint64: low half xor high half of the 128-bit product."""
    del typing_context, left, right

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        wide, word = ir.IntType(128), ir.IntType(64)
        product = builder.mul(builder.zext(arguments[0], wide), builder.zext(arguments[1], wide))
        high = builder.trunc(builder.lshr(product, ir.Constant(wide, 64)), word)
        return builder.xor(builder.trunc(product, word), high)

    return types.uint64(types.uint64, types.uint64), generate


@intrinsic  # type: ignore[untyped-decorator]
def load_shared(typing_context: Any, words: Any, at: Any) -> Any:
    """(uint64[n] or pointer, int64) → uint64 of a word that other threads may be storing: the old one or the new.

    Atomic without an order: one plain load, which the compiler may neither split nor repeat. Checks nothing.
    """
    del typing_context, at

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = arguments[0]
        if isinstance(signature.args[0], types.Array):
            data = context.make_array(signature.args[0])(context, builder, data).data
        return builder.load_atomic(builder.gep(data, [arguments[1]]), "monotonic", 8)

    return types.uint64(words, types.int64), generate


@intrinsic  # type: ignore[untyped-decorator]
def store_shared(typing_context: Any, words: Any, at: Any, value: Any) -> Any:
    """(uint64[n] or pointer, int64, uint64): the counterpart of `load_shared`."""
    del typing_context, at, value

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = arguments[0]
        if isinstance(signature.args[0], types.Array):
            data = context.make_array(signature.args[0])(context, builder, data).data
        builder.store_atomic(arguments[2], builder.gep(data, [arguments[1]]), "monotonic", 8)
        return context.get_dummy_value()

    return types.none(words, types.int64, types.uint64), generate
