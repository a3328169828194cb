"""Compiles every kernel into the cache, and says whether the cache is complete.

`python -m kernels.warmup` runs in `make setup`; the gateway calls `load_all` before it reports ready, which takes the
compiled code from the cache.
"""

from __future__ import annotations

import importlib
import pkgutil
import sys
import time

import kernels
from kernels.jit import COMPLETE_MARKER, cache_directory

_NOT_KERNELS = {"kernels.warmup", "kernels.jit"}


def kernel_modules() -> list[str]:
    """Import names of all kernel modules, sorted."""
    names = (module.name for module in pkgutil.walk_packages(kernels.__path__, "kernels."))
    return sorted(name for name in names if name not in _NOT_KERNELS)


def load_all(report: bool = False) -> int:
    """Import, and so compile or load, every kernel module; returns how many there are."""
    modules = kernel_modules()
    for number, name in enumerate(modules, 1):
        began = time.perf_counter()
        importlib.import_module(name)
        if report:
            line = f"[{number}/{len(modules)}] {name} {time.perf_counter() - began:.1f} s\n"
            sys.stdout.write(line)
            sys.stdout.flush()
    return len(modules)


def main() -> None:
    """Fill the cache and mark it complete."""
    load_all(report=True)
    directory = cache_directory()
    directory.mkdir(parents=True, exist_ok=True)
    (directory / COMPLETE_MARKER).write_text("every kernel of this tree is compiled\n", encoding="utf-8")


if __name__ == "__main__":
    main()
