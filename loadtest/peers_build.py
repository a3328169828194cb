"""Builds the peers from the Go module proxy into .peers/. Needs the Go toolchain and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Final

from loadtest.programs import PEERS_DIR, ROOT, version
from loadtest.progress import say

VICTORIA_METRICS: Final = "github.com/VictoriaMetrics/VictoriaMetrics/app"
VICTORIA_METRICS_VERSION: Final = "v1.151.0"
COLLECTOR_BUILDER: Final = "go.opentelemetry.io/collector/cmd/builder@v0.165.0"


def build() -> int:
    """Build what is missing; returns the exit status. Remove .peers to build everything anew."""
    go = shutil.which("go") or "/usr/local/go/bin/go"
    if not os.path.exists(go):
        say("the Go toolchain is not here: peers run where it is; the Debian packages of VictoriaMetrics will do")
        return 0
    PEERS_DIR.mkdir(exist_ok=True)
    environment = {
        **os.environ, "GOBIN": str(PEERS_DIR), "PATH": f"{os.path.dirname(go)}:{os.environ['PATH']}",
        "GOFLAGS": "-buildvcs=false",
    }  # fmt: skip
    failed = 0
    for name in ("vmagent", "victoria-metrics"):
        if not (PEERS_DIR / name).is_file():
            command = [go, "install", f"{VICTORIA_METRICS}/{name}@{VICTORIA_METRICS_VERSION}"]
            failed += _run(f"{name} {VICTORIA_METRICS_VERSION}", command, environment)
    if not (PEERS_DIR / "collector" / "otelcol").is_file():
        command = [go, "run", COLLECTOR_BUILDER, f"--config={ROOT / 'loadtest' / 'collector-build.yaml'}"]
        failed += _run("OpenTelemetry Collector", command, environment)
    for path in (PEERS_DIR / "vmagent", PEERS_DIR / "victoria-metrics", PEERS_DIR / "collector" / "otelcol"):
        say(f"{path.name:18} {version(path) if path.is_file() else 'not built'}")
    return 1 if failed else 0


def _run(what: str, command: list[str], environment: dict[str, str]) -> int:
    say(f"building {what} (some minutes the first time)")
    done = subprocess.run(["nice", "-n", "19", *command], cwd=ROOT, env=environment, check=False)
    if done.returncode:
        say(f"{what} could not be built; the runs that need it are left out")
    return int(done.returncode != 0)
