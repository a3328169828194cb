"""How kernels are compiled: one decorator for entry points, one for the steps they are built from, one cache.

A *kernel* has an explicit signature, releases the GIL, and is compiled (or loaded from the cache) when its module is
imported, so nothing is ever compiled while traffic flows. A *step* is a scalar function that the compiler folds into
the kernels that call it.

The cache. Numba keys a cached function by the modification time of the file it stands in and therefore misses an
edited callee in another file. Here the stamp is a digest over the source text of the function's module and of every
module of `kernels` and `proto` that it imports, directly or not; Numba itself adds its version, the CPU's name and its
features. The cache lives in a directory beside the package when that directory is complete or can be written, else in
the user's cache directory, so a read-only installation and a second user both work; what a directory lacks that cannot
be written goes to the user's too. `GATEWAY_KERNEL_CACHE` names another place.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Callable
from functools import cache as memoised
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar

import numba
from numba import types
from numba.core.caching import _CacheLocator
from numba.core.typeinfer import register_dispatcher

from kernels.cached_code import KernelCache

P = ParamSpec("P")
R = TypeVar("R")

PACKAGE_DIR = Path(__file__).resolve().parent
"""Directory of the kernels package."""
SOURCE_ROOT = PACKAGE_DIR.parent
"""Directory that holds `kernels` and `proto`."""
COMPLETE_MARKER = "complete"
"""File written by `kernels.warmup` once every kernel of the tree is in the cache."""

# Argument types of the kernels' signatures. Read-only inputs also take writable arrays.
BYTES = types.Array(types.uint8, 1, "C", readonly=True)
U1 = types.Array(types.uint8, 1, "C")
U4 = types.Array(types.uint32, 1, "C")
U8 = types.Array(types.uint64, 1, "C")
I4 = types.Array(types.int32, 1, "C")
I8 = types.Array(types.int64, 1, "C")
F4 = types.Array(types.float32, 1, "C")
F8 = types.Array(types.float64, 1, "C")
RU1 = types.Array(types.uint8, 1, "C", readonly=True)
RU4 = types.Array(types.uint32, 1, "C", readonly=True)
RU8 = types.Array(types.uint64, 1, "C", readonly=True)
RI8 = types.Array(types.int64, 1, "C", readonly=True)
RF8 = types.Array(types.float64, 1, "C", readonly=True)
u1, u4, u8, i8, f8, b1 = types.uint8, types.uint32, types.uint64, types.int64, types.float64, types.boolean


_FROM: Final = re.compile(r"^\s*from\s+((?:kernels|proto)\b[\w.]*)\s+import\s+(\([^)]*\)|[^\n]*)", re.MULTILINE)
_IMPORT: Final = re.compile(r"^\s*import\s+([^\n]*)", re.MULTILINE)
_OURS: Final = re.compile(r"\b(?:kernels|proto)\b[\w.]*")


@memoised
def _text_and_imports(path: Path) -> tuple[str, frozenset[str]]:
    """A source text and the names of the `kernels` and `proto` modules it imports. A name more, from a text that only
    looks like an import, does no harm; parsing all sources took longer than loading all kernels."""
    text = path.read_text(encoding="utf-8")
    found = {name for names in _IMPORT.findall(text) for name in _OURS.findall(names)}
    for module, names in _FROM.findall(text):
        found.add(module)
        found.update(f"{module}.{name}" for name in re.findall(r"\w+", names))
    return text, frozenset(found)


@memoised
def _module_file(name: str) -> Path | None:
    base = SOURCE_ROOT.joinpath(*name.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


@memoised
def source_stamp(py_file: str) -> str:
    """Digest over a module's source and over all kernel and proto sources it imports, directly or not."""
    pending, texts = [Path(py_file).resolve()], dict[Path, str]()
    while pending:
        path = pending.pop()
        if path in texts:
            continue
        texts[path], imports = _text_and_imports(path)
        pending.extend(file for name in imports if (file := _module_file(name)) is not None)
    digest = hashlib.sha256()
    for path in sorted(texts):
        digest.update(path.name.encode())
        digest.update(texts[path].encode())
    return digest.hexdigest()


def _writable(directory: Path) -> bool:
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            return True
    except OSError:
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except PermissionError:  # in a directory of another user
        return False


@memoised
def _users_directory() -> Path | None:
    """None for a user without a home."""
    try:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    except RuntimeError:
        return None
    return base / "gateway-kernels"


