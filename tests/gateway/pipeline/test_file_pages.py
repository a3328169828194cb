"""Pages of files go back, and what a process wrote to them does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
PROGRAM = """
import ctypes, mmap, re, sys
from pathlib import Path
from gateway.pipeline.free_memory import give_back_file_pages
path, size = Path(sys.argv[1]), 64 * mmap.PAGESIZE
path.write_bytes(b"a" * size)
libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
with path.open("r+b") as file:
    read, written = (libc.mmap(None, ctypes.c_size_t(size), prot, mmap.MAP_PRIVATE, file.fileno(), ctypes.c_long(0))
                     for prot in (mmap.PROT_READ, mmap.PROT_READ | mmap.PROT_WRITE))
ctypes.memset(written, ord("b"), mmap.PAGESIZE)
libc.mprotect(ctypes.c_void_p(written), ctypes.c_size_t(size), mmap.PROT_READ)
def resident(address):
    mappings = Path("/proc/self/smaps").read_text()
    return int(re.search(rf"^{address:x}-.*?^Rss: +(\\d+)", mappings, re.MULTILINE | re.DOTALL)[1])
assert ctypes.string_at(read, size) == b"a" * size
before = resident(read)
give_back_file_pages()
print(before > 0, resident(read))
assert ctypes.string_at(read, size) == b"a" * size
assert ctypes.string_at(written, mmap.PAGESIZE + 1) == b"b" * mmap.PAGESIZE + b"a"
"""


def test_pages_of_files_go_back_and_what_was_written_to_them_stays(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path / "file")], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.split() == ["True", "0"], done.stderr
