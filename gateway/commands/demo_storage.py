"""The VictoriaMetrics that `gateway demo` starts for itself, where it is installed.

It takes the usual port, or another one if that is in use: what answers there may be somebody's own storage, and a
demo's invented series have no business in it. De-duplication is on, as the documentation advises.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import typer

from gateway.fork_server import end_with_parent

USUAL_PORT = 8428
_START_SECONDS = 30.0
_END_SECONDS = 20.0
_ATTEMPTS = 3
"""Somebody else may take a port between its choice and the program's start."""


@contextlib.contextmanager
def demo_storage(data_dir: Path) -> Iterator[str]:
    """The address of a VictoriaMetrics that lasts as long as the context: `http://127.0.0.1:PORT`. Empty, with the
    reason on standard output, where there is none; the gateway's embedded log is the history then."""
    program = shutil.which("victoria-metrics")
    if program is None:
        typer.echo("victoria-metrics is not installed: the demo keeps its history in the embedded log")
        yield ""
        return
    started = _start(program, data_dir)
    if started is None:
        typer.echo(f"victoria-metrics did not start, see {_log_of(data_dir)}: the demo has the embedded log instead")
        yield ""
        return
    process, port = started
    if port != USUAL_PORT:
        typer.echo(f"port {USUAL_PORT} is in use: the demo's VictoriaMetrics has port {port}")
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        _end(process)


def _start(program: str, data_dir: Path) -> tuple[subprocess.Popen[bytes], int] | None:
    """A process that answers, and its port."""
    for _ in range(_ATTEMPTS):
        port = free_port(USUAL_PORT)
        process = _launch(program, data_dir, port)
        if _answers_in_time(process, f"http://127.0.0.1:{port}/health"):
            return process, port
        _end(process)
    return None


def _launch(program: str, data_dir: Path, port: int) -> subprocess.Popen[bytes]:
    data_dir.mkdir(parents=True, exist_ok=True)
    with _log_of(data_dir).open("ab") as output:
        return subprocess.Popen(  # noqa: S603  # the program was found on PATH, the arguments are ours
            [
                program,
                f"-storageDataPath={data_dir / 'victoria-metrics'}",
                f"-httpListenAddr=127.0.0.1:{port}",
                "-dedup.minScrapeInterval=1ms",
                "-retentionPeriod=1",
            ],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=end_with_parent,  # nothing else runs yet in this process
            start_new_session=True,  # the terminal's ^C ends the gateway first, which has something to hand over
        )


def _answers_in_time(process: subprocess.Popen[bytes], url: str) -> bool:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=1.0):  # noqa: S310  # loopback address of our own
                # What answers may be another program that took the port; ours has ended then.
                return process.poll() is None
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(_END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _log_of(data_dir: Path) -> Path:
    return data_dir / "victoria-metrics.log"


def free_port(wanted: int) -> int:
    """`wanted` if nobody listens on it at 127.0.0.1, else another that is free now. Raises OSError if none is."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that have ended do not count
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                found: int = probe.getsockname()[1]
                return found
    raise OSError(f"neither port {wanted} nor any other at 127.0.0.1 is free")
