"""The commands as a person types them: exit status, what they print, what they write."""

from __future__ import annotations

import csv
import ctypes
import functools
import json
import math
import os
import random
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from gateway.baseline.recording import Recording
from gateway.command_line import COMMANDS, app
from gateway.commands.replay import Replay, send
from gateway.errors import ConfigError, GatewayError, RequestError
from tests.e2e.pair import Pair
from tests.e2e.program import Gateway
from tests.peers import free_port

GATEWAY = str(Path(sys.executable).parent / "gateway")


PRIVILEGED_PORT = 317


def _run(
    *arguments: str, timeout: float = 120.0, before: Callable[[], None] | None = None, **environment: str
) -> subprocess.CompletedProcess[str]:
    """before: called in the new process before it becomes the program."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("GATEWAY_")}
    return subprocess.run(
        [GATEWAY, *arguments], capture_output=True, text=True, timeout=timeout, check=False, preexec_fn=before,
        env=inherited | environment,
    )  # fmt: skip


def _without_low_ports() -> None:
    """Also root's programs may not bind them from here on: prctl(PR_CAPBSET_DROP, CAP_NET_BIND_SERVICE)."""
    if os.geteuid() == 0 and ctypes.CDLL(None, use_errno=True).prctl(24, 10, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


@functools.cache
def _program() -> typer.Typer:
    for module in COMMANDS.values():
        import_module(module).register(app)
    return app


def _here(*arguments: str, **environment: str) -> Result:
    """As `_run`, in this process: for what is decided before anything is started, after one such case has been a
    process. A new interpreter takes a second or two."""
    cleared = {name: None for name in os.environ if name.startswith("GATEWAY_")}
    result = CliRunner().invoke(_program(), arguments, env=cleared | environment)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def _write_recording(path: Path, *, fault: range, rows: int = 2000, step: int = 60, begin: int = 1_700_000_000) -> None:
    draw = random.Random(3)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["timestamp", "value", "label"])
        for row in range(rows):
            level = 400.0 if row in fault else 100.0
            value = level + 10.0 * math.sin(row / 60.0) + draw.gauss(0.0, 2.0)
            writer.writerow([begin + row * step, "" if row == 7 else f"{value:.3f}", int(row in fault)])


def test_version_and_help() -> None:
    version = _run("version")
    assert version.returncode == 0
    assert version.stdout.strip().count(".") == 2
    assert _here("--version").stdout == version.stdout
    listed = _run("--help")
    for command in ("serve", "check-config", "detect", "replay", "doctor", "version", "run", "demo"):
        assert command in listed.stdout
    assert "role" not in listed.stdout.split()
    assert _here("bogus").exit_code == 2
    for command in ("serve", "run", "demo", "check-config", "detect", "replay", "doctor", "version"):
        assert "Examples:" in _here(command, "--help").stdout, command


