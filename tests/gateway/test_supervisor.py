"""The supervisor with small real children: readiness, restarts, silence, configuration errors, ends."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import textwrap
from pathlib import Path

import psutil
import pytest

from gateway.supervisor import EXIT_ADDRESS_NOT_FREE, EXIT_CONFIG, Role, Supervisor

pytestmark = pytest.mark.real

PRELUDE = """
import os, signal, sys, time
pipe = int(os.environ["GATEWAY_SUPERVISOR_FD"])
restarts = int(os.environ["GATEWAY_RESTARTS"])
def say(line): os.write(pipe, line)
def beat(line=b"alive\\n"):
    while True:
        time.sleep(0.05); say(line)
"""


def _role(name: str, body: str, standard_input: bytes = b"") -> Role:
    code = PRELUDE + textwrap.dedent(body)
    return Role(name, [sys.executable, "-S", "-c", code], standard_input)


async def _until(condition, seconds: float = 60.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def test_roles_get_their_input_become_ready_once_and_end_in_order(tmp_path: Path) -> None:
    out = tmp_path / "out"
    body = f"""
        given = sys.stdin.buffer.read()
        def end(*_):
            open({str(out)!r}, "ab").write(given); sys.exit(0)
        signal.signal(signal.SIGTERM, end)
        say(b"ready\\n"); beat()
    """
    announced: list[bool] = []
    supervisor = Supervisor(
        [_role("a", body, b"x" * 200_000), _role("b", body, b"y")], on_ready=lambda: announced.append(True)
    )
    running = asyncio.create_task(supervisor.run())
    await _until(lambda: announced)
    supervisor.stop()
    supervisor.stop()
    assert await running == 0
    assert len(announced) == 1
    assert out.stat().st_size == 200_001, "both ended in an orderly way with their whole input"


async def test_a_dead_role_is_started_again_and_the_other_never_notices() -> None:
    steady = _role("steady", 'say(b"ready\\n"); beat()')
    frail = _role("frail", 'say(b"ready\\n"); beat()')
    supervisor = Supervisor([steady, frail], backoff_seconds=(0.01,))
    running = asyncio.create_task(supervisor.run())
    await _until(lambda: steady.ready.is_set() and frail.ready.is_set())
    before = steady.pid
    for restarts in (1, 2):
        old = frail.pid
        os.kill(old, signal.SIGKILL)
        await _until(lambda: frail.restarts == restarts and frail.pid != old)  # noqa: B023  # awaited within the turn
    assert (steady.pid, steady.restarts) == (before, 0)
    supervisor.stop()
    assert await running == 0


@pytest.mark.parametrize(
    "stuck",
    ['say(b"ready\\n"); time.sleep(600)', "time.sleep(600)", 'say(b"ready\\n"); beat(b"idle\\n")'],
    ids=["silent", "never ready", "no progress"],
)
async def test_a_role_that_stands_still_is_killed_and_started_again(stuck: str) -> None:
    body = f"""
        if restarts == 0:
            {stuck}
        say(b"ready\\n"); beat()
    """
    role = _role("stuck", body)
    supervisor = Supervisor([role], stuck_after=0.5, no_progress_after=0.5, start_within=1.0, backoff_seconds=(0.01,))
    running = asyncio.create_task(supervisor.run())
    await _until(lambda: role.restarts == 1)
    await _until(role.ready.is_set)
    supervisor.stop()
    assert await running == 0


async def test_a_role_that_can_never_start_ends_the_program_with_its_status() -> None:
    misconfigured = _role("data", f"sys.exit({EXIT_CONFIG})")
    other = _role("control", 'say(b"ready\\n"); beat()')
    assert await asyncio.wait_for(Supervisor([misconfigured, other]).run(), 60) == EXIT_CONFIG
    assert misconfigured.restarts == 0
    assert not psutil.pid_exists(other.pid)


async def test_an_address_that_is_taken_ends_a_program_that_was_never_ready_and_no_other() -> None:
    taken = _role("data", f"sys.exit({EXIT_ADDRESS_NOT_FREE})")
    other = _role("control", 'say(b"ready\\n"); beat()')
    assert await asyncio.wait_for(Supervisor([taken, other]).run(), 60) == EXIT_ADDRESS_NOT_FREE
    body = f"""
        if restarts == 1:
            sys.exit({EXIT_ADDRESS_NOT_FREE})
        say(b"ready\\n")
        if restarts == 0:
            sys.exit(1)
        beat()
    """
    role = _role("data", body)
    supervisor = Supervisor([role], backoff_seconds=(0.01,))
    running = asyncio.create_task(supervisor.run())
    await _until(lambda: role.restarts == 2 and role.ready.is_set())
    supervisor.stop()
    assert await running == 0


async def test_a_role_that_does_not_stop_is_killed_within_the_grace() -> None:
    role = _role("deaf", 'signal.signal(signal.SIGTERM, signal.SIG_IGN); say(b"ready\\n"); beat()')
    supervisor = Supervisor([role], grace=0.3)
    running = asyncio.create_task(supervisor.run())
    await _until(role.ready.is_set)
    supervisor.stop()
    assert await asyncio.wait_for(running, 60) == 0
    assert not psutil.pid_exists(role.pid)


async def test_a_rolling_restart_takes_one_role_after_another(tmp_path: Path) -> None:
    """The second ends only when the first is ready again; a role that does not roll stays."""
    events = tmp_path / "events"

    def body(name: str) -> str:
        return f"""
            def note(word):
                with open({str(events)!r}, "a") as file: file.write("{name} " + word + "\\n")
            def end(*_):
                note("ends"); sys.exit(0)
            signal.signal(signal.SIGTERM, end)
            note("ready"); say(b"ready\\n"); beat()
        """

    steady, first, second = (_role(name, body(name)) for name in ("steady", "first", "second"))
    first.rolls = second.rolls = True
    supervisor = Supervisor([steady, first, second], backoff_seconds=(60.0,))
    running = asyncio.create_task(supervisor.run())
    await _until(lambda: all(role.ready.is_set() for role in (steady, first, second)))
    pids = steady.pid, first.pid, second.pid
    events.write_text("")
    supervisor.roll()
    supervisor.roll()  # changes nothing
    await _until(lambda: second.pid != pids[2] and second.ready.is_set())
    assert steady.pid == pids[0]
    assert first.pid != pids[1]
    assert events.read_text().splitlines() == ["first ends", "first ready", "second ends", "second ready"]
    supervisor.stop()
    assert await running == 0


async def test_a_role_that_had_become_ready_waits_at_most_a_second_and_one_that_fails_on_and_on_the_whole_time() -> (
    None
):
    frail = _role("frail", 'say(b"ready\\n"); beat()')
    supervisor = Supervisor([frail], backoff_seconds=(0.01, 60.0))
    running = asyncio.create_task(supervisor.run())
    for restarts in range(3):
        await _until(frail.ready.is_set)
        os.kill(frail.pid, signal.SIGKILL)
        await _until(lambda: frail.restarts == restarts + 1 and not frail.ready.is_set())  # noqa: B023
    await _until(frail.ready.is_set)
    assert frail.restarts == 3
    assert [supervisor._wait_before(failures, served=True) for failures in (1, 19, 20)] == [1.0, 1.0, 60.0]
    assert supervisor._wait_before(1, served=False) == 60.0
    supervisor.stop()
    assert await running == 0


async def test_connections_wait_for_a_role_that_is_away_until_the_program_is_told_to_end(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    body = f"""
        import socket, threading
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        while restarts and not os.path.exists({str(gate)!r}): time.sleep(0.01)
        listener = socket.socket(fileno=int(os.environ["GATEWAY_LISTENER_FD"]))
        def serve():
            while True:
                connection, _ = listener.accept()
                connection.sendall(b"%d" % restarts); connection.close()
        threading.Thread(target=serve, daemon=True).start()
        say(b"ready\\n"); beat()
    """
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    role = _role("data", body)
    role.listener = listener
    supervisor = Supervisor([role], start_within=60.0)
    running = asyncio.create_task(supervisor.run())
    await asyncio.wait_for(role.ready.wait(), 60)
    os.kill(role.pid, signal.SIGKILL)
    await _until(lambda: role.restarts == 1)
    reader, writer = await asyncio.open_connection(*address)  # nobody accepts it yet
    gate.touch()
    assert await asyncio.wait_for(reader.read(), 60) == b"1"
    writer.close()
    supervisor.stop()
    assert await asyncio.wait_for(running, 60) == 0
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(*address)
