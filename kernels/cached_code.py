"""Compiled kernels come back from the cache without what a compiler needs.

Numba prepares for compiling whenever it loads: it imports every function that a program might call, compiles its own
reference counting, and parses each kernel's program, so that others can be compiled against it. A process that finds
all of its kernels in the cache needs none of that, which is half of its memory and most of its start. Here it is done
when a kernel is not in the cache, or is called by one that is not.

A cache is a convenience: what is damaged in it is compiled again, and one that cannot be written, as that of an
installation for another processor or of another user, is added to in the user's own.
"""

from __future__ import annotations

import contextlib
import hashlib
import pickle
import struct
import warnings
from functools import cache as memoised
from typing import Any, Final

import llvmlite.binding
from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.codegen import JITCodeLibrary
from numba.core.runtime import _nrt_python

# elf(5), 64 bits, little-endian.
_SECTION: Final = struct.Struct("<IIQQQQIIQQ")
_SYMBOL: Final = struct.Struct("<IBBHQQ")
_SECTION_TABLE: Final = struct.Struct("<40xQ10xHH")
_SYMBOL_TABLE_TYPE: Final = 2
_LOCAL: Final = 0
_DIGEST_BYTES: Final = 16


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


class CheckedFile(IndexDataCacheFile):  # type: ignore[misc]
    """Machine code with a digest before it: a part that a power cut left as zeros would be run."""

    def _save_data(self, name: str, data: Any) -> None:
        text = self._dump(data)
        with self._open_for_write(self._data_path(name)) as file:
            file.write(_digest(text) + text)

    def _load_data(self, name: str) -> Any:
        with open(self._data_path(name), "rb") as file:
            digest, text = file.read(_DIGEST_BYTES), file.read()
        if digest != _digest(text):
            raise ValueError(f"{name} is damaged")
        return pickle.loads(text)  # nosec B301  # noqa: S301  # our own directory, as the sources are

    def load_sound(self, key: Any) -> Any:
        """What is kept under the key; None if it is not there, cannot be read, or is damaged, and then forgotten."""
        try:
            return self.load(key)
        except Exception:  # noqa: BLE001  # damaged pickles raise anything
            with contextlib.suppress(OSError):
                self.flush()
            return None


def _digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=_DIGEST_BYTES).digest()


class KernelCache(FunctionCache):  # type: ignore[misc]
    """The cache of one kernel; prepares for compiling when it does not hold it."""

    def __init__(self, function: Any) -> None:
        super().__init__(function)
        locator, base = self._impl.locator, self._impl.filename_base
        self._files = [CheckedFile(path, base, locator.get_source_stamp()) for path in locator.get_cache_paths()]

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """See Numba's; None if it is not there."""
        _make_loadable(target_context)
        key = self._index_key(sig, target_context.codegen())
        for file in self._files:
            data = file.load_sound(key)
            if data is not None:
                return self._impl.rebuild(target_context, data)
        target_context.refresh()
        return None

    def save_overload(self, sig: Any, data: Any) -> None:
        """See Numba's; in the first directory where that can be done."""
        if not self._impl.check_cachable(data):
            return
        key, reduced = self._index_key(sig, data.codegen), self._impl.reduce(data)
        problem: Exception | None = None
        for file in self._files:
            try:
                self._impl.locator.ensure_path(file._cache_path)
                file.save(key, reduced)
            except Exception as error:  # noqa: BLE001  # of what is damaged and cannot be written over
                problem = problem or error
            else:
                return
        warnings.warn(f"compiled kernels cannot be kept, each start compiles them anew: {problem}", stacklevel=1)


@memoised
def _make_loadable(target_context: Any) -> None:
    """What compiled code refers to by name has to be known when it is linked."""
    target_context.codegen()._library_class = KernelLibrary
    for name, address in _nrt_python.c_helpers.items():
        llvmlite.binding.add_symbol(name if name.startswith("_") else f"NRT_{name}", address)
