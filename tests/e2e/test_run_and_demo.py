"""`gateway run` watches its own host and itself; `gateway demo` finds what it injects and says so in plain lines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.program import Gateway
from tests.peers import VictoriaMetrics

pytestmark = pytest.mark.real


def test_run_watches_the_host_and_itself_over_otlp(tmp_path: Path) -> None:
    with Gateway(tmp_path, command="run") as gateway:

        def names() -> set[str]:
            return {entry["labels"]["__name__"] for entry in gateway.json("/api/v1/series?limit=5000")}

        host = {"system_cpu_time_seconds_total", "system_memory_usage_bytes", "system_network_io_bytes_total"}
        itself = {"gateway_active_series", "gateway_accepted_points_total"}
        gateway.until(lambda: host | itself <= names(), 40)
        jobs = {entry["labels"].get("job") for entry in gateway.json("/api/v1/series?limit=5000")}
        assert jobs >= {"host", "gateway"}
        assert gateway.stop() == 0


def test_demo_on_a_pipe_prints_what_it_injected_and_found(tmp_path: Path) -> None:
    target = VictoriaMetrics(tmp_path / "vm", "-dedup.minScrapeInterval=1ms")
    target.start()
    template = Gateway(tmp_path, f"victoriametrics.url={target.url}")
    command = [str(Path(sys.executable).parent / "gateway"), "demo", "--minutes", "1.2"]
    for assignment in template.assignments:
        command += ["--set", assignment]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment)
    try:
        text, _ = process.communicate(timeout=150)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
        target.stop()
    assert process.returncode == 0, text
    assert "\x1b" not in text, "no terminal codes on a pipe"
    assert "sent 24 hours of the fleet's past" in text
    assert "injected: latency step in checkout" in text
    assert "found: latency step in checkout" in text, text
    assert "found 1 of 1 injected faults" in text
