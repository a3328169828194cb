"""`gateway run` watches its own host and itself; `gateway demo` does so too, finds what it injects and says so in plain
lines."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.commands.demo_storage import USUAL_PORT, free_port
from gateway.commands.fleet.model import FLEET
from tests.e2e.program import Gateway
from tests.peers import program

pytestmark = pytest.mark.real


def test_run_watches_the_host_and_itself_over_otlp(tmp_path: Path) -> None:
    with Gateway(tmp_path, command="run") as gateway:

        def names() -> set[str]:
            return {entry["labels"]["__name__"] for entry in gateway.json("/api/v1/series?limit=5000")}

        host = {"system_cpu_time_seconds_total", "system_memory_usage_bytes", "system_network_io_bytes_total"}
        itself = {"gateway_active_series", "gateway_accepted_points_total"}
        gateway.until(lambda: host | itself <= names())
        jobs = {entry["labels"].get("job") for entry in gateway.json("/api/v1/series?limit=5000")}
        assert jobs >= {"host", "gateway"}
        assert gateway.stop() == 0


def test_demo_watches_the_host_finds_what_it_injects_and_keeps_off_a_port_in_use(tmp_path: Path) -> None:
    program("victoria-metrics", "victoria-metrics")
    with usual_port_in_use(), Gateway(tmp_path, command="demo") as demo:
        address = re.search(r"VictoriaMetrics +(http://127\.0\.0\.1:(\d+))\n", demo.output.read_text())
        assert address is not None, demo.output.read_text()
        assert int(address[2]) != USUAL_PORT

        def jobs() -> set[str]:
            with urllib.request.urlopen(f"{address[1]}/api/v1/label/job/values", timeout=10) as answer:
                return set(json.load(answer)["data"])

        demo.until(lambda: {"host", "gateway", *(profile.name for profile in FLEET)} <= jobs(), 120)
        demo.until(lambda: "found: latency step in checkout" in demo.output.read_text(), 180)
        assert demo.stop() == 0
    text = demo.output.read_text()
    assert "\x1b" not in text, "no terminal codes on a pipe"
    assert "sent 24 hours of the fleet's past" in text
    assert text.index("injected: latency step in checkout") < text.index("found: latency step in checkout")
    assert re.search(r"found [1-4] of [1-4] injected faults", text), text
    assert not re.search(r"accepted 0 ", text), "the closing counts are the last that were known"
    with pytest.raises(OSError, match="refused"):
        jobs()


def test_demo_without_victoria_metrics_says_so_and_ends_by_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert shutil.which("victoria-metrics") is None
    options = ("--minutes", "0.05", "--hours", "0.1")
    with Gateway(tmp_path, command="demo", options=options) as demo:
        assert demo.wait(120) == 0
    text = demo.output.read_text()
    assert "victoria-metrics is not installed" in text
    assert re.search(r"VictoriaMetrics +none; the embedded log is the history", text)
    assert "found 0 of 0 injected faults" in text


def test_the_usual_port_is_taken_when_it_is_free() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken = listener.getsockname()[1]
        assert free_port(taken) != taken
    assert free_port(taken) == taken


@contextlib.contextmanager
def usual_port_in_use() -> Iterator[None]:
    """Somebody listens on VictoriaMetrics' usual port: this test, if nobody else does."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):
            listener.bind(("127.0.0.1", USUAL_PORT))
            listener.listen()
        yield
