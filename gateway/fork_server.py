"""A process that has the roles' code loaded, and becomes roles by forks; one for all, so that it is in memory once.

Most of a start is loading code, and most of what a process holds before its first request is that code. A fork of a
process that has loaded it starts at once and shares its memory, so that roles cost what they write, and a role that
ended is back without a spare of its own behind it.

    supervisor ──── name, configuration, pipe ────▶ fork server ──fork──▶ (gone at once) ──fork──▶ role
        └──────────────────────── becomes its parent, learns its number ◀───────────────────────────┘

The supervisor is a subreaper (PR_SET_CHILD_SUBREAPER, prctl(2)), so that what the fork server leaves behind becomes
its own child, which it waits for and which ends with it. The server has one thread, opens nothing and logs nothing: a
fork takes along one thread of many, and locks as they are. Linux only.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SERVER_NAME: Final = "fork-server"
"""Its place in the command line; a role of a longer name cannot be shown there."""
_SOCKET_VARIABLE: Final = "GATEWAY_FORK_SERVER_FD"
_LARGEST_REQUEST: Final = 65_536
_MOST_DESCRIPTORS: Final = 8
_ADOPTION_SECONDS: Final = 10.0
_FORK_SECONDS: Final = 10.0
"""A fork takes milliseconds once everything is loaded; one that stands still must not keep a role away for longer."""
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36


class ForkServerLost(Exception):
    """It ended or does not answer; another one is started for the next fork."""


@dataclass(frozen=True, slots=True)
class ForkRequest:
    """The role that a fork is to become."""

    name: str
    environment: Mapping[str, str]
    """Beside the server's own."""
    standard_input: bytes
    descriptors: Mapping[str, int]
    """What stays open in it, by the variable that is to tell under which number it does there."""


class ForkedProcess:
    """A role that was forked: a child of this process, though it did not start it."""

    def __init__(self, pid: int) -> None:
        """Raises OSError."""
        self.pid = pid
        self.returncode: int | None = None
        """As subprocess has it; None while it lives."""
        self._descriptor = os.pidfd_open(pid)

    def send_signal(self, number: signal.Signals) -> None:
        """Raises ProcessLookupError once it has ended."""
        if self.returncode is not None:
            raise ProcessLookupError(self.pid)
        with contextlib.suppress(ProcessLookupError):  # dead and not waited for yet, where subprocess is silent too
            signal.pidfd_send_signal(self._descriptor, number)

    def terminate(self) -> None:
        """SIGTERM; see send_signal."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL; see send_signal."""
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """The exit status, negative for a signal."""
        if self.returncode is None:
            await _readable(self._descriptor)
        return self._reap()

    def _reap(self) -> int:
        """It has ended. Another waiter may have been faster."""
        if self.returncode is None:
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self._descriptor)
        return self.returncode


async def _readable(descriptor: int) -> None:
    """Wait for a descriptor of our own copy, so that several may wait for one."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()
    copied = os.dup(descriptor)
    try:
        loop.add_reader(copied, _settle, ready)
        await ready
    finally:
        loop.remove_reader(copied)
        os.close(copied)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


class ForkServer:
    """The supervisor's side. command: starts the process, `serve_forks` in it; its last word is SERVER_NAME."""

    def __init__(self, command: Sequence[str]) -> None:
        assert command[-1] == SERVER_NAME
        self._command = command
        self._process: asyncio.subprocess.Process | None = None
        self._socket: socket.socket | None = None
        self._turn = asyncio.Lock()
        self._forked: set[str] = set()
        """Roles that the present process has become: it has loaded what they need."""

    async def fork(self, wanted: ForkRequest, within: float) -> ForkedProcess:
        """A process that becomes the role. Raises ForkServerLost, also after `within` seconds."""
        async with self._turn:
            try:
                async with asyncio.timeout(within):
                    return await self._fork(wanted)
            except (OSError, TimeoutError, ValueError) as error:
                await self.close()
                raise ForkServerLost(f"{type(error).__name__}: {error}") from error

    async def _fork(self, wanted: ForkRequest) -> ForkedProcess:
        if self._process is None or self._process.returncode is not None or self._socket is None:
            await self.close()
            await self._start()
        assert self._socket is not None
        request = json.dumps(
            {
                "name": wanted.name,
                "environment": dict(wanted.environment),
                "descriptors": list(wanted.descriptors),
                "supervisor": os.getpid(),
            }
        ).encode()
        given = os.memfd_create("role-configuration", os.MFD_CLOEXEC)
        try:
            with os.fdopen(os.dup(given), "wb") as file:
                file.write(wanted.standard_input)
            os.lseek(given, 0, os.SEEK_SET)
            socket.send_fds(self._socket, [request], [given, *wanted.descriptors.values()])
        finally:
            os.close(given)
        async with asyncio.timeout(_FORK_SECONDS if wanted.name in self._forked else None):
            answer = await asyncio.get_running_loop().sock_recv(self._socket, _LARGEST_REQUEST)
        forked = ForkedProcess(int(answer))
        self._forked.add(wanted.name)
        return forked

    async def _start(self) -> None:
        if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        try:
            # One thread for linear algebra: a fork would not take the others along, and nothing here needs them.
            environment = {"OPENBLAS_NUM_THREADS": "1", **os.environ, _SOCKET_VARIABLE: str(theirs.fileno())}
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=asyncio.subprocess.DEVNULL, env=environment, pass_fds=(theirs.fileno(),),
                preexec_fn=end_with_parent, start_new_session=True,
            )  # fmt: skip
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        self._socket = ours

    async def close(self) -> None:
        """End it; the roles stay. Idempotent."""
        self._forked.clear()
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            self._process = None


