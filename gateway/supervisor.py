"""Keeps the roles of the program alive: one child process each, started again when it dies or stops answering.

The life of a role:

    starting ──ready──▶ running ──dies or is stuck──▶ backing off ──▶ starting
        │                  │
        │ exits with       └─stop asked──▶ stopping ──gone or killed──▶ stopped
        └ EXIT_CONFIG, or EXIT_ADDRESS_NOT_FREE at first ──▶ failed: the program ends with the child's own message

A child says it is ready, and then that it makes progress, by writing lines to a pipe. Silence is the same as death:
after `stuck_after` seconds if the child is stopped or sleeps; once its main thread, which owes the lines, has computed
for `Role.stall_after` seconds of processor time instead; after `busy_after` if other threads compute, or it waits for
a processor or a disk, as a crowded machine may keep it from its pipe. A child whose loop turns while its pipeline
stands still says so, and which thread it waits for: one that was not on a processor even once for `blocked_after`
seconds will not go on, everything else is given `no_progress_after` seconds. Who was told to end owes no lines: only
`grace` bounds it. A child asks the kernel to be killed when the supervisor dies (PR_SET_PDEATHSIG), so that no orphan
keeps the ports. Linux only, as the whole of this file is.

A rolling restart ends one role after another in an orderly way; the others serve meanwhile.

Most of a start is loading code, so roles are forks of a process that has loaded it, see `gateway.fork_server`; where
that fails, and without one, they are started from their command line.

A role's listening socket is the supervisor's: while the role is away, connections are made and wait for the next
process instead of being refused. It is let go when the program is told to end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from gateway.fork_server import ForkedProcess, ForkRequest, ForkServer, ForkServerLost, end_with_parent
from gateway.owned_tasks import end_tasks
from gateway.processes import ProcessorTime, computes_or_waits, stands_still, thread_switches
from gateway.role_lines import HEARTBEAT_SECONDS, READY_LINE

log = structlog.get_logger(__name__)

EXIT_CONFIG = 78
"""Exit status of a child that can never start as configured (sysexits.h EX_CONFIG)."""
EXIT_ADDRESS_NOT_FREE = 75
"""Exit status of a child for errors.AddressNotFree (sysexits.h EX_TEMPFAIL). A program that has never been ready ends
with it, for a person to see; a role that was ready before is started again as after any other end."""
_CROWDED = 10.0
"""So many times longer a role is waited for that wants to go on and is not given a processor or a disk."""
_HUNG_AGAIN = 4.0
"""So many times longer a thread may hang each time that a new process did not help: what it waits for is then most
likely no fault of the process, and who is killed in the midst of its work each time never gets it done."""
_SERVED_WAIT = 1.0
_MANY_FAILURES = 20


@dataclass(slots=True)
class Role:
    """One child: its name, its command line, what it reads on standard input."""

    name: str
    command: Sequence[str]
    standard_input: bytes
    listener: socket.socket | None = None
    """Where it accepts connections, bound and listening."""
    stall_after: float = 1.25
    """Seconds of processor time that the main thread may compute without a line."""
    rolls: bool = False
    """Whether `Supervisor.roll` starts it again."""
    restarts: int = 0
    pid: int = 0
    patience: float = 1.0
    """So many times longer than `blocked_after` a thread may hang; more after each kill for that."""
    ending: bool = False
    """Whether the present process was told to end."""
    rolling: bool = False
    was_ready: bool = False
    """Whether any process of it ever was."""
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    ready: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(slots=True)
class _Child:
    """A role's process and the pipe it says its lines on."""

    process: asyncio.subprocess.Process | ForkedProcess
    pipe: asyncio.StreamReader
    transport: asyncio.ReadTransport

    async def bury(self) -> None:
        """End it if it lives, and let go of everything."""
        self.transport.close()
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.kill()
        await self.process.wait()


