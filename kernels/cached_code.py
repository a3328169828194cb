"""Compiled kernels come back from the cache without what a compiler needs.

Numba prepares for compiling whenever it loads: it imports every function that a program might call, compiles its own
reference counting, and parses each kernel's program, so that others can be compiled against it. A process that finds
all of its kernels in the cache needs none of that, which is half of its memory and most of its start. Here it is done
when a kernel is not in the cache, or is called by one that is not.
"""

from __future__ import annotations

import struct
from functools import cache as memoised
from typing import Any, Final

import llvmlite.binding
from numba.core.caching import FunctionCache
from numba.core.codegen import JITCodeLibrary
from numba.core.runtime import _nrt_python

# elf(5), 64 bits, little-endian.
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_SYMBOL: Final = struct.Struct("<IBBHQQ")
_SECTION_TABLE: Final = struct.Struct("<40xQ10xHH")
_SYMBOL_TABLE_TYPE: Final = 2
_LOCAL: Final = 0


def exported_names(code: bytes) -> set[str]:
    """Names that a relocatable ELF file defines for others."""
    at, size, count = _SECTION_TABLE.unpack_from(code)
    sections = [_SECTION.unpack_from(code, at + number * size) for number in range(count)]
    found = set()
    for _, kind, _, _, begin, length, strings, *_ in sections:
        if kind != _SYMBOL_TABLE_TYPE:
            continue
        names = sections[strings][4]
        for name, info, _, section, _, _ in _SYMBOL.iter_unpack(code[begin : begin + length]):
            if name and section and info >> 4 != _LOCAL:
                found.add(code[names + name : code.index(b"\0", names + name)].decode())
    return found


class KernelLibrary(JITCodeLibrary):  # type: ignore[misc]  # numba ships no types
    """Machine code with its program, which is parsed when something is compiled that calls it."""

    _program: bytes | None = None

    @classmethod
    def _unserialize(cls, codegen: Any, state: Any) -> Any:
        name, kind, data = state
        if kind != "object":
            return super()._unserialize(codegen, state)
        self = codegen.create_library(name)
        code, self._program = data
        self.enable_object_caching()
        self._set_compiled_object(code)
        self._finalize_final_module()
        codegen._engine._defined_symbols |= exported_names(code)
        return self

    def _get_module_for_linking(self) -> Any:
        if self._program is not None:
            self._shared_module, self._program = llvmlite.binding.parse_bitcode(self._program), None
        return super()._get_module_for_linking()

    def forget_program(self) -> None:
        """Let go of what only other kernels that are yet to be compiled would need."""
        self._program = self._shared_module = self._compiled_object = None


class KernelCache(FunctionCache):  # type: ignore[misc]
    """The cache of one kernel; prepares for compiling when it does not hold it."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """See Numba's; None if it is not there."""
        _make_loadable(target_context)
        with self._guard_against_spurious_io_errors():
            found = self._load_overload(sig, target_context)
        if found is None:
            target_context.refresh()
        return found


@memoised
def _make_loadable(target_context: Any) -> None:
    """What compiled code refers to by name has to be known when it is linked."""
    target_context.codegen()._library_class = KernelLibrary
    for name, address in _nrt_python.c_helpers.items():
        llvmlite.binding.add_symbol(name if name.startswith("_") else f"NRT_{name}", address)
