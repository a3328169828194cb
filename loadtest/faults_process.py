"""Faults of the gateway's own processes, clock, disk and descriptors."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final

from loadtest.clock_shift import ShiftedClock
from loadtest.processes import LoadTestError, await_true, thread_names, tree
from loadtest.scene import RECOVERY_SECONDS, Fault, Scene

_GRACEFUL_SECONDS: Final = 10.0
_HISTORY: Final = "/api/v1/history?match=%7B__name__%3D~%22.%2B%22%7D&limit=100&bands=none"
_LOADING_SECONDS: Final = 5.0
"""That a start is given to come to rest."""
_HANDED_ON_SECONDS: Final = 25.0
"""More than `replay_seconds` of this scenario, two looks at the target and a client's wait."""
_TOLD_SECONDS: Final = 2.0
_REFUSED_SECONDS: Final = 2.0
"""That a rolling restart may refuse somebody for."""


def _log_full(scene: Scene) -> None:
    scene.store.stop()
    await_true(lambda: not _ready(scene), 600.0, "the log is full")
    scene.injected += 1
    taken = scene.senders.acknowledged
    scene.store.start()
    scene.recover_forwarding()
    # A probe may find room while a request of the senders finds none: what was handed on stays in the log until
    # VictoriaMetrics is known to have it on its disk.
    scene.recoveries.append(
        await_true(lambda: scene.senders.acknowledged > taken, RECOVERY_SECONDS, "requests of the senders taken again")
    )
    await_true(lambda: scene.senders.acknowledged > taken + 50, RECOVERY_SECONDS, "all senders back from their waits")
    # Until VictoriaMetrics is known to have the backlog, requests are taken and refused in turns: who waits at the end
    # of the scenario would be counted as given up.
    time.sleep(_HANDED_ON_SECONDS)


