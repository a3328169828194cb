"""Roles that die, stop, hang or compute: what the supervisor makes of each, with real processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from gateway import fork_server, processes
from gateway.fork_server import SERVER_NAME, ForkServer
from gateway.processes import switches_of, thread_switches
from gateway.supervisor import EXIT_CONFIG, Role, Supervisor
from tests.e2e.program import Gateway

pytestmark = pytest.mark.real

BEAT = """
import os, sys, time, signal
pipe = int(os.environ["GATEWAY_SUPERVISOR_FD"])
os.write(pipe, b"ready\\n")
while True:
    time.sleep(0.05)
    os.write(pipe, LINE)
"""


def role(code: str, line: str = 'b"alive\\n"') -> Role:
    return Role("test", [sys.executable, "-c", code.replace("LINE", line)], b"")


async def until(condition, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def running(supervised: Role, **settings: Any) -> tuple[Supervisor, asyncio.Task[int]]:
    supervisor = Supervisor([supervised], **settings)
    task = asyncio.create_task(supervisor.run())
    await until(supervised.ready.is_set)
    return supervisor, task


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_dead_or_stopped_role_is_started_again(signal_number: int) -> None:
    supervised = role(BEAT)
    supervisor, task = await running(supervised)
    first = supervised.pid
    os.kill(first, signal_number)
    await until(lambda: supervised.pid != first)
    assert supervised.restarts == 1
    assert not psutil.pid_exists(first)
    supervisor.stop()
    assert await asyncio.wait_for(task, 60) == 0


async def test_a_role_that_sleeps_is_stuck_and_one_that_computes_is_not(tmp_path: Path) -> None:
    sleeps = role(BEAT.split("while")[0] + "time.sleep(60)")
    supervisor, task = await running(sleeps, stuck_after=0.4)
    first = sleeps.pid
    await until(lambda: sleeps.pid != first)
    supervisor.stop()
    await task
    done = tmp_path / "computed"
    busy = f"e = time.time() + 2\nwhile time.time() < e: hash(bytes(100_000))\nopen({str(done)!r}, 'w').close()\n"
    computes = role(
        BEAT.split("while")[0]
        + f"import threading\nt = threading.Thread(target=exec, args=({busy!r}, globals()))\nt.start(); t.join()\n"
        + BEAT
    )
    supervisor, task = await running(computes, stuck_after=0.4)
    first = computes.pid
    await until(done.exists)
    assert computes.pid == first
    assert computes.restarts == 0
    supervisor.stop()
    await task


async def test_a_main_thread_that_only_computes_is_stuck_by_its_own_processor_time() -> None:
    spins = role(BEAT.split("while")[0] + "while True: pass")
    spins.stall_after = 0.3
    supervisor, task = await running(spins, stuck_after=0.1, busy_after=600.0)
    first = spins.pid
    await until(lambda: spins.pid != first)
    supervisor.stop()
    await task


def forking(tmp_path: Path, then: str = BEAT, load: str = "False") -> tuple[Role, ForkServer]:
    """A role whose processes, forked or started, note their numbers in files: loaded-…, forked-…, started-…"""
    note = f"import os, pathlib, sys\nplace = pathlib.Path({str(tmp_path)!r})\n"
    note += "note = lambda what: (place / f'{what}-{os.getpid()}').touch()\n"
    then = then.replace("LINE", 'b"alive\\n"')
    server = (
        f"{note}note('loaded')\nimport time\nfrom gateway.fork_server import serve_forks\n"
        f"name = serve_forks(lambda name: {load})\n"
        "if name is None: sys.exit()\nassert sys.stdin.read() == 'the configuration of ' + name\n"
        f"note('forked')\n{then}"
    )
    supervised = Role("test", [sys.executable, "-c", f"{note}note('started')\n{then}"], b"the configuration of test")
    return supervised, ForkServer([sys.executable, "-c", server, "role", SERVER_NAME])


def noted(tmp_path: Path, what: str) -> set[int]:
    return {int(p.name.rpartition("-")[2]) for p in tmp_path.glob(f"{what}-*")}


async def test_roles_are_forks_of_one_loaded_process_and_end_with_the_program(tmp_path: Path) -> None:
    supervised, server = forking(tmp_path)
    supervisor, task = await running(supervised, fork_server=server)
    for turn, number in enumerate((signal.SIGKILL, signal.SIGSTOP), 1):
        pid = supervised.pid
        process = psutil.Process(pid)
        assert process.ppid() == os.getpid()
        assert [word for word in process.cmdline() if word][-2:] == ["role", "test"]
        assert os.getsid(pid) == pid
        os.kill(pid, number)
        await until(lambda: supervised.restarts == turn and supervised.pid != pid and supervised.ready.is_set())  # noqa: B023  # awaited in the turn
        assert not psutil.pid_exists(pid)
    await until(lambda: len(noted(tmp_path, "forked")) == 3)
    assert len(noted(tmp_path, "loaded")) == 1
    assert noted(tmp_path, "started") == set()
    supervisor.stop()
    assert await asyncio.wait_for(task, 60) == 0
    assert not [pid for what in ("loaded", "forked") for pid in noted(tmp_path, what) if psutil.pid_exists(pid)]


async def test_a_fork_server_that_died_is_replaced_and_its_roles_live_on(tmp_path: Path) -> None:
    supervised, server = forking(tmp_path)
    supervisor, task = await running(supervised, fork_server=server)
    first = supervised.pid
    (loaded,) = noted(tmp_path, "loaded")
    os.kill(loaded, signal.SIGKILL)
    await asyncio.sleep(0.2)
    assert supervised.pid == first
    os.kill(first, signal.SIGKILL)
    await until(lambda: supervised.restarts == 1 and supervised.pid != first)
    await until(lambda: supervised.pid in noted(tmp_path, "forked") | noted(tmp_path, "started"))
    supervisor.stop()
    assert await asyncio.wait_for(task, 60) == 0


async def test_a_fork_server_that_stands_still_keeps_no_role_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fork_server, "_FORK_SECONDS", 0.2)
    supervised, server = forking(tmp_path)
    supervisor, task = await running(supervised, fork_server=server)
    first, (loaded,) = supervised.pid, noted(tmp_path, "loaded")
    os.kill(loaded, signal.SIGSTOP)
    os.kill(first, signal.SIGKILL)
    await until(lambda: supervised.pid != first and supervised.ready.is_set())
    assert not psutil.pid_exists(loaded)
    supervisor.stop()
    assert await asyncio.wait_for(task, 60) == 0


async def test_without_a_fork_server_that_works_roles_are_started_from_their_command_line(tmp_path: Path) -> None:
    supervised, _ = forking(tmp_path)
    server = ForkServer([sys.executable, "-c", "raise SystemExit(3)", SERVER_NAME])
    supervisor, task = await running(supervised, fork_server=server)
    assert noted(tmp_path, "started") == {supervised.pid}
    supervisor.stop()
    assert await asyncio.wait_for(task, 60) == 0


async def test_the_first_role_does_not_wait_for_what_the_others_need(tmp_path: Path) -> None:
    supervised, server = forking(
        tmp_path, load="note('needed' if name else 'rest') or (name is None and time.sleep(9e9))"
    )
    supervisor, task = await running(supervised, fork_server=server)
    await until(lambda: noted(tmp_path, "rest") == noted(tmp_path, "loaded"))
    assert noted(tmp_path, "needed") == noted(tmp_path, "loaded")
    assert noted(tmp_path, "started") == set()
    supervisor.stop()
    assert await asyncio.wait_for(task, 60) == 0


async def test_a_fork_that_can_never_start_ends_the_program(tmp_path: Path) -> None:
    supervised, server = forking(tmp_path, then=f"sys.exit({EXIT_CONFIG})")
    supervisor = Supervisor([supervised], fork_server=server)
    assert await asyncio.wait_for(supervisor.run(), 60) == EXIT_CONFIG
    assert supervised.restarts == 0


def test_a_fork_whose_supervisor_is_gone_ends_and_keeps_no_listener() -> None:
    nobody = 2**22 + 1  # beyond the largest process number of Linux
    code = (
        "from gateway import fork_server\nfork_server._ADOPTION_SECONDS = 1e9\n"
        f"fork_server._become('data', {{}}, {nobody}, {nobody}, 0)\nprint('became a role')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (ended.returncode, ended.stdout) == (1, "")


async def test_a_restart_is_given_as_long_to_become_ready_as_the_first_start(tmp_path: Path) -> None:
    mark = tmp_path / "started"
    slow_second = (
        f"import pathlib, time\nmark = pathlib.Path({str(mark)!r})\n"
        "if mark.exists():\n    time.sleep(1.5)\nelse:\n    mark.touch()\n" + BEAT
    )
    supervised = role(slow_second)
    supervisor, task = await running(supervised, stuck_after=0.3, busy_after=0.6)
    first = supervised.pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: supervised.pid != first)
    second = supervised.pid
    await until(supervised.ready.is_set)
    assert supervised.pid == second, "it was given its time"
    assert supervised.restarts == 1
    supervisor.stop()
    await task


async def test_a_role_without_progress_is_given_its_time_and_then_started_again() -> None:
    supervised = role(BEAT, 'b"idle\\n"')
    supervisor, task = await running(supervised, no_progress_after=0.5)
    await until(lambda: supervised.restarts >= 1)
    supervisor.stop()
    await task


WAITING = """
import threading
hold = threading.Lock()
hold.acquire()
waits = threading.Thread(target=hold.acquire, daemon=True)
waits.start()
def turn():
    while True:
        time.sleep(0.05)
