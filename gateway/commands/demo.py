"""`gateway demo`: what `gateway run` does, and a sample fleet with a day of its past and a schedule of faults."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.commands.demo_storage import demo_storage
from gateway.commands.serve import ConfigOption, SetOption
from gateway.config import LoadedConfig
from gateway.supervision import load_or_exit, supervise

if TYPE_CHECKING:
    from gateway.commands.host_watch import HostWatch


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("demo")
    def demo(
        config: ConfigOption = None,
        assignments: SetOption = None,
        minutes: Annotated[float, typer.Option(help="End after this many minutes; 0 = until ^C.")] = 0.0,
        hours: Annotated[float, typer.Option(help="Hours of past to send first.")] = 24.0,
    ) -> None:
        """Do what `gateway run` does, with a sample fleet in which faults are injected; needs the extra `host`.

        VictoriaMetrics is started beside it where it is installed and none is configured.

        Examples:

          gateway demo

          gateway demo --minutes 7 --set server.data_dir=/tmp/demo
        """
        from gateway.commands.host_watch import HostWatch  # the SDK is an extra; `serve` must not need it

        given = list(assignments or [])
        if config is None and not any(a.startswith("server.data_dir=") for a in given):
            given.insert(0, "server.data_dir=demo-data")
        loaded = load_or_exit(config, given)
        with contextlib.ExitStack() as stack:
            if not loaded.config.victoriametrics.url:
                url = stack.enter_context(demo_storage(Path(loaded.config.server.data_dir)))
                if url:
                    loaded = load_or_exit(config, [*given, f"victoriametrics.url={url}"])
            watch = HostWatch(loaded.config.server.otlp_grpc, loaded.config.server.http)
            stack.callback(watch.stop)
            status = asyncio.run(_demo(loaded, watch, minutes, hours))
        raise typer.Exit(status)


async def _demo(loaded: LoadedConfig, watch: HostWatch, minutes: float, hours: float) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    finish = threading.Event()
    show: threading.Thread | None = None

    def begin() -> None:
        nonlocal show
        watch.start()
        show = threading.Thread(target=show_fleet, name="demo", daemon=True)
        show.start()

    def show_fleet() -> None:
        from gateway.commands.fleet.show import run_show

        run_show(loaded.config.server, minutes=minutes, hours=hours, finish=finish)
        watch.stop()  # while there is still somebody to export to
        loop.call_soon_threadsafe(stop.set)

    try:
        return await supervise(loaded, on_ready=begin, stop=stop)
    finally:
        finish.set()
        if show is not None:
            await asyncio.to_thread(show.join, 10.0)