def test_check_config_says_yes_or_why_not(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.toml", tmp_path / "bad.toml"
    good.write_text('[log]\nretention = "6h"\n')
    assert _run("check-config", str(good)).returncode == 0
    shown = _here("check-config", str(good), "--show", GATEWAY_LOG__MAX_BYTES="2GiB")
    tree = json.loads(shown.stdout)
    assert tree["log"]["retention"]["source"] == str(good)
    assert tree["log"]["max_bytes"]["source"] == "environment GATEWAY_LOG__MAX_BYTES"
    bad.write_text('[log]\nretention = "soon"\n')
    refused = _run("check-config", str(bad))
    assert refused.returncode == 78
    for part in (str(bad), "log.retention", '"soon" is not a duration', "expected"):
        assert part in refused.stderr
    assert "Traceback" not in refused.stderr
    bad.write_text(f'[alerting]\nconfig_file = "{tmp_path / "absent.yml"}"\n')
    absent = _here("check-config", str(bad))
    assert absent.exit_code == 78
    assert "absent.yml" in absent.stderr


@pytest.mark.real
def test_serve_that_cannot_start_says_why_and_ends(tmp_path: Path) -> None:
    unknown = _run("serve", "--set", "log.retain=1h")
    assert unknown.returncode == 78
    assert "log.retain" in unknown.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = [f"server.data_dir={tmp_path}", f"server.otlp_http={address}"]
        settings += [f"server.{name}=127.0.0.1:{free_port()}" for name in ("otlp_grpc", "http")]
        blocked = _run("serve", *(part for s in settings for part in ("--set", s)))
    assert blocked.returncode == 75, blocked.stderr
    assert address in blocked.stderr
    assert "server.otlp_http" in blocked.stderr
    assert "Traceback" not in blocked.stderr


@pytest.mark.real
@pytest.mark.parametrize("name", ["otlp_grpc", "otlp_http"])
def test_a_port_that_may_not_be_bound_is_a_configuration_that_cannot_be_used(tmp_path: Path, name: str) -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= PRIVILEGED_PORT:
        pytest.skip("everybody may bind low ports here")
    ports = {key: PRIVILEGED_PORT if key == name else free_port() for key in ("otlp_grpc", "otlp_http", "http")}
    addresses = {key: f"127.0.0.1:{port}" for key, port in ports.items()}
    settings = [f"server.data_dir={tmp_path}", *(f"server.{key}={address}" for key, address in addresses.items())]
    refused = _run("serve", *(part for s in settings for part in ("--set", s)), before=_without_low_ports)
    assert refused.returncode == 78, refused.stderr
    for part in (f"server.{name}", addresses[name], "Permission denied", "CAP_NET_BIND_SERVICE"):
        assert part in refused.stderr
    assert "Traceback" not in refused.stderr


@pytest.mark.real
def test_doctor_looks_at_ports_disk_files_kernels_and_the_target(pair: Pair, tmp_path: Path) -> None:
    free = [f"server.{name}=127.0.0.1:{free_port()}" for name in ("otlp_grpc", "otlp_http", "http")]
    settings = [f"server.data_dir={tmp_path}", f"victoriametrics.url={pair.target.url}", *free]
    well = _run("doctor", *(part for s in settings for part in ("--set", s)))
    assert well.returncode == 0, well.stdout
    for subject in ("otlp_grpc", "fsync", "disk space", "open files", "kernels", "clock", "de-duplication is on"):
        assert subject in well.stdout
    taken = [f"server.otlp_http={pair.gateway.otlp_http}", "victoriametrics.url=http://127.0.0.1:9"]
    ill = _here("doctor", *(part for s in [*settings, *taken] for part in ("--set", s)))
    assert ill.exit_code == 1
    assert "cannot be bound" in ill.stdout
    assert "does not answer" in ill.stdout
    assert ill.stdout.count("→") >= 2, "each problem comes with what to do"
    served = _here("doctor", *(part for a in pair.gateway.assignments for part in ("--set", a)))
    assert "served by the running gateway" in served.stdout
    assert served.exit_code == 0, served.stdout


def test_detect_writes_one_row_for_each_and_finds_the_fault(tmp_path: Path) -> None:
    source, out = tmp_path / "cpu.csv", tmp_path / "out"
    fault = range(1500, 1560)
    _write_recording(source, fault=fault)
    result = _run("detect", "--input", str(source), "--output-dir", str(out))
    assert result.returncode == 0, result.stderr
    with (out / "cpu.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["timestamp", "value", "expected", "lower", "upper", "score", "severity", "alert"]
    given = [row for row in rows if float(row["timestamp"]) % 60 == 1_700_000_000 % 60]
    assert len(given) == 2000
    assert given[7]["value"] == ""
    assert all(0.0 <= float(row["score"]) <= 1.0 for row in rows if row["score"])
    assert {row["severity"] for row in rows} <= {"none", "low", "medium", "high", "critical"}
    alerts = [n for n, row in enumerate(given) if row["alert"] == "1"]
    assert alerts, "the fault is found"
    assert fault.start <= alerts[0] < fault.start + 10
    again = _run("detect", "--input", str(source), "--output-dir", str(tmp_path / "again"), "--jobs", "2")
    assert again.returncode == 0
    assert (tmp_path / "again" / "cpu.csv").read_bytes() == (out / "cpu.csv").read_bytes()


def test_detect_refuses_what_it_cannot_read(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("timestamp,value\nnoon,1\n")
    refused = _run("detect", "--input", str(tmp_path / "x.csv"), "--output-dir", str(tmp_path / "o"))
    assert refused.returncode == 2
    assert "row 1" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert _here("detect", "--input", str(tmp_path / "absent.csv"), "--output-dir", str(tmp_path / "o")).exit_code == 2


def test_detect_says_where_it_cannot_write(tmp_path: Path) -> None:
    source = tmp_path / "x.csv"
    source.write_text("timestamp,value\n")
    (tmp_path / "taken" / "x.csv").mkdir(parents=True)
    for directory in (source, tmp_path / "taken", tmp_path, Path("/proc/none")):
        refused = _here("detect", "--input", str(source), "--output-dir", str(directory))
        assert refused.exit_code == 2
        assert len(refused.stderr.splitlines()) == 1, refused.stderr
        assert str(directory) in refused.stderr
    empty = _here("detect", "--input", str(source), "--output-dir", str(tmp_path / "o"))
    assert empty.exit_code == 0
    assert "0 rows" in empty.stdout
    assert (tmp_path / "o" / "x.csv").read_text().startswith("timestamp,value,expected")
    assert len((tmp_path / "o" / "x.csv").read_text().splitlines()) == 1


def test_replay_refuses_what_it_cannot_send(tmp_path: Path) -> None:
    source, empty = tmp_path / "x.csv", tmp_path / "empty.csv"
    source.write_text("timestamp,value\n1700000060,1\n1700000000,2\n")
    empty.write_text("timestamp,value\n")
    for path, arguments, problem in (
        (empty, [], "has no rows"),
        (source, ["--target", "127.0.0.1:4318"], "--target"),
        (source, ["--target", "http://127.0.0.1:port"], "--target"),
        (source, ["--api", "ftp://127.0.0.1"], "--api"),
        (source, ["--speed", "nan"], "--speed"),
    ):
        refused = _here("replay", "--input", str(path), *arguments)
        assert refused.exit_code == 2
        assert problem in refused.stderr
        assert len(refused.stderr.splitlines()) == 1, refused.stderr


@pytest.mark.parametrize(
    ("answer", "problem", "kind"),
    [
        (b"\x00\x00\x12\x04\x00\x00\x00\x00\x00\r\n", "is it the gRPC port?", ConfigError),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone", "answered 404: none", RequestError),
    ],
)
def test_replay_names_what_the_target_answers(answer: bytes, problem: str, kind: type[GatewayError]) -> None:
    times = np.array([1_700_000_060.0, 1_700_000_000.0])
    run = Replay([Recording("x", times, np.array([1.0, 2.0]), iso=False)], "run", 2e9)
    assert run.times_ms.max() == 2_000_000_000_000, "the latest time is moved to the end, not the last row"

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65536)
            connection.sendall(answer)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,))
        thread.start()
        with pytest.raises(kind, match=re.escape(problem)):
            send(run, f"http://127.0.0.1:{listener.getsockname()[1]}", math.inf)
        thread.join()


