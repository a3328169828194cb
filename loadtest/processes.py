"""Programs under test as processes: started, killed, and their CPU time and memory read from /proc (Linux)."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

_TICKS: Final = os.sysconf("SC_CLK_TCK")
_START_SECONDS: Final = 120.0


class LoadTestError(Exception):
    """Something that the load test needs is missing or did not happen; the text says what to do."""


def free_port() -> int:
    """A TCP port nobody listens on at this moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def get(url: str, timeout: float = 10.0, headers: Mapping[str, str] | None = None) -> bytes:
    """Body of a GET. Raises OSError (URLError, HTTPError among them)."""
    try:
        request = urllib.request.Request(url, headers=dict(headers or {}))
        with urllib.request.urlopen(request, timeout=timeout) as response:
            body: bytes = response.read()
            return body
    except http.client.HTTPException as error:
        raise OSError(f"{url}: {error!r}") from error


def await_true(condition: Callable[[], bool], seconds: float, what: str, pause: float = 0.05) -> float:
    """Ask again and again; returns the seconds it took. Raises LoadTestError when they are over."""
    began = time.monotonic()
    while True:
        with contextlib.suppress(OSError):
            if condition():
                return time.monotonic() - began
        if time.monotonic() - began > seconds:
            raise LoadTestError(f"not within {seconds:.0f} s: {what}")
        time.sleep(pause)


def _stat(pid: int) -> list[str]:
    """Fields of /proc/<pid>/stat behind the name, the state first. Raises OSError."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def tree(pid: int) -> list[int]:
    """The process and all its descendants that live."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                children.setdefault(int(_stat(int(entry))[1]), []).append(int(entry))
    found, pending = [], [pid]
    while pending:
        one = pending.pop()
        found.append(one)
        pending.extend(children.get(one, []))
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of the process, its live descendants and the children they have buried."""
    ticks = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            ticks += sum(int(field) for field in _stat(one)[11:15])
    return ticks / _TICKS


def thread_cpu(pid: int) -> dict[int, tuple[float, float]]:
    """Thread id → user and system seconds, of the threads that live."""
    found = {}
    for thread in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/task/{thread}/stat").read_text().rpartition(")")[2].split()
            found[int(thread)] = (int(fields[11]) / _TICKS, int(fields[12]) / _TICKS)
    return found


def thread_names(pid: int) -> dict[int, str]:
    """Thread id → its name in Python, as py-spy sees it; threads of libraries are missing."""
    command = [str(Path(sys.executable).parent / "py-spy"), "dump", "--json", "--nonblocking", "--pid", str(pid)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise LoadTestError(f"py-spy cannot look at {pid}: {done.stderr.decode()[-300:]}")
    return {thread["os_thread_id"]: thread["thread_name"] for thread in json.loads(done.stdout)}


def resident_bytes(pid: int) -> int:
    """Resident memory of the process and its descendants, shared pages counted in each by their share (PSS)."""
    total = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


class Program:
    """A program that answers HTTP when it is ready. Its output goes to <directory>/<name>.log."""

    name = "program"

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        url: str,
        ready_path: str,
        directory: Path,
        environment: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._headers = headers
        self.command = [str(part) for part in command]
        self.url, self._ready_path = url, ready_path
        self.directory = directory
        self._environment = {**os.environ, **(environment or {})}
        self._process: subprocess.Popen[bytes] | None = None
        self._output: IO[bytes] | None = None
        directory.mkdir(parents=True, exist_ok=True)

    @property
    def log_path(self) -> Path:
        """What it prints."""
        return self.directory / f"{self.name}.log"

    @property
    def pid(self) -> int:
        """Of the process that was started."""
        if self._process is None:
            raise LoadTestError(f"{self.name} does not run")
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether that process lives."""
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Start without waiting until it is ready."""
        self._output = self.log_path.open("ab")
        self._process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.STDOUT,
            env=self._environment, start_new_session=True,
        )  # fmt: skip

    def start(self) -> float:
        """Start and wait until it is ready; returns the seconds that took. Raises LoadTestError."""
        self.launch()
        return self.await_ready()

    def await_ready(self) -> float:
        """Raises LoadTestError with the end of its log."""
        began = time.monotonic()
        while True:
            with contextlib.suppress(OSError):
                get(self.url + self._ready_path, 2.0, self._headers)
                return time.monotonic() - began
            if not self.running or time.monotonic() - began > _START_SECONDS:
                raise LoadTestError(f"{self.name} is not ready:\n{self.tail()}")
            time.sleep(0.02)

    def tail(self) -> str:
        """The end of its log."""
        return self.log_path.read_text(errors="replace")[-2000:] if self.log_path.exists() else ""

    def kill(self) -> None:
        """kill -9 of the process and all its descendants, and of nothing else."""
        if self._process is None:
            return
        for pid in tree(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._bury()

    def stop(self) -> None:
        """SIGTERM, and kill -9 after 20 seconds."""
        if self._process is None:
            return
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(20)
        self.kill()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process itself."""
        os.kill(self.pid, number)

    def _bury(self) -> None:
        if self._process is not None:
            self._process.wait()
        self._process = None
        if self._output is not None:
            self._output.close()
            self._output = None

    def json(self, path: str) -> Any:
        """Raises OSError."""
        return json.loads(get(self.url + path, headers=self._headers))

    def text(self, path: str) -> str:
        """Raises OSError."""
        return get(self.url + path, headers=self._headers).decode()

    def metric(self, prefix: str, path: str = "/metrics") -> float:
        """Sum of the values of all lines of its Prometheus text whose beginning is `prefix`. Raises OSError."""
        total = 0.0
        for line in self.text(path).splitlines():
            if line.startswith(prefix):
                total += float(line.rsplit(" ", 1)[1])
        return total