turns = threading.Thread(target=turn, daemon=True)
turns.start()
"""


@pytest.mark.parametrize(("thread", "ends"), [("waits", True), ("turns", False)])
async def test_a_role_that_waits_for_a_thread_that_never_runs_is_started_again_long_before_its_time(
    thread: str, ends: bool
) -> None:
    supervised = role(BEAT.replace("while", WAITING + "while"), f'b"idle %d\\n" % {thread}.native_id')
    supervisor, task = await running(supervised, no_progress_after=600.0)
    if ends:
        await until(lambda: supervised.restarts >= 1)
    else:
        await asyncio.sleep(2.0)
        assert supervised.restarts == 0, "the thread runs, now and then"
    supervisor.stop()
    await task


async def test_a_thread_that_a_new_process_does_not_help_is_given_longer_each_time(tmp_path: Path) -> None:
    done = tmp_path / "done"
    needs = f"hold = threading.Lock(); hold.acquire(); hold.acquire(timeout=1.5); open({str(done)!r}, 'w').close()"
    starts = f"import threading\nslow = threading.Thread(target=exec, args=({needs!r}, globals()), daemon=True)\n"
    supervised = role(BEAT.replace("while", starts + "slow.start()\nwhile"), 'b"idle %d\\n" % slow.native_id')
    supervisor, task = await running(supervised, blocked_after=0.2, no_progress_after=600.0)
    await until(done.exists)
    supervisor.stop()
    await task


async def test_what_was_given_longer_is_not_any_more_once_it_ran_for_a_while() -> None:
    supervised = role(BEAT)
    supervised.patience = 64.0
    supervisor, task = await running(supervised, settled_after=0.1)
    await until(lambda: supervised.patience == 1.0)
    supervisor.stop()
    await task


@pytest.mark.skipif(not processes._FILE_CALLS, reason="the machine's system calls are not known")
def test_a_thread_that_sleeps_within_a_call_for_a_file_waits_for_a_disk(tmp_path: Path) -> None:
    """As under FUSE or CephFS, which let it sleep where a local disk is waited for without; here a pipe does it."""
    pipe, states = tmp_path / "pipe", Path("/proc/self/task")
    os.mkfifo(pipe)
    opens = threading.Thread(target=lambda: os.close(os.open(pipe, os.O_RDONLY)))
    opens.start()
    thread, deadline = str(opens.native_id), time.monotonic() + 60.0
    while ") S " not in (states / thread / "stat").read_text():
        assert time.monotonic() < deadline
    try:
        assert thread_switches(os.getpid(), int(thread)) == -1
        assert "D" in processes._thread_states(os.getpid())
    finally:
        os.close(os.open(pipe, os.O_WRONLY))
        opens.join()


COUNTS = "voluntary_ctxt_switches:\t7\nnonvoluntary_ctxt_switches:\t2\n"


@pytest.mark.parametrize(
    ("status", "switches"),
    [
        ("State:\tS (sleeping)\n" + COUNTS, 9),
        ("State:\tR (running)\n" + COUNTS, -1),
        ("State:\tD (disk sleep)\n" + COUNTS, -1),
        ("State:\tS (sleeping)\n", -1),
    ],
)
def test_only_a_thread_that_sleeps_where_switches_are_counted_can_count_as_one_that_never_runs(
    status: str, switches: int
) -> None:
    assert switches_of("Name:\tscorer\n" + status) == switches


@pytest.mark.parametrize("rolls", [False, True])
async def test_a_role_that_was_told_to_end_is_not_killed_for_its_silence(tmp_path: Path, rolls: bool) -> None:
    mark = tmp_path / "drained"
    drain = f"def drain(*_):\n    time.sleep(1.5); open({str(mark)!r}, 'w').close(); os._exit(0)\n"
    # Before it says that it is ready: from then on it may be told to end.
    supervised = role(BEAT.replace("os.write", drain + "signal.signal(signal.SIGTERM, drain)\nos.write", 1))
    supervised.rolls = rolls
    supervisor, task = await running(supervised, stuck_after=0.2)
    first = supervised.pid
    if rolls:
        supervisor.roll()
        await until(lambda: supervised.pid != first)
    else:
        supervisor.stop()
        await task
    assert mark.exists()
    supervisor.stop()
    await task


async def test_restarts_wait_longer_each_time_and_an_impossible_configuration_ends_the_program() -> None:
    began = asyncio.get_running_loop().time()
    supervised = role("import sys; sys.exit(1)")
    supervisor = Supervisor([supervised], backoff_seconds=(0.05, 0.2, 0.4))
    task = asyncio.create_task(supervisor.run())
    await until(lambda: supervised.restarts >= 3)
    assert asyncio.get_running_loop().time() - began >= 0.25
    supervisor.stop()
    await task
    refused = Supervisor([role(f"import sys; sys.exit({EXIT_CONFIG})"), role(BEAT)])
    assert await asyncio.wait_for(refused.run(), 60) == EXIT_CONFIG


def test_the_program_takes_up_again_after_a_role_was_stopped_and_its_children_end_with_it(tmp_path: Path) -> None:
    with Gateway(tmp_path) as gateway:
        for name in ("data", "control"):
            stopped = gateway.children()[name].pid
            os.kill(stopped, signal.SIGSTOP)
            gateway.until(lambda stopped=stopped: not psutil.pid_exists(stopped))
            gateway.until(gateway.is_ready)
        text = gateway.get("/metrics").decode()
        assert 'gateway_role_restarts{plane="data"} 1.0' in text
        assert 'gateway_role_restarts{plane="control"} 1.0' in text
        gateway.kill_all()
