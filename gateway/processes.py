"""Whether a process that says nothing will go on: what Linux tells of its threads, proc(5).

Silence alone proves nothing on a crowded machine. A thread that computes, waits for a processor or waits for a disk is
only kept from speaking; one that sleeps, and was not on a processor even once meanwhile, waits for something else.

A local disk is waited for in state D. File systems in user space or behind a network (FUSE, virtiofs, CephFS) let who
waits for them sleep, in S; there the call that the thread is in tells that it waits for a disk.
"""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path
from typing import Final, NamedTuple

_BUSY_SHARE = 0.2
"""Share of a processor from which a silent process counts as computing."""
_LOOKS = 5
_FILE_CALLS: Final = {
    # pread64 pwrite64 fsync fdatasync ftruncate rename unlink openat newfstatat unlinkat renameat fallocate preadv
    # pwritev renameat2 preadv2 pwritev2
    "x86_64": frozenset((17, 18, 74, 75, 77, 82, 87, 257, 262, 263, 264, 285, 295, 296, 316, 327, 328)),
    "aarch64": frozenset((67, 68, 82, 83, 46, 35, 56, 79, 38, 47, 69, 70, 276, 286, 287)),
}.get(platform.machine(), frozenset[int]())
"""Numbers of the system calls that concern files alone: not read or write, which wait for pipes as well."""


class ProcessorTime(NamedTuple):
    """Seconds of processor time that a process has used: all its threads, and its main thread."""

    all: float
    main: float

    @classmethod
    def of(cls, pid: int) -> ProcessorTime:
        """0.0 once it is gone. Linux, proc(5)."""
        return cls(_processor_seconds(f"/proc/{pid}/stat"), _processor_seconds(f"/proc/{pid}/task/{pid}/stat"))


def _processor_seconds(path: str) -> float:
    try:
        fields = Path(path).read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def stands_still(pid: int, used_before: ProcessorTime, seconds: float) -> bool:
    """Whether a silent process is stopped, or all of its threads sleep and have hardly computed."""
    states = _thread_states(pid)
    if not states or states[0] in "Tt":
        return True
    if _wants_to_go_on(states):
        return False
    return ProcessorTime.of(pid).all - used_before.all < _BUSY_SHARE * seconds


def computes_or_waits(pid: int) -> bool:
    """Whether a thread of the process computes or waits for a processor or a disk, in one of a few looks."""
    return any(_wants_to_go_on(_thread_states(pid)) for _ in range(_LOOKS))


def thread_switches(pid: int, thread: int) -> int:
    """How often a thread was taken off a processor since its start: the same number twice, and it has not run since.
    -1 while it computes or waits for a processor, while any thread of the process waits for a disk (it may hold what
    this one wants), and once it is gone. Linux, proc(5)."""
    if "D" in _thread_states(pid):
        return -1
    try:
        return switches_of(Path(f"/proc/{pid}/task/{thread}/status").read_text())
    except OSError:
        return -1


def switches_of(status: str) -> int:
    """`thread_switches` by the text of a thread's own status; -1 also where its kernel does not count them."""
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    switches = [int(fields.get(name, -1)) for name in ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")]
    if min(switches) < 0 or _wants_to_go_on(fields["State"].split()[0]):
        return -1
    return sum(switches)


def _wants_to_go_on(states: str) -> bool:
    # R: a thread computes or waits for a processor, and may hold what the main thread waits for; D: for a disk.
    return "R" in states or "D" in states


def _thread_states(pid: int) -> str:
    """A letter a thread, the main thread's first; D also for one that sleeps within a call for a file. Empty once the
    process is gone. Linux, proc(5)."""
    states = ""
    with contextlib.suppress(OSError):
        for thread in sorted(os.listdir(f"/proc/{pid}/task"), key=lambda name: int(name) != pid):
            state = Path(f"/proc/{pid}/task/{thread}/stat").read_text().rpartition(")")[2].split()[0]
            states += "D" if state == "S" and _in_file_call(pid, thread) else state
    return states


def _in_file_call(pid: int, thread: str) -> bool:
    try:
        call = Path(f"/proc/{pid}/task/{thread}/syscall").read_text().partition(" ")[0]
    except OSError:  # not every system lets even a parent look
        return False
    return call.isdigit() and int(call) in _FILE_CALLS
