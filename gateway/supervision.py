"""The data plane and the control plane under one supervisor: what `gateway serve` does with its options.

The process stays as long as the program, so what it imports is paid for all the time: no command line, no metrics.
"""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import json
import signal
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from gateway.access.settings import AccessSettings
from gateway.access.tokens import require_safe_address
from gateway.addresses import ADDRESS_WAIT_SECONDS, parse_address
from gateway.config import LoadedConfig, load_config
from gateway.data_directory import make_data_directory
from gateway.errors import ConfigError
from gateway.fork_server import SERVER_NAME, ForkServer
from gateway.logging_setup import configure_logging
from gateway.owned_tasks import end_tasks
from gateway.role_names import data_role_name
from gateway.supervisor import EXIT_CONFIG, Role, Supervisor, python_command


def load_or_exit(config: Path | None, assignments: Sequence[str]) -> LoadedConfig:
    """The configuration, or the reason on standard error and exit status 78."""
    try:
        return load_config(config, assignments=assignments)
    except ConfigError as error:
        sys.stderr.write(f"configuration: {error}\n")
        raise SystemExit(EXIT_CONFIG) from None


_BACKLOG = 1024
"""Connections that may wait while nobody accepts any."""


_ANSWERED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2)
"""Signals that the supervisor answers."""


def listener_on(address: str, access: AccessSettings, until: float = 0.0) -> socket.socket | None:
    """A socket that listens on an IP address, which is waited for `until` that monotonic moment. None where the role is
    to bind by itself: a name stands for several addresses, and what cannot be bound or may not the role reports."""
    host, port = parse_address(address)
    try:
        version = ipaddress.ip_address(host).version
        require_safe_address(host, access, key="")
    except (ValueError, ConfigError):
        return None
    while True:
        try:
            return _listening(host, port, version)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > until:
                return None
            time.sleep(0.05)


def _listening(host: str, port: int, version: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if version == 6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if version == 6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except BaseException:
        listener.close()
        raise
    return listener


def roles_of(loaded: LoadedConfig) -> list[Role]:
    """The children `serve` keeps, with listeners for HTTP. The configuration goes over standard input: a process list
    shows command lines."""
    message = json.dumps(
        {
            "raw": loaded.raw,
            "sources": dict(loaded.sources),
            "file": str(loaded.file.absolute()) if loaded.file is not None else None,
            "assignments": loaded.assignments,
        }
    ).encode()
    server, access = loaded.config.server, loaded.config.access
    until = time.monotonic() + ADDRESS_WAIT_SECONDS
    names = [data_role_name(worker) for worker in range(server.workers)]
    # Of several workers the others take the connections of one that is away; on a socket of its own they would wait.
    listener = listener_on(server.otlp_http, access, until) if server.workers == 1 else None
    data = [
        Role(
            name, python_command("role", name), message, rolls=True,
            listener=listener,
        )
        for name in names
    ]  # fmt: skip
    # A request for everything may keep the control plane's loop for a while; a restart would not make it shorter.
    control = python_command("role", "control")
    return [*data, Role("control", control, message, stall_after=5.0, listener=listener_on(server.http, access, until))]


def banner(loaded: LoadedConfig) -> str:
    """What a person sees once everything is ready."""
    server = loaded.config.server
    target = loaded.config.victoriametrics.url or "none; the embedded log is the history"
    return (
        f"gateway is ready\n"
        f"  OTLP/gRPC              {server.otlp_grpc}\n"
        f"  OTLP/HTTP              http://{server.otlp_http}/v1/metrics\n"
        f"  Prometheus remote write http://{server.otlp_http}/api/v1/write\n"
        f"  console and API        http://{server.http}/\n"
        f"  data                   {Path(server.data_dir).resolve()}\n"
        f"  VictoriaMetrics        {target}\n"
    )


async def supervise(
    loaded: LoadedConfig, on_ready: Callable[[], None] | None = None, stop: asyncio.Event | None = None
) -> int:
    """Run the roles until a signal, or until `stop` is set; returns the exit status."""

    def ready() -> None:
        sys.stdout.write(banner(loaded))
        sys.stdout.flush()
        if on_ready is not None:
            on_ready()

    configure_logging("supervisor")
    # Before the roles, each of which would say the same.
    try:
        make_data_directory(loaded.config.server.data_dir)
    except ConfigError as error:
        sys.stderr.write(f"configuration: {error}\n")
        return EXIT_CONFIG
    forks = ForkServer(python_command("role", SERVER_NAME)) if loaded.config.server.fork_roles else None
    # An address may be waited for. A signal that came meanwhile is answered behind it, instead of killing the program.
    signal.pthread_sigmask(signal.SIG_BLOCK, _ANSWERED)
    try:
        supervisor = Supervisor(roles_of(loaded), fork_server=forks, on_ready=ready)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, supervisor.stop)
        loop.add_signal_handler(signal.SIGHUP, supervisor.reload)
        loop.add_signal_handler(signal.SIGUSR2, supervisor.roll)
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _ANSWERED)

    async def stop_when_asked(asked: asyncio.Event) -> None:
        await asked.wait()
        supervisor.stop()

    watcher = asyncio.create_task(stop_when_asked(stop), name="stop-when-asked") if stop is not None else None
    try:
        return await supervisor.run()
    finally:
        await end_tasks(watcher)


def serve(config: Path | None, assignments: Sequence[str]) -> int:
    """Until a signal; returns the exit status. Raises SystemExit for a configuration that cannot be used."""
    return asyncio.run(supervise(load_or_exit(config, assignments)))
