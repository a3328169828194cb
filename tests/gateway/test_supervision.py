"""The sockets that the supervisor holds for its roles."""

from __future__ import annotations

import asyncio
import signal
import socket
import threading
import time
from pathlib import Path

import pytest

from gateway import data_directory, supervision
from gateway.access.settings import AccessSettings
from gateway.config import LoadedConfig, load_config
from gateway.data_directory import make_data_directory
from gateway.errors import ConfigError
from gateway.supervisor import EXIT_CONFIG, Role


def taken() -> tuple[socket.socket, str]:
    holder = socket.create_server(("127.0.0.1", 0))
    return holder, f"127.0.0.1:{holder.getsockname()[1]}"


@pytest.fixture(autouse=True)
def logs_as_the_tests_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is configured in this process would stay so for later tests."""
    monkeypatch.setattr(supervision, "configure_logging", lambda role: None)


def test_an_address_that_a_killed_gateway_still_holds_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    holder, address = taken()
    monkeypatch.setattr(supervision.time, "sleep", lambda seconds: holder.close())
    listener = supervision.listener_on(address, AccessSettings(), time.monotonic() + 60.0)
    assert listener is not None
    assert listener.getsockname()[1] == int(address.rpartition(":")[2])
    listener.close()


def test_it_is_not_waited_for_too_long_and_what_cannot_pass_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(supervision.time, "sleep", waits.append)
    holder, address = taken()
    assert supervision.listener_on(address, AccessSettings(), time.monotonic() - 1.0) is None
    holder.close()
    assert supervision.listener_on("192.0.2.1:1", AccessSettings(allow_unauthenticated=True), 1e12) is None
    assert waits == []


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR2, signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_an_address_is_waited_for_is_answered_behind_it(
    number: signal.Signals, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    waited: list[int] = []

    def roles(loaded: LoadedConfig) -> list[Role]:
        signal.pthread_kill(threading.get_ident(), number)
        waited.append(1)
        return []

    monkeypatch.setattr(supervision, "roles_of", roles)
    loaded = load_config(assignments=["server.fork_roles=false", f"server.data_dir={tmp_path}"], environment={})
    assert asyncio.run(supervision.supervise(loaded)) == 0
    assert waited == [1]
    assert not signal.pthread_sigmask(signal.SIG_BLOCK, ()) & {number}


@pytest.mark.parametrize("taken_by_a_file", ["data", "data/state"])
def test_a_data_directory_that_cannot_be_used_is_told_of_once_before_anything_starts(
    taken_by_a_file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    started: list[LoadedConfig] = []

    def roles(loaded: LoadedConfig) -> list[Role]:
        started.append(loaded)
        return []

    monkeypatch.setattr(supervision, "roles_of", roles)
    file = tmp_path / taken_by_a_file
    file.parent.mkdir(exist_ok=True)
    file.touch()
    loaded = load_config(assignments=["server.fork_roles=false", f"server.data_dir={tmp_path}/data"], environment={})
    assert asyncio.run(supervision.supervise(loaded)) == EXIT_CONFIG
    assert not started
    (line,) = capsys.readouterr().err.splitlines()
    for part in (f"{tmp_path}/data", "server.data_dir", "cannot be used"):
        assert part in line


def test_a_data_directory_that_may_not_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Root, as which tests may run, is refused by no mode of a directory.
    monkeypatch.setattr(data_directory.os, "access", lambda path, mode: path.name != "state")
    with pytest.raises(ConfigError, match="Permission denied"):
        make_data_directory(f"{tmp_path}/data")
    assert (tmp_path / "data" / "state").is_dir()