def _ready(scene: Scene) -> bool:
    try:
        scene.gateway.json("/api/v1/status")
        with socket.create_connection(("127.0.0.1", scene.gateway.http_port), 5.0) as connection:
            connection.sendall(b"GET /-/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            return b" 200 " in connection.recv(64)
    except OSError:
        return False


def _disk_full(scene: Scene) -> None:
    filler = scene.gateway.data_dir / "filler"
    with filler.open("wb", buffering=0) as file:
        for block in (2**20, 2**12):
            with contextlib.suppress(OSError):  # no space left: what was asked for
                while file.write(bytes(block)):
                    pass
    scene.injected += 1
    time.sleep(scene.seconds)
    filler.unlink()
    scene.recover_accepting()
    scene.recover_forwarding()


def _all_killed(scene: Scene) -> None:
    for _ in range(3):
        scene.gateway.kill()
        scene.injected += 1
        scene.gateway.launch()
        scene.recover_accepting()
        time.sleep(scene.seconds / 10)
    scene.recover_forwarding()


def _supervisor_killed(scene: Scene) -> None:
    """Its children end with it, and the next start takes over what they left."""
    for _ in range(3):
        await_true(scene.gateway.forks, RECOVERY_SECONDS, "the process roles are forked from")
        children = tree(scene.gateway.pid)[1:]
        scene.gateway.signal(signal.SIGKILL)
        scene.injected += 1
        ended = await_true(lambda children=children: not any(map(_lives, children)), 10.0, "children ended", 0.01)  # type: ignore[misc]
        scene.detail["children_ended_seconds"] = max(round(ended, 2), scene.detail.get("children_ended_seconds", 0.0))
        scene.gateway.kill()  # nothing is left but what is to be waited for
        scene.gateway.launch()
        scene.recover_accepting()
        time.sleep(scene.seconds / 10)
    scene.recover_forwarding()


def _lives(pid: int) -> bool:
    """Whether a process still runs; one that is dead and not waited for yet does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


def signalled(role: str, number: signal.Signals, times: int) -> Callable[[Scene], None]:
    """A role is told so; another process of it must take its place, and samples be taken."""

    def inject(scene: Scene) -> None:
        for _ in range(times):
            # As in a gateway that has run for some seconds; faults right after a start are what kill9 is for.
            await_true(scene.gateway.forks, RECOVERY_SECONDS, "the process roles are forked from")
            time.sleep(_LOADING_SECONDS)
            pid = scene.gateway.role_pids()[role]
            began = time.monotonic()
            os.kill(pid, number)
            scene.injected += 1
            await_true(lambda pid=pid: _replaced(scene, role, pid), RECOVERY_SECONDS, f"{role} replaced", 0.01)  # type: ignore[misc]
            if role == "data":
                scene.recover_accepting()
            else:
                await_true(scene.gateway.status, RECOVERY_SECONDS, "the control plane answers", 0.01)  # type: ignore[arg-type]
            scene.recoveries.append(time.monotonic() - began)
            time.sleep(scene.seconds / 2)
        scene.recover_forwarding()

    return inject


def _replaced(scene: Scene, role: str, pid: int) -> bool:
    return scene.gateway.role_pids().get(role, pid) != pid


def _graceful(scene: Scene) -> None:
    """SIGTERM under load: it must end by itself, and in time."""
    took = []
    for _ in range(2):
        began = time.monotonic()
        scene.gateway.stop()
        took.append(round(time.monotonic() - began, 2))
        scene.injected += 1
        scene.gateway.launch()
        scene.recover_accepting()
        scene.gateway.await_ready()
    scene.detail["stop_seconds"] = took
    scene.expect(max(took) <= _GRACEFUL_SECONDS, f"stopping took {max(took)} s")
    scene.recover_forwarding()


def _rolled(scene: Scene) -> None:
    """SIGUSR2 with two workers: one after the other is another process, and nobody is refused for long."""
    for _ in range(2):
        await_true(scene.gateway.forks, RECOVERY_SECONDS, "the process roles are forked from")
        time.sleep(_LOADING_SECONDS)
        before = {name: pid for name, pid in scene.gateway.role_pids().items() if name.startswith("data")}
        scene.expect(len(before) == 2, f"{len(before)} workers")
        began = time.monotonic()
        os.kill(scene.gateway.pid, signal.SIGUSR2)
        scene.injected += 1
        await_true(lambda before=before: all(_replaced(scene, *one) for one in before.items()), RECOVERY_SECONDS,  # type: ignore[misc]
                   "both workers are others")  # fmt: skip
        scene.recover_accepting()
        scene.recoveries.append(time.monotonic() - began)
        time.sleep(scene.seconds)
    scene.recover_forwarding()
    longest = scene.prober.report()["longest_without_acknowledgement_seconds"]
    scene.expect(longest <= _REFUSED_SECONDS, f"refused for {longest} s")


def _clock_stepped(seconds: float) -> Callable[[Scene], None]:
    def inject(scene: Scene) -> None:
        clock = ShiftedClock(scene.directory)
        clock.step(seconds)
        scene.injected += 1
        scene.recover_accepting()
        time.sleep(scene.seconds)
        clock.step(-seconds)
        scene.injected += 1
        scene.recover_accepting()
        time.sleep(scene.seconds)
        scene.recover_forwarding()

    return inject


def _no_descriptors(scene: Scene) -> None:
    """As few as are in use, so that neither a connection nor a file can be opened; later as many as before."""
    pid = scene.gateway.role_pids()["data"]
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    in_use = len(os.listdir(f"/proc/{pid}/fd"))
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (in_use, before[1]))
    scene.injected += 1
    clients = []
    for _ in range(20):
        with contextlib.suppress(OSError):
            clients.append(socket.create_connection(("127.0.0.1", scene.gateway.http_port), 1.0))
    time.sleep(scene.seconds)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    for client in clients:
        client.close()
    scene.recover_accepting()
    scene.expect(scene.gateway.role_pids().get("data") == pid, "the data plane did not outlive it")
    scene.recover_forwarding()


_STALL: Final = """
import ctypes, os, sys, time
libc, pid, seconds = ctypes.CDLL(None, use_errno=True), int(sys.argv[1]), float(sys.argv[2])
def trace(request):
    if libc.ptrace(request, pid, None, None):
        sys.exit(os.strerror(ctypes.get_errno()))
trace(0x4206)  # PTRACE_SEIZE
trace(0x4207)  # PTRACE_INTERRUPT: this thread alone
end = time.monotonic() + seconds
while time.monotonic() < end:
    try:
        _, status = os.waitpid(pid, 0x40000000 | os.WNOHANG)  # __WALL; its parent hears of its death after us
    except ChildProcessError:
        break
    if os.WIFSIGNALED(status):
        break
    time.sleep(0.005)
"""
"""Keeps the main thread of a process from running, all other threads run on (Linux, ptrace(2))."""


def _loop_stalled(scene: Scene) -> None:
    """Half a second passes; a stall without end is a restart."""
    pid = scene.gateway.role_pids()["data"]
    _stall(pid, 0.5)
    scene.injected += 1
    scene.recover_accepting()
    scene.expect(scene.gateway.role_pids().get("data") == pid, "half a second of stall cost a restart")
    await_true(scene.gateway.forks, RECOVERY_SECONDS, "the process roles are forked from")
    time.sleep(_LOADING_SECONDS)
    began = time.monotonic()
    tracer = subprocess.Popen([sys.executable, "-c", _STALL, str(pid), "60"])
    try:
        scene.injected += 1
        await_true(lambda: _replaced(scene, "data", pid), RECOVERY_SECONDS, "data replaced", 0.01)
        scene.recover_accepting()
        scene.recoveries.append(time.monotonic() - began)
    finally:
        tracer.kill()
        tracer.wait()
    scene.recover_forwarding()


def _thread_held(name: str) -> Callable[[Scene], None]:
    """One thread of the data plane is kept from running, all others run on: the status must say so within two seconds,
    and another process take over."""

    def inject(scene: Scene) -> None:
        await_true(scene.gateway.forks, RECOVERY_SECONDS, "the process roles are forked from")
        time.sleep(_LOADING_SECONDS)
        pid = scene.gateway.role_pids()["data"]
        thread = next(thread for thread, called in thread_names(pid).items() if called == name)
        began = time.monotonic()
        tracer = subprocess.Popen([sys.executable, "-c", _STALL, str(thread), "120"])
        try:
            scene.injected += 1
            told = await_true(lambda: _tells(scene, pid), RECOVERY_SECONDS, "the status tells of it", 0.01)
            await_true(lambda: _replaced(scene, "data", pid), RECOVERY_SECONDS, "data replaced", 0.01)
            scene.detail["restart_seconds"] = round(time.monotonic() - began, 2)
            scene.recover_accepting()
        finally:
            tracer.kill()
            tracer.wait()
        scene.detail["told_seconds"] = round(told, 2)
        scene.expect(told <= _TOLD_SECONDS, f"the status told of it after {told:.1f} s")
        scene.recoveries.append(time.monotonic() - began)
        scene.recover_forwarding()

    return inject


def _tells(scene: Scene, pid: int) -> bool:
    return bool(scene.gateway.status()["problem"]) or _replaced(scene, "data", pid)


def _stall(pid: int, seconds: float) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _STALL, str(pid), str(seconds)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise LoadTestError(f"a thread cannot be held (needs ptrace): {done.stderr.strip()}")


def _closed_segments_cut(scene: Scene) -> None:
    """Another program cuts each of two closed segments to nothing: the newest one, which the edge still reads labels
    out of, just after the next one began, and while history is asked for, which maps it. VictoriaMetrics is caught up
    with before, so that what was cut is what was delivered."""
    before = scene.gateway.metric("gateway_role_restarts")
    for _ in range(2):
        newest = _segments(scene)[-1:]
        await_true(partial(_another_after, scene, newest), RECOVERY_SECONDS, "a segment closed")
        await_true(lambda: scene.gateway.pending() <= scene.load.rate, RECOVERY_SECONDS, "caught up")
        with ThreadPoolExecutor(1) as asking:
            asked = asking.submit(scene.gateway.json, _HISTORY)
            os.truncate(_segments(scene)[-2], 0)
            # An answer or a refusal: what it may not do is end the process that reads.
            with contextlib.suppress(LoadTestError, OSError):
                asked.result(RECOVERY_SECONDS)
        scene.injected += 1
    time.sleep(scene.seconds)
    scene.recover_accepting()
    scene.recover_forwarding()
    scene.detail["restarts"] = scene.gateway.metric("gateway_role_restarts") - before
    if scene.detail["restarts"]:
        scene.failures.append("a role ended")


def _another_after(scene: Scene, newest: list[Path]) -> bool:
    return _segments(scene)[-1:] > newest


def _segments(scene: Scene) -> list[Path]:
    return sorted(scene.gateway.data_dir.glob("log/edge-0/*.seg"))


FAULTS: Final[dict[str, Fault]] = {
    # A log must hold what is kept to be sent again, here of 5 s instead of 30 and of two looks at the target.
    "log-full": Fault("log full while VictoriaMetrics is down", _log_full,
                      ("log.max_bytes=16MiB", "victoriametrics.replay_seconds=5s")),
    "disk-full": Fault("no space left on the disk, under load", _disk_full, small_disk=256 * 2**20),
    "all-killed": Fault("gateway: kill -9 of every process", _all_killed),
    "supervisor-killed": Fault("supervisor alone: kill -9, under load", _supervisor_killed),
    "data-killed": Fault("data plane: kill -9, under load", signalled("data", signal.SIGKILL, 3)),
    "data-stopped": Fault("data plane stands still (SIGSTOP), under load", signalled("data", signal.SIGSTOP, 2)),
    "control-killed": Fault("control plane: kill -9, under load", signalled("control", signal.SIGKILL, 2)),
    "control-stopped": Fault("control plane stands still (SIGSTOP), under load",
                             signalled("control", signal.SIGSTOP, 2)),
    "scorer-held": Fault("scorer's thread hangs, under load", _thread_held("scorer")),
    "committer-held": Fault("log writer's thread hangs, under load", _thread_held("committer")),
    "restart": Fault("graceful stop and start, under load", _graceful),
    "rolling": Fault("rolling restart of one worker after another", _rolled, ("server.workers=2",)),
    "clock-ahead": Fault("clock steps an hour ahead and back", _clock_stepped(3600.0),
                         environment=ShiftedClock.prepare),
    "clock-behind": Fault("clock steps an hour back and ahead", _clock_stepped(-3600.0), ("ingest.max_future=2h",),
                          environment=ShiftedClock.prepare),
    "descriptors": Fault("no file descriptor left", _no_descriptors),
    "loop-stall": Fault("event loop stalls (its thread is held)", _loop_stalled),
    "log-cut": Fault("closed segments cut to nothing while they are read", _closed_segments_cut,
                     ("log.segment_bytes=1MiB", "log.max_bytes=32MiB")),
}  # fmt: skip
