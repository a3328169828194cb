"""Real programs as neighbours in tests: started on a free port with temporary storage, killed without warning."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import pytest

START_SECONDS = 120.0
"""How long a peer may take until it answers."""


_ports = random.SystemRandom()
_FIRST_OUTGOING = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])


def free_port() -> int:
    """A TCP port that nobody listens on, below those that outgoing connections are given: one of them could take it
    before the program that it is meant for."""
    while True:
        port = _ports.randrange(10_000, _FIRST_OUTGOING)
        with socket.socket() as listener, contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def program(name: str, package: str) -> str:
    """Path of a program; skips the test with the Debian package's name if it is not installed."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"the Debian package {package} is not installed")
    return path


class Peer:
    """A program that answers HTTP when it is ready."""

    def __init__(self, command: Sequence[str], port: int, ready_path: str, log: Path) -> None:
        self.command, self.port, self._ready_path, self._log = list(command), port, ready_path, log
        self.url = f"http://127.0.0.1:{port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start and wait until it answers."""
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(self.command, stdout=output, stderr=subprocess.STDOUT)
        deadline = time.monotonic() + START_SECONDS
        while True:
            with contextlib.suppress(OSError):
                self.get(self._ready_path, timeout=5.0)
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise AssertionError(f"{self.command[0]} did not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.02)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """SIGTERM, and wait; nothing if it does not run."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Let it stand still without closing a connection."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def get(self, path: str, timeout: float = 60.0) -> bytes:
        """Body of a GET. Raises OSError (URLError, HTTPError)."""
        with urllib.request.urlopen(self.url + path, timeout=timeout) as response:
            body: bytes = response.read()
            return body

    def _end(self, how: signal.Signals) -> None:
        if self._process is None:
            return
        self._process.send_signal(how)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


class VictoriaMetrics(Peer):
    """VictoriaMetrics, single node. The storage stays when it is killed and started again."""

    def __init__(self, directory: Path, *flags: str) -> None:
        port = free_port()
        command = [
            program("victoria-metrics", "victoria-metrics"),
            f"-httpListenAddr=127.0.0.1:{port}",
            f"-storageDataPath={directory / 'storage'}",
            "-search.latencyOffset=0s",
            "-memory.allowedBytes=256MiB",
            *flags,
        ]
        directory.mkdir(parents=True, exist_ok=True)
        super().__init__(command, port, "/health", directory / "victoria-metrics.log")

    def export(self, match: str) -> dict[str, list[tuple[int, float]]]:
        """Every stored sample of the series that `match` selects: JSON of the sorted labels → [(ms, value)], sorted.

        Stale markers and NaN come out as NaN.
        """
        self.get("/internal/force_flush")
        found: dict[str, list[tuple[int, float]]] = {}
        query = urllib.parse.urlencode({"match[]": match})
        for line in self.get(f"/api/v1/export?{query}").splitlines():
            series = json.loads(line)
            key = json.dumps(series["metric"], sort_keys=True)
            values = [float("nan") if v is None else float(v) for v in series["values"]]
            found.setdefault(key, []).extend(zip(series["timestamps"], values, strict=True))
        return {key: sorted(samples, key=lambda s: s[0]) for key, samples in found.items()}

    def query(self, expression: str, at: float | None = None) -> list[tuple[dict[str, str], float]]:
        """Instant query at `at` (Unix seconds, now if None): [(labels, value)].

        Left to itself VictoriaMetrics answers for a second ago at the latest, whatever `-search.latencyOffset` says,
        and for whole seconds: samples written just before would be seen in part. `nocache` and a time switch that off.
        """
        self.get("/internal/force_flush")
        parameters = {"query": expression, "nocache": "1", "time": repr(time.time() if at is None else at)}
        answer = json.loads(self.get(f"/api/v1/query?{urllib.parse.urlencode(parameters)}"))
        return [(item["metric"], float(item["value"][1])) for item in answer["data"]["result"]]
