"""`gateway demo`: the gateway with a sample fleet, a day of its past, and a schedule of faults.

VictoriaMetrics is started beside it where it is installed, with de-duplication on, as the documentation advises.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import threading
import urllib.error
import urllib.request
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.serve import ConfigOption, SetOption, load_or_exit, supervise
from gateway.config import LoadedConfig

VICTORIA_METRICS_ADDRESS = "127.0.0.1:8428"


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("demo")
    def demo(
        config: ConfigOption = None,
        assignments: SetOption = None,
        minutes: Annotated[float, typer.Option(help="End after this many minutes; 0 = until ^C.")] = 0.0,
        hours: Annotated[float, typer.Option(help="Hours of past to send first.")] = 24.0,
    ) -> None:
        """Run the gateway with a sample fleet in which faults are injected; needs the extra `host`.

        Examples:

          gateway demo

          gateway demo --minutes 7 --set server.data_dir=/tmp/demo
        """
        given = list(assignments or [])
        if config is None and not any(a.startswith("server.data_dir=") for a in given):
            given.insert(0, "server.data_dir=demo-data")
        loaded = load_or_exit(config, given)
        victoria_metrics = None
        if not loaded.config.victoriametrics.url:
            victoria_metrics = _start_victoria_metrics(Path(loaded.config.server.data_dir))
            if victoria_metrics is not None:
                loaded = load_or_exit(config, [*given, f"victoriametrics.url=http://{VICTORIA_METRICS_ADDRESS}"])
        try:
            status = asyncio.run(_demo(loaded, minutes, hours))
        finally:
            if victoria_metrics is not None:
                victoria_metrics.terminate()
                victoria_metrics.wait(timeout=20)
        raise typer.Exit(status)


def _start_victoria_metrics(data_dir: Path) -> subprocess.Popen[bytes] | None:
    program = shutil.which("victoria-metrics")
    if program is None:
        typer.echo("victoria-metrics is not installed: the demo keeps its history in the embedded log")
        return None
    if _answers(f"http://{VICTORIA_METRICS_ADDRESS}/health"):
        typer.echo(f"something answers at {VICTORIA_METRICS_ADDRESS} already: the demo leaves it alone")
        return None
    storage = data_dir / "victoria-metrics"
    storage.mkdir(parents=True, exist_ok=True)
    with (data_dir / "victoria-metrics.log").open("wb") as output:
        return subprocess.Popen(  # noqa: S603  # the program was found on PATH, the arguments are ours
            [
                program,
                f"-storageDataPath={storage}",
                f"-httpListenAddr={VICTORIA_METRICS_ADDRESS}",
                "-dedup.minScrapeInterval=1ms",
                "-retentionPeriod=1",
            ],
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1.0):  # noqa: S310  # loopback addresses of our own
            return True
    except (urllib.error.URLError, OSError):
        return False


async def _demo(loaded: LoadedConfig, minutes: float, hours: float) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    finish = threading.Event()
    show: threading.Thread | None = None

    def begin() -> None:
        nonlocal show
        show = threading.Thread(target=show_fleet, name="demo", daemon=True)
        show.start()

    def show_fleet() -> None:
        from gateway.commands.fleet.show import run_show

        run_show(loaded.config.server, minutes=minutes, hours=hours, finish=finish)
        loop.call_soon_threadsafe(stop.set)

    try:
        return await supervise(loaded, on_ready=begin, stop=stop)
    finally:
        finish.set()
        if show is not None:
            await asyncio.to_thread(show.join, 10.0)