def end_with_parent() -> None:
    """Called in a child: SIGKILL to it when its parent dies."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def serve_forks(load: Callable[[str | None], bool]) -> str | None:
    """The server's side: returns in each fork, with the name of the role that it is to become; None at the end.

    load: imports what the role of this name needs, or with None what all need; whether there was anything to import.
    The first role does not wait for what only others need: that is imported when it has been forked.
    """
    requests = socket.socket(fileno=int(os.environ.pop(_SOCKET_VARIABLE)))
    os.set_inheritable(requests.fileno(), False)
    # What is loaded stays: looking for garbage meanwhile takes a sixth of the time, and a collector that walked over it
    # in a role would write to every page of it.
    gc.disable()
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, _LARGEST_REQUEST, _MOST_DESCRIPTORS)
        if not message:
            return None
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        request = json.loads(message)
        _keep_what_is_loaded(load(request["name"]))
        between = os.fork()
        if between == 0:
            forking = os.getpid()
            if os.fork():
                os._exit(0)
            numbers = dict(zip(request["descriptors"], map(str, descriptors[1:]), strict=True))
            variables = request["environment"] | numbers
            _become(request["name"], variables, forking, request["supervisor"], descriptors[0])
            requests.send(b"%d" % os.getpid())
            requests.close()
            gc.enable()
            return str(request["name"])
        os.waitpid(between, 0)
        for descriptor in descriptors:
            os.close(descriptor)
        _keep_what_is_loaded(load(None))


def _keep_what_is_loaded(anew: bool) -> None:
    if anew:
        gc.collect()
        gc.freeze()


def _become(name: str, environment: Mapping[str, str], between: int, supervisor: int, standard_input: int) -> None:
    """In the fork: a session, an input, variables and a name of its own, and an end with the supervisor, whose child it
    is when `between`, which forked it, has ended."""
    os.setsid()
    deadline = time.monotonic() + _ADOPTION_SECONDS
    while (parent := os.getppid()) != supervisor:
        # Nobody is left that would adopt it; it must not keep what it inherited, such as a listening socket.
        if parent != between or time.monotonic() > deadline:
            os._exit(1)
        time.sleep(0.001)
    end_with_parent()
    if os.getppid() != supervisor:
        os._exit(1)
    os.dup2(standard_input, sys.stdin.fileno())
    os.close(standard_input)
    os.environ.update(environment)
    _show_name(name)


def _show_name(name: str) -> None:
    """Write the role over the server's name in the command line, as it stands in memory (proc(5), arg_end), so that
    lists of processes and whoever looks for a role find it."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    size, end = len(SERVER_NAME) + 1, int(fields[46])
    word = SERVER_NAME.encode() + b"\0"
    if len(name) < size and end and ctypes.string_at(end - size, size) == word:
        ctypes.memmove(end - size, name.encode().ljust(size, b"\0"), size)
