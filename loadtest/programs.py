"""The gateway, VictoriaMetrics, vmagent and the OpenTelemetry Collector, set up for the same work."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

from loadtest.generator.template import Protocol as WireProtocol
from loadtest.processes import LoadTestError, Program, free_port, get

ROOT: Final = Path(__file__).resolve().parent.parent
PEERS_DIR: Final = ROOT / ".peers"
"""Where `make peers` puts what it builds."""


def find(name: str, *, debian_package: str = "") -> Path:
    """A built peer, else an installed one. Raises LoadTestError saying what to do."""
    if (PEERS_DIR / name).is_file():
        return PEERS_DIR / name
    path = shutil.which(name)
    if path is None:
        hint = f" or install the Debian package {debian_package}" if debian_package else ""
        raise LoadTestError(f"{name} is not here: run `make peers` where Go is installed{hint}")
    return Path(path)


def version(path: Path) -> str:
    """What the program says, or the Go module version it was built from."""
    built_from = ""
    if shutil.which("go") or Path("/usr/local/go/bin/go").exists():
        go = shutil.which("go") or "/usr/local/go/bin/go"
        text = subprocess.run([go, "version", "-m", str(path)], capture_output=True, text=True, check=False).stdout
        if found := re.search(r"^\s*mod\s+\S+\s+(v\S+)", text, re.MULTILINE):
            built_from = found[1]
    said = subprocess.run([str(path), "--version"], capture_output=True, text=True, check=False)
    words = (said.stdout + said.stderr).strip().splitlines()
    if found := re.search(r"v?\d+\.\d+\.\d+\S*", words[0] if words else ""):
        return found[0]
    return built_from or (words[0] if words else "unknown")


FORK_SERVER: Final = "fork-server"
"""Name of the gateway's process that the others are forked from."""


class Target(Protocol):
    """Something that takes points and hands them on to VictoriaMetrics."""

    name: str
    version: str

    @property
    def pid(self) -> int:
        """Root of its process tree."""
        ...

    def endpoint(self, protocol: WireProtocol) -> str:
        """Where to send."""
        ...

    def pending(self) -> float:
        """What it has taken and not yet handed on; 0 when its backlog is empty."""
        ...

    def start(self) -> float:
        """Returns the seconds until ready."""
        ...

    def kill(self) -> None:
        """kill -9."""
        ...

    def stop(self) -> None:
        """Orderly end."""
        ...


class VictoriaMetrics(Program):
    """Single node; its storage stays when it is killed and started again."""

    name = "victoria-metrics"

    def __init__(self, directory: Path, *, program: Path | None = None, flags: Sequence[str] = ()) -> None:
        path = program or find("victoria-metrics", debian_package="victoria-metrics")
        self.port = free_port()
        command: list[str | Path] = [
            path, f"-httpListenAddr=127.0.0.1:{self.port}", f"-storageDataPath={directory / 'storage'}",
            "-retentionPeriod=100y", "-search.latencyOffset=0s", "-memory.allowedBytes=512MiB",
            "-search.maxExportDuration=30m", *flags,
        ]  # fmt: skip
        super().__init__(command, url=f"http://127.0.0.1:{self.port}", ready_path="/health", directory=directory)
        self.become(path)

    def become(self, program: Path) -> None:
        """Another version of the program, from the next start on, over the same data and at the same address."""
        self.command[0] = str(program)
        self.version = version(program)

    def start(self) -> float:
        """See Program; the version is also what the program says of itself."""
        took = super().start()
        if found := re.search(rb'short_version="(v[^"]+)"', get(self.url + "/metrics")):
            self.version = found[1].decode()
        return took

    def rows(self) -> int:
        """Rows it has taken by remote write since it started. Raises OSError."""
        return int(self.metric('vm_rows_inserted_total{type="promremotewrite"'))


