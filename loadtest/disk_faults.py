"""A failing disk for a program under test; see disk_faults.c. Needs a C compiler.

disk = FaultyDisk(directory)
start the program with disk.environment(), its data in disk.data
disk.fail(writes=errno.ENOSPC)   disk.heal()
kill the program; disk.cut_power(): disk.data is now what was synced, and nothing else
"""

from __future__ import annotations

import mmap
import shutil
import subprocess
from pathlib import Path

_SOURCE = Path(__file__).with_name("disk_faults.c")
_CONTROL_BYTES = 256
_FILTER_AT = 16


def compiler() -> str | None:
    """Path of a C compiler, None if there is none."""
    return shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")


class FaultyDisk:
    """The disk under `directory`/data. shadow: whether to keep what a power cut would leave (costs copies)."""

    def __init__(self, directory: Path, *, shadow: bool = False) -> None:
        directory = directory.resolve()
        directory.mkdir(parents=True, exist_ok=True)
        self.data = directory / "data"
        self.data.mkdir(exist_ok=True)
        self._shadow = directory / "shadow"
        self._keeps = shadow
        if shadow:
            self._shadow.mkdir(exist_ok=True)
        self._library = directory / "disk_faults.so"
        found = compiler()
        assert found is not None, "a C compiler is needed"
        subprocess.run([found, "-shared", "-fPIC", "-O1", "-o", self._library, _SOURCE, "-ldl"], check=True)
        control = directory / "control"
        control.write_bytes(b"\0" * _CONTROL_BYTES)
        self._control_path = control
        with control.open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), _CONTROL_BYTES)

    def environment(self) -> dict[str, str]:
        """Variables for the program."""
        found = {
            "LD_PRELOAD": str(self._library),
            "DISK_FAULTS_ROOT": str(self.data),
            "DISK_FAULTS_CONTROL": str(self._control_path),
        }
        return found | ({"DISK_FAULTS_SHADOW": str(self._shadow)} if self._keeps else {})

    def fail(self, *, writes: int = 0, syncs: int = 0, reads: int = 0, creates: int = 0, within: str = "") -> None:
        """From now on these operations fail with these errno values, on paths that contain `within`."""
        text = within.encode()
        self._control[_FILTER_AT : _FILTER_AT + len(text) + 1] = text + b"\0"
        self._control[0:4] = bytes((writes, syncs, reads, creates))

    def heal(self) -> None:
        """Everything works again."""
        self._control[0:4] = bytes(4)

    def cut_power(self) -> int:
        """Replace the data by what was synced; the program must be dead. Returns how many files there are."""
        assert self._keeps
        root = _keys([self.data])[self.data]
        lost = self.data.with_name("lost")
        shutil.rmtree(lost, ignore_errors=True)
        self.data.rename(lost)
        files = self._restore(root, self.data)
        shutil.rmtree(self._shadow)
        self._shadow.mkdir()
        self._keep_as_it_is()
        return files

    def _restore(self, key: str, to: Path) -> int:
        to.mkdir()
        listing = self._shadow / f"d{key}"
        files = 0
        for line in listing.read_text().splitlines() if listing.exists() else ():
            kind, child, name = line.split(" ", 2)
            if kind == "d":
                files += self._restore(child, to / name)
                continue
            content = self._shadow / f"f{child}"
            (to / name).write_bytes(content.read_bytes() if content.exists() else b"")
            files += 1
        return files

    def _keep_as_it_is(self) -> None:
        """What lies on the disk when the power comes back is durable."""
        keys = _keys([self.data, *self.data.rglob("*")])
        for path, key in keys.items():
            if path.is_file():
                shutil.copyfile(path, self._shadow / f"f{key}")
            else:
                lines = [f"{'d' if p.is_dir() else 'f'} {keys[p]} {p.name}\n" for p in path.iterdir()]
                (self._shadow / f"d{key}").write_text("".join(lines))


def _keys(paths: list[Path]) -> dict[Path, str]:
    """Inode and time of birth of each, as disk_faults.c writes them."""
    command = ["stat", "-c", "%i %W %w", *map(str, paths)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = {}
    for path, line in zip(paths, said.splitlines(), strict=True):
        inode, seconds, _, time, *_ = line.split(" ")
        found[path] = f"{inode}-{seconds}.{int(time.partition('.')[2])}"
    return found