@pytest.mark.real
def test_replay_sends_recordings_and_judges_the_alerts(tmp_path: Path) -> None:
    recordings = []
    for name, fault in (("faulty", range(1500, 1560)), ("calm", range(0))):
        recordings.append(tmp_path / f"{name}.csv")
        _write_recording(recordings[-1], fault=fault)
    labels = tmp_path / "labels.csv"
    begin = 1_700_000_000
    labels.write_text(f"recording,start,end\nfaulty,{begin + 1500 * 60},{begin + 1559 * 60}\n")
    inputs = [part for path in recordings for part in ("--input", str(path))]
    with Gateway(tmp_path) as gateway:
        addresses = ["--target", f"http://{gateway.otlp_http}", "--api", f"http://{gateway.http}"]
        result = _run("replay", *inputs, *addresses, "--speed", "max", "--labels", str(labels))
        assert result.returncode == 0, result.stderr
        assert "sent 3998 points of 2 recordings" in result.stdout
        assert "events 1  found 1  recall 1.000" in result.stdout, result.stdout
        assert gateway.json("/api/v1/status")["accepted_points"] == 3998
        newest = max(
            series["times"][-1] for series in gateway.json("/api/v1/history?match=%7Brecording!=%22%22%7D")["series"]
        )
        assert abs(newest - time.time()) < 300, "the recording's last point is now"
        assert "speed" in _run("replay", *inputs, *addresses, "--speed", "0x").stderr
    unreachable = _run("replay", *inputs, "--target", "http://127.0.0.1:9", "--speed", "max")
    assert unreachable.returncode == 2
    assert "Traceback" not in unreachable.stderr