class Gateway(Program):
    """The program of this repository."""

    name = "gateway"
    version = "this tree"

    def __init__(
        self,
        directory: Path,
        target: str,
        settings: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        *,
        token: str = "",
    ) -> None:
        """token: shown to the control plane where access is configured."""
        self.http_port, self.grpc_port, self.control_port = free_port(), free_port(), free_port()
        self.data_dir = directory / "data"
        command: list[str | Path] = [sys.executable, "-m", "gateway", "serve"]
        for setting in (
            f"server.data_dir={self.data_dir}", f"server.otlp_http=127.0.0.1:{self.http_port}",
            f"server.otlp_grpc=127.0.0.1:{self.grpc_port}", f"server.http=127.0.0.1:{self.control_port}",
            f"victoriametrics.url={target}", *settings,
        ):  # fmt: skip
            command += ["--set", setting]
        super().__init__(
            command, url=f"http://127.0.0.1:{self.control_port}", ready_path="/-/ready", directory=directory,
            environment=environment, headers={"Authorization": f"Bearer {token}"} if token else {},
        )  # fmt: skip

    def endpoint(self, protocol: WireProtocol) -> str:
        """See Target."""
        if protocol == "otlp-grpc":
            return f"127.0.0.1:{self.grpc_port}"
        return f"http://127.0.0.1:{self.http_port}" + ("/v1/metrics" if protocol == "otlp-http" else "/api/v1/write")

    def status(self) -> dict[str, Any]:
        """/api/v1/status. Raises OSError."""
        answer: dict[str, Any] = self.json("/api/v1/status")
        return answer

    def pending(self) -> float:
        """See Target: points not yet scored or not yet forwarded."""
        status = self.status()
        return float(status["pending_forward_points"] + status["unscored_backlog_points"])

    def forks(self) -> bool:
        """Whether the process that roles are forked from lives."""
        return FORK_SERVER in self._children()

    def role_pids(self) -> dict[str, int]:
        """Processes of the roles, by name, that live now."""
        found = self._children()
        found.pop(FORK_SERVER, None)
        return found

    def _children(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for child in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split():
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            if b"role" in words:
                found.setdefault(words[words.index(b"role") + 1].decode(), int(child))
        return found


class VmAgent(Program):
    """vmagent with its on-disk queue, sending to VictoriaMetrics."""

    name = "vmagent"

    def __init__(self, directory: Path, target: str) -> None:
        path = find("vmagent", debian_package="victoria-metrics")
        self.version = version(path)
        port = free_port()
        command: list[str | Path] = [
            path, f"-httpListenAddr=127.0.0.1:{port}", f"-remoteWrite.url={target}/api/v1/write",
            f"-remoteWrite.tmpDataPath={directory / 'queue'}", "-remoteWrite.queues=4",
            "-memory.allowedBytes=1GiB", "-maxInsertRequestSize=64MiB",
        ]  # fmt: skip
        super().__init__(command, url=f"http://127.0.0.1:{port}", ready_path="/health", directory=directory)

    def endpoint(self, protocol: WireProtocol) -> str:
        """See Target."""
        if protocol == "otlp-grpc":
            raise LoadTestError("vmagent does not take OTLP/gRPC")
        return self.url + ("/opentelemetry/v1/metrics" if protocol == "otlp-http" else "/api/v1/write")

    def pending(self) -> float:
        """See Target: bytes in its queues."""
        return self.metric("vmagent_remotewrite_pending_data_bytes") + self.metric("vmagent_remotewrite_pending_inmem")


class Collector(Program):
    """OpenTelemetry Collector: OTLP in, Prometheus remote write out."""

    name = "otelcol"

    def __init__(self, directory: Path, target: str) -> None:
        path = PEERS_DIR / "collector" / "otelcol"
        if not path.is_file():
            raise LoadTestError("the OpenTelemetry Collector is not here: run `make peers` where Go is installed")
        self.version = version(path)
        self.http_port, self.grpc_port, metrics = free_port(), free_port(), free_port()
        queue = directory / "queue"
        queue.mkdir(parents=True, exist_ok=True)
        configuration = directory / "collector.yaml"
        configuration.write_text(
            _COLLECTOR.format(http=self.http_port, grpc=self.grpc_port, target=target, queue=queue, metrics=metrics)
        )
        super().__init__(
            [path, f"--config={configuration}"], url=f"http://127.0.0.1:{metrics}", ready_path="/metrics",
            directory=directory,
        )  # fmt: skip

    def endpoint(self, protocol: WireProtocol) -> str:
        """See Target."""
        if protocol == "otlp-grpc":
            return f"127.0.0.1:{self.grpc_port}"
        if protocol == "otlp-http":
            return f"http://127.0.0.1:{self.http_port}/v1/metrics"
        raise LoadTestError("this Collector takes OTLP only")

    def pending(self) -> float:
        """See Target: requests in the exporter's queue."""
        return self.metric("otelcol_exporter_queue_size")


# The remote-write exporter keeps its persistent queue in a write-ahead log of its own, here with the exporter's own
# defaults; `sending_queue` of it is in memory. The log syncs to disk as its library does by default.
_COLLECTOR: Final = """\
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{grpc}", max_recv_msg_size_mib: 64}}
      http: {{endpoint: "127.0.0.1:{http}", max_request_body_size: 67108864}}
exporters:
  prometheus_remote_write:
    endpoint: "{target}/api/v1/write"
    max_batch_size_bytes: 3000000
    remote_write_queue: {{enabled: true, queue_size: 10000, num_consumers: 4}}
    wal: {{directory: "{queue}"}}
    resource_to_telemetry_conversion: {{enabled: true}}
service:
  telemetry:
    logs: {{level: warn}}
    metrics:
      readers:
        - pull: {{exporter: {{prometheus: {{host: "127.0.0.1", port: {metrics}}}}}}}
  pipelines:
    metrics: {{receivers: [otlp], exporters: [prometheus_remote_write]}}
"""
