"""A wall clock that can be put forward and back under a running program; see clock_shift.c. Needs a C compiler."""

from __future__ import annotations

import mmap
import struct
import subprocess
from pathlib import Path

from loadtest.disk_faults import compiler
from loadtest.processes import LoadTestError

_SOURCE = Path(__file__).with_name("clock_shift.c")
_LIBRARY, _CONTROL = "clock_shift.so", "clock_shift"


class ShiftedClock:
    """The clock of the program that was started with `prepare(directory)` in its environment."""

    def __init__(self, directory: Path) -> None:
        with (directory / _CONTROL).open("r+b") as file:
            self._control = mmap.mmap(file.fileno(), 8)

    @staticmethod
    def prepare(directory: Path) -> dict[str, str]:
        """Builds the library; gives the variables for the program. Raises LoadTestError."""
        found = compiler()
        if found is None:
            raise LoadTestError("a C compiler is needed")
        library, control = directory.resolve() / _LIBRARY, directory.resolve() / _CONTROL
        subprocess.run([found, "-shared", "-fPIC", "-O1", "-o", library, _SOURCE, "-ldl"], check=True)
        control.write_bytes(bytes(8))
        return {"LD_PRELOAD": str(library), "CLOCK_SHIFT_CONTROL": str(control)}

    def step(self, seconds: float) -> None:
        """Put it forward, or back, from where it stands."""
        (now,) = struct.unpack("<q", self._control[:8])
        self._control[:8] = struct.pack("<q", now + round(seconds * 1e9))
