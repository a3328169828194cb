"""The gateway as a process, as a user starts it, on free ports with a directory of its own."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from tests.peers import free_port

READY_SECONDS = 120.0
WAIT_SECONDS = 120.0
"""Bounds of what must happen: far beyond what it takes, as the machine may be doing something else."""
REQUEST_SECONDS = 60.0


class Gateway:
    """`gateway serve`, or another command that serves; use as a context manager."""

    def __init__(
        self,
        directory: Path,
        *assignments: str,
        command: str = "serve",
        options: Sequence[str] = (),
        host: str = "127.0.0.1",
        environment: dict[str, str] | None = None,
    ) -> None:
        self._command = [command, *options]
        self.directory = directory
        self.environment = environment or {}
        self.otlp_grpc, self.otlp_http, self.http = (f"{host}:{free_port()}" for _ in range(3))
        self.assignments = [
            f"server.data_dir={directory / 'data'}",
            f"server.otlp_grpc={self.otlp_grpc}",
            f"server.otlp_http={self.otlp_http}",
            f"server.http={self.http}",
            *assignments,
        ]
        self.output = directory / "gateway.log"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Gateway:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait until it is ready."""
        command = [str(Path(sys.executable).parent / "gateway"), *self._command]
        for assignment in self.assignments:
            command += ["--set", assignment]
        self.directory.mkdir(parents=True, exist_ok=True)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")} | self.environment
        with self.output.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            self.until(self.is_ready, READY_SECONDS)
        except BaseException:
            self._process.kill()  # its children end with it
            self._process.wait()
            self._process = None
            raise

    def is_ready(self) -> bool:
        """Whether both planes say they are ready; fails at once if the program has ended."""
        assert self._process is not None
        assert self._process.poll() is None, self.output.read_text()
        try:
            self.get("/-/ready")
            with urllib.request.urlopen(f"http://{self.otlp_http}/-/ready", timeout=REQUEST_SECONDS):
                return True
        except OSError:
            return False

    def children(self) -> dict[str, psutil.Process]:
        """The roles' processes by name, and the one that they are forked from."""
        assert self._process is not None
        found = {}
        for child in sorted(psutil.Process(self._process.pid).children(), key=psutil.Process.create_time):
            try:
                words = child.cmdline()
            except psutil.NoSuchProcess:
                continue  # it ended, or is dead and not waited for yet
            if "role" in words:
                found.setdefault(words[words.index("role") + 1], child)
        return found

    def kill_role(self, name: str) -> int:
        """kill -9 of one role; returns its process id."""
        pid = self.children()[name].pid
        os.kill(pid, signal.SIGKILL)
        return pid

    def kill_all(self) -> None:
        """kill -9 of the supervisor; its children must end with it."""
        assert self._process is not None
        children = psutil.Process(self._process.pid).children()
        self._process.kill()
        self._process.wait()
        _, alive = psutil.wait_procs(children, timeout=WAIT_SECONDS)
        assert not alive, "children outlived their supervisor"
        self._process = None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the supervisor."""
        assert self._process is not None
        self._process.send_signal(number)

    def stop(self) -> int | None:
        """SIGTERM and wait; returns the exit status."""
        if self._process is None:
            return None
        self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(WAIT_SECONDS)
        finally:
            if self._process.poll() is None:
                self._process.kill()
        self._process = None
        return status

    def wait(self, seconds: float) -> int:
        """Wait until it ends by itself; returns the exit status."""
        assert self._process is not None
        status = self._process.wait(seconds)
        self._process = None
        return status

    def get(self, path: str) -> bytes:
        """Body of a GET on the control plane."""
        with urllib.request.urlopen(f"http://{self.http}{path}", timeout=REQUEST_SECONDS) as response:
            body: bytes = response.read()
            return body

    def json(self, path: str) -> Any:
        """JSON of a GET on the control plane."""
        return json.loads(self.get(path))

    def send(self, method: str, path: str, body: Any = None) -> Any:
        """A request with a JSON body to the control plane: the JSON of its answer. Raises HTTPError."""
        request = urllib.request.Request(
            f"http://{self.http}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as response:
            return json.loads(response.read() or b"null")

    def post(self, path: str, body: bytes, **headers: str) -> tuple[int, bytes]:
        """POST to the data plane's HTTP address: status and body."""
        request = urllib.request.Request(f"http://{self.otlp_http}{path}", data=body)
        for name, value in headers.items():
            request.add_header(name.replace("_", "-"), value)
        try:
            with urllib.request.urlopen(request, timeout=REQUEST_SECONDS) as response:
                return response.status, response.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def until(self, condition: Callable[[], bool], seconds: float = WAIT_SECONDS) -> None:
        """Poll until the condition holds; fails with the program's output when it does not in time. A condition that
        cannot be asked, because a role is being started again, does not hold yet."""
        deadline, problem = time.monotonic() + seconds, ""
        while True:
            try:
                if condition():
                    return
            except (OSError, http.client.HTTPException) as error:
                problem = f", last: {error!r}"
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {seconds:.0f} s{problem}\n{self.output.read_text()[-4000:]}")
            time.sleep(0.05)

    def until_forwarded(self, accepted: int) -> dict[str, Any]:
        """Wait until `accepted` points are in and none is pending; returns the status."""

        def settled() -> bool:
            status = self.json("/api/v1/status")
            return bool(status["accepted_points"] >= accepted and status["pending_forward_points"] == 0)

        self.until(settled)
        status: dict[str, Any] = self.json("/api/v1/status")
        return status