class Supervisor:
    """Runs roles until stopped.

    backoff_seconds: wait before the n-th restart in a row, the last one repeating; at most a second before the first
    twenty of a role that had become ready. A role that ran for `settled_after` seconds starts at the beginning again.
    blocked_after: seconds that a thread which the role waits for may sleep without running once; four times as long
    after each kill for that, up to no_progress_after, until none did for `settled_after` seconds.
    fork_server: what roles are forked from; None: each is started from its command line. Ended with the roles.
    """

    def __init__(
        self,
        roles: Sequence[Role],
        *,
        stuck_after: float = 0.75,
        busy_after: float = 10.0,
        blocked_after: float = 0.5,
        no_progress_after: float = 15.0,
        start_within: float = 120.0,
        grace: float = 10.0,
        backoff_seconds: Sequence[float] = (0.1, 0.5, 1.0, 2.0, 5.0),
        settled_after: float = 30.0,
        fork_server: ForkServer | None = None,
        on_ready: Callable[[], None] | None = None,
    ) -> None:
        self._roles = list(roles)
        self._stuck_after = stuck_after
        self._busy_after = busy_after
        self._blocked_after = blocked_after
        self._no_progress_after = no_progress_after
        self._start_within = start_within
        self._grace = grace
        self._backoff = backoff_seconds
        self._settled_after = settled_after
        self._on_ready = on_ready
        self._fork_server = fork_server
        self._rolling: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._exit_status = 0

    def stop(self) -> None:
        """Ask for an orderly end; may be called more than once."""
        self._stopping.set()
        self._let_go()

    def _let_go(self) -> None:
        for role in self._roles:
            if role.listener is not None:
                role.listener.close()
                role.listener = None

    def reload(self) -> None:
        """Pass a request to read the configuration again on to the roles that are ready."""
        for role in self._roles:
            if role.ready.is_set() and role.pid:
                with contextlib.suppress(ProcessLookupError):  # it ended just now and will read it at its start
                    os.kill(role.pid, signal.SIGHUP)

    def roll(self) -> None:
        """Start the roles that roll again, one after another: the next only when the one before is ready. While it is
        under way, further calls change nothing."""
        if self._rolling is None or self._rolling.done():
            self._rolling = asyncio.create_task(self._roll(), name="roll")

    async def _roll(self) -> None:
        for role in self._roles:
            if not role.rolls or self._stopping.is_set():
                continue
            await role.ready.wait()
            log.info("starting a role again, as asked", role=role.name)
            role.rolling = True
            role.ready.clear()
            role.ended.clear()
            role.ending = True
            pid = role.pid
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            try:
                async with asyncio.timeout(self._grace):
                    await role.ended.wait()
            except TimeoutError:
                log.error("role did not stop in time, killing it", role=role.name, grace_seconds=self._grace)
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await role.ready.wait()

    async def run(self) -> int:
        """Returns the program's exit status once every role has ended."""
        tasks = [asyncio.create_task(self._keep(role), name=f"keep-{role.name}") for role in self._roles]
        announce = asyncio.create_task(self._announce(), name="announce")
        try:
            await asyncio.gather(*tasks)
        finally:
            await end_tasks(*tasks, announce, self._rolling)
            if self._fork_server is not None:
                await self._fork_server.close()
            self._let_go()
        return self._exit_status

    async def _announce(self) -> None:
        await asyncio.gather(*(role.ready.wait() for role in self._roles))
        if self._on_ready is not None:
            self._on_ready()

    async def _keep(self, role: Role) -> None:
        failures = 0
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            began = loop.time()
            status = await self._run_once(role)
            if self._stopping.is_set():
                return
            role.was_ready = role.was_ready or role.ready.is_set()
            if status == EXIT_CONFIG or (status == EXIT_ADDRESS_NOT_FREE and not role.was_ready):
                self._exit_status = status
                self._stopping.set()
                return
            if role.rolling:
                role.rolling, failures = False, 0
                continue
            served = role.ready.is_set()
            role.ready.clear()
            failures = 0 if loop.time() - began > self._settled_after else failures
            wait = self._wait_before(failures, served)
            failures += 1
            role.restarts += 1
            log.error("role ended, starting it again", role=role.name, status=status, wait_seconds=wait)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), wait)

    def _wait_before(self, failures: int, served: bool) -> float:
        """Seconds before the restart after so many others in a row. What had become ready is missed while it is away,
        and is not waited with for longer than a second, unless it fails again and again."""
        wait = self._backoff[min(failures, len(self._backoff) - 1)]
        return min(wait, _SERVED_WAIT) if served and failures < _MANY_FAILURES else wait

    async def _launch(self, role: Role) -> _Child:
        read_end, write_end = os.pipe()
        passed = {"GATEWAY_SUPERVISOR_FD": write_end}
        if role.listener is not None:
            passed["GATEWAY_LISTENER_FD"] = role.listener.fileno()
        try:
            process = await self._forked(role, passed) or await self._executed(role, passed)
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        pipe = asyncio.StreamReader()
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(pipe), os.fdopen(read_end, "rb", buffering=0)
        )
        return _Child(process, pipe, transport)

    async def _forked(self, role: Role, passed: Mapping[str, int]) -> ForkedProcess | None:
        if self._fork_server is None:
            return None
        wanted = ForkRequest(role.name, {"GATEWAY_RESTARTS": str(role.restarts)}, role.standard_input, passed)
        try:
            return await self._fork_server.fork(wanted, self._start_within)
        except ForkServerLost as error:
            log.error("the process that roles are forked from failed; this one is started anew", error=str(error))
            return None

    async def _executed(self, role: Role, passed: Mapping[str, int]) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *role.command,
            stdin=asyncio.subprocess.PIPE,
            env=os.environ | {"GATEWAY_RESTARTS": str(role.restarts)} | {k: str(v) for k, v in passed.items()},
            pass_fds=tuple(passed.values()),
            preexec_fn=end_with_parent,
            start_new_session=True,  # the terminal's ^C reaches the supervisor alone
        )
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            process.stdin.write(role.standard_input)
            await process.stdin.drain()
            process.stdin.close()
        return process

    async def _run_once(self, role: Role) -> int:
        child = await self._launch(role)
        process = child.process
        role.pid, role.ending = process.pid, False
        watch = asyncio.create_task(self._watch(role, process, child.pipe), name=f"watch-{role.name}")
        stop = asyncio.create_task(self._stopping.wait(), name=f"stop-{role.name}")
        ended = asyncio.create_task(process.wait(), name=f"wait-{role.name}")
        try:
            await asyncio.wait({stop, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                role.ending = True
                process.terminate()
                done, _ = await asyncio.wait({ended}, timeout=self._grace)
                if not done:
                    log.error("role did not stop in time, killing it", role=role.name, grace_seconds=self._grace)
                    process.kill()
            return await ended
        finally:
            await end_tasks(watch, stop)
            await child.bury()
            role.ended.set()

    async def _watch(
        self, role: Role, process: asyncio.subprocess.Process | ForkedProcess, pipe: asyncio.StreamReader
    ) -> None:
        """Kill a role that does not become ready, falls silent, or makes no progress."""
        loop = asyncio.get_running_loop()
        last_line = last_progress = hung_at = loop.time()
        used, started, silences = ProcessorTime.of(process.pid), False, 0
        waits_for, switches, blocked_since = 0, 0, 0.0
        while True:
            # After a silence it is looked again soon: if this process or the machine stood still, the line is there.
            patience = (HEARTBEAT_SECONDS if silences else self._stuck_after) if started else self._start_within
            asked = loop.time()
            try:
                async with asyncio.timeout(patience):
                    line = await pipe.readline()
            except TimeoutError:
                if role.ending:
                    return
                silent = loop.time() - last_line
                if loop.time() - asked - patience < HEARTBEAT_SECONDS:  # else we were kept waiting ourselves
                    silences += 1
                if started and silent < self._busy_after and (silences < 2 or not self._is_stuck(role, used, silent)):
                    continue
                if not started and self._still_starts(role, silent):
                    continue
                log.error("role is stuck, killing it", role=role.name, silent_seconds=round(silent, 2))
                process.kill()
                return
            if not line:
                return
            last_line, silences = loop.time(), 0
            used = ProcessorTime.of(process.pid)
            if line == READY_LINE:
                started, hung_at = True, last_line
                role.ready.set()
            if last_line - hung_at > self._settled_after:
                role.patience = 1.0
            word, *thread = line.split()
            if word != b"idle":
                last_progress, waits_for = last_line, 0
                continue
            stood_still = last_line - last_progress
            blocker = int(thread[0]) if thread else 0
            if waits_for != blocker or switches != thread_switches(process.pid, waits_for):
                waits_for, blocked_since = blocker, last_line
                switches = thread_switches(process.pid, waits_for)
            hangs = last_line - blocked_since if waits_for and switches >= 0 else 0.0
            hung_at = last_line if hangs > self._blocked_after else hung_at
            blocked = hangs > min(self._blocked_after * role.patience, self._no_progress_after)
            if not role.ending and (blocked or self._makes_no_progress(role, stood_still)):
                role.patience *= _HUNG_AGAIN if blocked else 1.0
                log.error("role makes no progress, killing it", role=role.name, seconds=round(stood_still, 2))
                process.kill()
                return

    def _still_starts(self, role: Role, silent: float) -> bool:
        """Whether a role that is not ready in time is only kept from it: killing it would make it begin again. It gets
        as much processor time as it was given time, and ten times as long."""
        return (
            silent < _CROWDED * self._start_within
            and ProcessorTime.of(role.pid).all < self._start_within
            and computes_or_waits(role.pid)
        )

    def _makes_no_progress(self, role: Role, seconds: float) -> bool:
        """Whether a pipeline stands still by itself, rather than for want of a processor or a disk."""
        if seconds <= self._no_progress_after:
            return False
        return seconds > _CROWDED * self._no_progress_after or not computes_or_waits(role.pid)

    def _is_stuck(self, role: Role, used: ProcessorTime, silent: float) -> bool:
        return stands_still(role.pid, used, silent) or (ProcessorTime.of(role.pid).main - used.main >= role.stall_after)


def python_command(*arguments: str) -> list[str]:
    """Command line that starts this program's own interpreter with a role."""
    # -P: a folder named `gateway` in the working directory is not ours.
    return [sys.executable, "-P", "-m", "gateway", *arguments]
