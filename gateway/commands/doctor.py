"""`gateway doctor`: looks at what the gateway needs from the machine and its neighbours, and says what to do."""

from __future__ import annotations

import http.client
import os
import resource
import shutil
import socket
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import typer

from gateway.addresses import cannot_bind, is_loopback, parse_address
from gateway.commands.serve import ConfigOption, SetOption
from gateway.config import Config
from gateway.errors import AddressTaken
from gateway.http_date import http_date
from gateway.supervision import load_or_exit
from kernels import jit, warmup

Verdict = Literal["ok", "warning", "problem"]
_MARK = {"ok": "ok      ", "warning": "warning ", "problem": "PROBLEM "}
_WANTED_FILES = 4096
_LONGEST_ANSWER = 2**20


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `remedy` says what to do; empty when all is well."""

    verdict: Verdict
    subject: str
    text: str
    remedy: str = ""


def examine(config: Config) -> Iterator[Finding]:
    """All checks, in order; none of them changes anything."""
    yield from _ports(config)
    yield from _disk(config)
    yield from _files()
    yield from _kernels()
    yield from _victoria_metrics(config)


def _ports(config: Config) -> Iterator[Finding]:
    running = _running(config)
    for name in ("otlp_grpc", "otlp_http", "http"):
        address = getattr(config.server, name)
        host, port = parse_address(address)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                if running:
                    yield Finding("ok", name, f"{address} is served by the running gateway")
                else:
                    failure = cannot_bind(error, f"server.{name}", address)
                    in_use = f"stop what uses port {port} (ss -ltnp 'sport = :{port}')"
                    fix = in_use if isinstance(failure, AddressTaken) else f"needed: {failure.expected}"
                    yield Finding("problem", name, failure.problem, f"{fix}, or set server.{name}")
                continue
        yield Finding("ok", name, f"{address} is free")
        if not is_loopback(host):
            yield Finding("warning", name, f"{address} can be reached from other machines", "see docs/security.md")


def _running(config: Config) -> bool:
    return _fetch(f"http://{config.server.http}/-/healthy") is not None


def _disk(config: Config) -> Iterator[Finding]:
    directory = Path(config.server.data_dir)
    existing = next(p for p in (directory, *directory.resolve().parents) if p.exists())
    try:
        with tempfile.NamedTemporaryFile(dir=existing) as file:
            file.write(b"\0" * 4096)
            file.flush()
            began = time.perf_counter()
            for _ in range(10):
                file.write(b"\0" * 4096)
                file.flush()
                os.fsync(file.fileno())
            milliseconds = (time.perf_counter() - began) * 100.0
    except OSError as error:
        yield Finding(
            "problem", "data directory", f"{existing} cannot be written: {error.strerror}", "set server.data_dir"
        )
        return
    slow = milliseconds > 20.0
    yield Finding(
        "warning" if slow else "ok",
        "fsync",
        f"{milliseconds:.1f} ms in {existing}",
        "put server.data_dir on a faster disk; every acknowledgement waits for one fsync" if slow else "",
    )
    free, wanted = shutil.disk_usage(existing).free, int(config.log.max_bytes)
    short = free < wanted
    yield Finding(
        "warning" if short else "ok",
        "disk space",
        f"{free / 2**30:.1f} GiB free, log.max_bytes is {wanted / 2**30:.1f} GiB",
        "free space or lower log.max_bytes: a full disk refuses new data" if short else "",
    )


def _files() -> Iterator[Finding]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    low = soft < _WANTED_FILES
    yield Finding(
        "warning" if low else "ok",
        "open files",
        f"limit {soft} (hard {hard})",
        f"raise it: ulimit -n {_WANTED_FILES}, or LimitNOFILE in the systemd unit" if low else "",
    )


def _kernels() -> Iterator[Finding]:
    directory = jit.cache_directory()
    complete = warmup.is_complete()
    yield Finding(
        "ok" if complete else "warning",
        "kernels",
        f"compiled in {directory}" if complete else f"not compiled in {directory}",
        "" if complete else "run python -m kernels.warmup once, or the first start takes minutes",
    )


def _victoria_metrics(config: Config) -> Iterator[Finding]:
    url = config.victoriametrics.url.rstrip("/")
    if not url:
        yield Finding("ok", "VictoriaMetrics", "none configured; the embedded log is the history")
        return
    health = _fetch(f"{url}/health")
    if health is None:
        yield Finding("problem", "VictoriaMetrics", f"{url} does not answer", "start it or mend victoriametrics.url")
        return
    date = http_date(health[1] or "")
    if date is not None:
        skew = abs(date - time.time())
        yield Finding(
            "warning" if skew > 5.0 else "ok",
            "clock",
            f"{skew:.0f} s apart from VictoriaMetrics",
            "run NTP on both machines" if skew > 5.0 else "",
        )
    flags = _fetch(f"{url}/flags")
    if flags is None:
        yield Finding("ok", "VictoriaMetrics", f"{url} answers; its flags cannot be read")
        return
    deduplicates = any(
        line.startswith("-dedup.minScrapeInterval=") and line.split("=", 1)[1].strip('"') not in ("0s", "0", "")
        for line in flags[0].splitlines()
    )
    yield Finding(
        "ok" if deduplicates else "warning",
        "VictoriaMetrics",
        f"{url} answers, de-duplication is {'on' if deduplicates else 'off'}",
        "" if deduplicates else "start it with -dedup.minScrapeInterval=1ms, or samples sent again are stored twice",
    )


def _fetch(url: str) -> tuple[str, str | None] | None:
    try:
        with urllib.request.urlopen(url, timeout=3.0) as response:  # noqa: S310  # configured by the operator
            return response.read(_LONGEST_ANSWER).decode(errors="replace"), response.headers.get("Date")
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError):
        return None


def report(findings: Iterator[Finding], write: Callable[[str], None]) -> int:
    """Print findings; returns the exit status: 1 if there is a problem."""
    status = 0
    for finding in findings:
        write(f"{_MARK[finding.verdict]}{finding.subject}: {finding.text}")
        if finding.remedy:
            write(f"          → {finding.remedy}")
        if finding.verdict == "problem":
            status = 1
    return status


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("doctor")
    def doctor(config: ConfigOption = None, assignments: SetOption = None) -> None:
        """Check ports, disk, file limits, kernels, VictoriaMetrics and clocks, and say what to do.

        Examples:

          gateway doctor

          gateway doctor --config gateway.toml
        """
        loaded = load_or_exit(config, assignments or [])
        raise typer.Exit(report(examine(loaded.config), typer.echo))