@memoised
def cache_directory() -> Path:
    """Where compiled kernels are kept: named, else beside the package, else the user's cache directory."""
    named = os.environ.get("GATEWAY_KERNEL_CACHE")
    if named:
        return Path(named)
    beside = SOURCE_ROOT / ".kernel-cache"
    if _is_file(beside / COMPLETE_MARKER) or _writable(beside):
        return beside
    return _users_directory() or beside


class KernelCacheLocator(_CacheLocator):  # type: ignore[misc]  # numba ships no types
    """Tells Numba where our compiled functions are kept and when they are stale."""

    def __init__(self, py_file: str) -> None:
        self._py_file = py_file

    def ensure_cache_path(self) -> None:
        """Create the directory; raises OSError where it cannot be."""
        cache_directory().mkdir(parents=True, exist_ok=True)

    def get_cache_path(self) -> str:
        """Directory of the cache."""
        return str(cache_directory())

    def get_cache_paths(self) -> list[str]:
        """Directories to look into and to write to, in that order."""
        return list(dict.fromkeys(str(path) for path in (cache_directory(), _users_directory()) if path is not None))

    def ensure_path(self, path: str) -> None:
        """Create one of them; raises OSError where it cannot be."""
        Path(path).mkdir(parents=True, exist_ok=True)

    def get_source_stamp(self) -> str:
        """What a cached function must agree with to be used."""
        return source_stamp(self._py_file)

    def get_disambiguator(self) -> str:
        """Keeps modules of one name in different packages apart."""
        return hashlib.sha256(str(Path(self._py_file).resolve().relative_to(SOURCE_ROOT)).encode()).hexdigest()[:10]

    @classmethod
    def from_function(cls, py_func: Callable[..., object], py_file: str) -> KernelCacheLocator | None:
        """A locator for functions of this package; None leaves others to Numba."""
        del py_func
        return cls(py_file) if PACKAGE_DIR in Path(py_file).resolve().parents else None


numba.config.CACHE_LOCATOR_CLASSES = (
    "kernels.jit.KernelCacheLocator,InTreeCacheLocator,UserWideCacheLocator,IPythonCacheLocator"
)

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": False, "boundscheck": False}


def kernel(*signature: Any) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Compile a function for exactly these argument types; the result is cached on disk.

    Called with other types it raises TypeError instead of compiling a second version behind the operator's back.
    """

    def compile_now(function: Callable[P, R]) -> Callable[P, R]:
        dispatcher = numba.njit(**_OPTIONS)(function)
        dispatcher._cache = KernelCache(function)
        with register_dispatcher(dispatcher):
            dispatcher.compile(signature)
        dispatcher.disable_compile()
        compiled: Callable[P, R] = dispatcher
        return compiled

    return compile_now


def _borrowing(function: Callable[P, R], **options: Any) -> Callable[P, R]:
    """A function that uses the arrays it is given without counting references: its caller holds them, and it makes and
    returns none. Where a step branches the compiler does not see that what it counts up it counts down again, and two
    locked operations a call remain.

    Compiling one that returns an array, also within a tuple, raises TypeError: the caller would give back what nobody
    took.
    """
    dispatcher = numba.njit(_nrt=False, **options, **_OPTIONS)(function)
    compile_for = dispatcher.compile

    def compile_checked(signature: Any) -> Any:
        entry = compile_for(signature)
        models = dispatcher.targetctx.data_model_manager
        for compiled in dispatcher.overloads.values():
            if models[compiled.signature.return_type].contains_nrt_meminfo():
                raise TypeError(f"step {function.__qualname__} returns an array: {compiled.signature.return_type}")
        return entry

    dispatcher.compile = compile_checked
    borrowing: Callable[P, R] = dispatcher
    return borrowing


def maker(function: Callable[P, R]) -> Callable[P, R]:
    """A building block that makes arrays and returns them, alone or in a tuple, to the kernel that calls it. It counts
    references, so it is for what a kernel makes once a call, not once a row."""
    making: Callable[P, R] = numba.njit(**_OPTIONS)(function)
    return making


def step(function: Callable[P, R]) -> Callable[P, R]:
    """A scalar building block, folded into the kernels that call it; never called from Python on the hot path. It
    borrows the arrays it is given and neither makes nor returns any."""
    return _borrowing(function)


def hot_step(function: Callable[P, R]) -> Callable[P, R]:
    """A step that is always folded into its caller, however large: for the innermost loop of a kernel only."""
    return _borrowing(function, forceinline=True)
