"""The cache of compiled kernels: edited callees are noticed, a read-only installation works."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import llvmlite.binding
import pytest

from kernels.cached_code import exported_names

ROOT = Path(__file__).resolve().parent.parent.parent
CALLEE = "from kernels.jit import step\n\n@step\ndef triple(x):\n    return x * {factor}\n"
CALLER = (
    "from kernels.jit import kernel, i8\nfrom kernels.callee import triple\n\n"
    "@kernel(i8)\ndef apply(x):\n    return triple(x) + 1\n"
)
PROGRAM = (
    "from kernels.caller import apply; print(apply(10)); "
    "print(sum(apply.stats.cache_hits.values()), sum(apply.stats.cache_misses.values()))"
)


def _tree(root: Path) -> None:
    (root / "kernels").mkdir(parents=True)
    (root / "kernels/__init__.py").touch()
    for name in ("jit.py", "cached_code.py"):
        shutil.copy(ROOT / "kernels" / name, root / "kernels")
    (root / "kernels/callee.py").write_text(CALLEE.format(factor=3))
    (root / "kernels/caller.py").write_text(CALLER)


def _run(root: Path, program: str = PROGRAM, **environment: str) -> list[str]:
    env = {k: v for k, v in os.environ.items() if k != "GATEWAY_KERNEL_CACHE"}
    env |= {"PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    done = subprocess.run(
        [sys.executable, "-c", program], env=env, cwd=root, capture_output=True, text=True, timeout=120, check=True
    )
    return done.stdout.split()


def test_an_edited_callee_in_another_file_is_compiled_again(tmp_path: Path) -> None:
    _tree(tmp_path)
    assert _run(tmp_path) == ["31", "0", "1"]
    assert _run(tmp_path) == ["31", "1", "0"], "the second process takes the code from the cache"
    callee = tmp_path / "kernels/callee.py"
    before = callee.stat()
    callee.write_text(CALLEE.format(factor=4))
    os.utime(callee, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert _run(tmp_path) == ["41", "0", "1"]


def test_a_kernel_that_is_not_in_the_cache_is_compiled_against_one_that_is(tmp_path: Path) -> None:
    _tree(tmp_path)
    _run(tmp_path)
    # Numba knows the function by its source stamp, which covers what it imports: the callee's stays.
    (tmp_path / "kernels/outer.py").write_text(
        "from kernels.jit import kernel, i8\nfrom kernels.caller import apply as inner\n\n"
        "@kernel(i8)\ndef apply(x):\n    return inner(x) * 2\n"
    )
    program = PROGRAM.replace("kernels.caller", "kernels.outer")
    assert _run(tmp_path, program) == ["62", "0", "1"]
    assert _run(tmp_path, program) == ["62", "1", "0"]


@pytest.mark.parametrize("returned", ["x", "(x, 1)", "np.zeros(3)"])
def test_a_step_that_returns_an_array_is_refused(tmp_path: Path, returned: str) -> None:
    _tree(tmp_path)
    (tmp_path / "kernels/callee.py").write_text(
        f"import numpy as np\nfrom kernels.jit import step\n\n@step\ndef lend(x):\n    return {returned}\n"
    )
    (tmp_path / "kernels/caller.py").write_text(
        "from kernels.jit import kernel, F8\nfrom kernels.callee import lend\n\n"
        "@kernel(F8)\ndef apply(x):\n    lend(x)\n    return x[0]\n"
    )
    with pytest.raises(subprocess.CalledProcessError) as failed:
        _run(tmp_path, "import kernels.caller")
    assert "lend" in failed.value.stderr


def test_of_an_object_file_the_names_it_defines_for_others_are_known() -> None:
    program = (
        "declare void @elsewhere()\n"
        "define internal void @own() noinline { call void @elsewhere() ret void }\n"
        "define void @first() { call void @own() ret void }\n"
        "define linkonce_odr void @second() { call void @own() ret void }\n"
        "@table = global i32 3\n"
    )
    target = llvmlite.binding.Target.from_default_triple().create_target_machine(reloc="pic", codemodel="small")
    code = target.emit_object(llvmlite.binding.parse_assembly(program))
    assert b"own" in code
    assert exported_names(code) == {"first", "second", "table"}


def test_kernels_run_when_what_the_compiler_kept_of_them_is_forgotten() -> None:
    program = (
        "import gc, sys, numpy as np; from kernels import warmup; warmup.load_all(); "
        "from kernels.cached_code import KernelLibrary; from kernels.first_seen import first_seen; "
        "libraries = [o for o in gc.get_objects() if isinstance(o, KernelLibrary)]; "
        "assert any(o._program for o in libraries); warmup.forget_sources(); "
        "assert not any(o._program or o._shared_module or o._compiled_object for o in libraries); "
        "assert 'numba.np.linalg' not in sys.modules, 'the compiler was prepared though nothing is compiled'; "
        "sids = np.array([1, 0, 1], np.uint32); known = np.full(2, 0xFFFFFFFF, np.uint32); "
        "found = np.empty(3, np.uint32); print(first_seen(sids, np.zeros(2, np.uint32), known, found), found[:2])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.split() == ["2", "[1", "0]"]


def test_a_complete_read_only_installation_is_used_and_never_written(tmp_path: Path) -> None:
    _tree(tmp_path)
    _run(tmp_path)
    cache = tmp_path / ".kernel-cache"
    (cache / "complete").write_text("yes")
    files = sorted(p.name for p in cache.iterdir())
    cache.chmod(0o555)
    try:
        assert _run(tmp_path, XDG_CACHE_HOME=str(tmp_path / "other")) == ["31", "1", "0"]
    finally:
        cache.chmod(0o755)
    assert sorted(p.name for p in cache.iterdir()) == files
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("kind", ["nbi", "nbc"])
@pytest.mark.parametrize("damage", [lambda b: b"", lambda b: b[:-1], lambda b: b[: len(b) // 2] + bytes(len(b) // 2)])
def test_a_damaged_cache_is_compiled_again_and_mended(
    kind: str, damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    _tree(tmp_path)
    _run(tmp_path)
    (file,) = (tmp_path / ".kernel-cache").glob(f"caller.apply-*.{kind}")
    file.write_bytes(damage(file.read_bytes()))
    assert _run(tmp_path) == ["31", "0", "1"]
    assert _run(tmp_path) == ["31", "1", "0"]


def _blocked(cache: Path) -> None:
    """A cache that says it is complete, and into which not even root can write what is missing."""
    for file in cache.iterdir():
        file.unlink()
        file.mkdir()
        (file / "in-the-way").touch()
    (cache / "complete").write_text("for another processor")


def test_what_a_cache_lacks_that_cannot_be_written_is_kept_in_the_users(tmp_path: Path) -> None:
    _tree(tmp_path)
    _run(tmp_path)
    _blocked(tmp_path / ".kernel-cache")
    own = str(tmp_path / "own")
    assert _run(tmp_path, XDG_CACHE_HOME=own) == ["31", "0", "1"]
    assert _run(tmp_path, XDG_CACHE_HOME=own) == ["31", "1", "0"]


def test_where_nothing_can_be_kept_kernels_run_all_the_same(tmp_path: Path) -> None:
    _tree(tmp_path)
    _run(tmp_path)
    _blocked(tmp_path / ".kernel-cache")
    assert _run(tmp_path, XDG_CACHE_HOME="/dev/null") == ["31", "0", "1"]


def test_a_second_user_without_write_access_gets_a_cache_of_their_own(tmp_path: Path) -> None:
    _tree(tmp_path)
    (tmp_path / ".kernel-cache").write_text("a file stands where the directory would be made")
    own = tmp_path / "home-cache"
    assert _run(tmp_path, XDG_CACHE_HOME=str(own)) == ["31", "0", "1"]
    assert _run(tmp_path, XDG_CACHE_HOME=str(own)) == ["31", "1", "0"]
    assert any((own / "gateway-kernels").iterdir())
