"""`gateway serve`: the data plane and the control plane under one supervisor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gateway import supervision

ConfigOption = Annotated[Path | None, typer.Option("--config", "-c", help="TOML file; every key has a default.")]
SetOption = Annotated[
    list[str] | None,
    typer.Option("--set", help="section.key=value; repeatable, wins over file and environment."),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command("serve")
    def serve(config: ConfigOption = None, assignments: SetOption = None) -> None:
        """Run the gateway. SIGTERM ends it, SIGHUP reads the configuration again, SIGUSR2 starts the data plane's
        workers again, one after another.

        Examples:

          gateway serve

          gateway serve --config gateway.toml

          gateway serve --set victoriametrics.url=http://127.0.0.1:8428 --set log.retention=6h
        """
        raise typer.Exit(supervision.serve(config, assignments or []))
