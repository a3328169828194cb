"""`gateway run`: serve, and watch the own host and the gateway itself over real OTLP."""

from __future__ import annotations

import asyncio

import typer

from gateway.commands.serve import ConfigOption, SetOption
from gateway.supervision import load_or_exit, supervise


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("run")
    def run(config: ConfigOption = None, assignments: SetOption = None) -> None:
        """Run the gateway and let it watch this machine and itself; needs the extra `host`.

        Examples:

          gateway run

          gateway run --set alerting.webhook_url=http://127.0.0.1:9000/hook
        """
        from gateway.commands.host_watch import HostWatch  # the SDK is an extra; `serve` must not need it

        loaded = load_or_exit(config, assignments or [])
        watch = HostWatch(loaded.config.server.otlp_grpc, loaded.config.server.http)
        try:
            status = asyncio.run(supervise(loaded, on_ready=watch.start))
        finally:
            watch.stop()
        raise typer.Exit(status)
