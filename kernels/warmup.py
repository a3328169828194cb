"""Compiles every kernel into the cache, and says whether the cache is complete.

`python -m kernels.warmup` runs in `make setup`; the gateway calls `load_all` before it reports ready, which takes the
compiled code from the cache.
"""

from __future__ import annotations

import gc
import hashlib
import importlib
import importlib.util
import multiprocessing
import os
import pkgutil
import sys
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import llvmlite.binding
import numba
from numba.core.dispatcher import Dispatcher

import kernels
from kernels.jit import COMPLETE_MARKER, _text_and_imports, cache_directory, source_stamp

_NOT_KERNELS = {"kernels.warmup", "kernels.jit", "kernels.cached_code"}


def kernel_modules() -> list[str]:
    """Import names of all kernel modules, sorted."""
    names = (module.name for module in pkgutil.walk_packages(kernels.__path__, "kernels."))
    return sorted(name for name in names if name not in _NOT_KERNELS)


def load_all() -> int:
    """Import, and so compile or load, every kernel module; returns how many there are."""
    modules = kernel_modules()
    for name in modules:
        importlib.import_module(name)
    return len(modules)


def forget_sources() -> None:
    """Let go of what is kept of each compiled kernel for others that might call it and for whoever inspects it: its
    program as the compiler had it, its source with every type, a copy of its machine code. For a process that compiles
    nothing any more."""
    for dispatcher in gc.get_objects():
        if isinstance(dispatcher, Dispatcher):
            for types, compiled in dispatcher.overloads.items():
                compiled.library.forget_program()
                dispatcher.overloads[types] = compiled._replace(type_annotation="")
    _text_and_imports.cache_clear()


def _load(name: str) -> tuple[str, float]:
    began = time.perf_counter()
    importlib.import_module(name)
    return name, time.perf_counter() - began


def compile_all(write: Callable[[str], object]) -> None:
    """Fill the cache with one process a core, the largest sources first; says how far it is through `write`.

    A kernel that two processes compile at the same time is written twice with the same content, each time atomically.
    """
    modules = sorted(kernel_modules(), key=lambda name: -Path(_source(name)).stat().st_size)
    # Spawned, as a forked process would inherit the compiler's threads and locks.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(os.cpu_count() or 1, mp_context=context) as pool:
        loading = [pool.submit(_load, name) for name in modules]
        for number, done in enumerate(as_completed(loading), 1):
            name, seconds = done.result()
            write(f"[{number}/{len(modules)}] {name} {seconds:.1f} s\n")


def _source(name: str) -> str:
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    return spec.origin


def _whole_stamp() -> str:
    """What the marker says: digest over all kernels' sources, Numba's version, this processor."""
    digest = hashlib.sha256(f"{numba.__version__} {llvmlite.binding.get_host_cpu_name()}".encode())
    digest.update(str(sorted(llvmlite.binding.get_host_cpu_features().items())).encode())
    for name in kernel_modules():
        digest.update(source_stamp(_source(name)).encode())
    return digest.hexdigest()


def is_complete() -> bool:
    """Whether the cache holds every kernel of this tree, for this compiler and processor."""
    marker = cache_directory() / COMPLETE_MARKER
    return marker.is_file() and marker.read_text(encoding="utf-8").strip() == _whole_stamp()


def main() -> None:
    """Fill the cache and mark it complete; at once when it is."""
    directory = cache_directory()
    if is_complete():
        sys.stdout.write(f"the kernels are compiled in {directory}\n")
        return
    sys.stdout.write(f"compiling the kernels into {directory}; this takes a minute or two, once\n")
    compile_all(sys.stdout.write)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / COMPLETE_MARKER).write_text(_whole_stamp() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
