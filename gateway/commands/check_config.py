"""`gateway check-config FILE`: says whether a configuration can be used, without starting anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gateway.commands.serve import SetOption
from gateway.config import shown
from gateway.config_check import check_alerting, check_listeners
from gateway.config_reference import render
from gateway.errors import ConfigError
from gateway.supervision import load_or_exit
from gateway.supervisor import EXIT_CONFIG


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("check-config")
    def check(
        file: Annotated[
            Path | None, typer.Argument(help="TOML file to check; none = defaults and environment.")
        ] = None,
        assignments: SetOption = None,
        reference: Annotated[bool, typer.Option("--reference", help="Print the reference of all keys.")] = False,
        show: Annotated[bool, typer.Option("--show", help="Print every value with its source as JSON.")] = False,
    ) -> None:
        """Check a configuration file and the alerting files it names; exit status 78 and the reason when one cannot be
        used.

        Examples:

          gateway check-config gateway.toml

          gateway check-config gateway.toml --show
        """
        if reference:
            typer.echo(render(), nl=False)
            return
        loaded = load_or_exit(file, assignments or [])
        try:
            check_listeners(loaded.config)
            check_alerting(loaded.config.alerting)
        except ConfigError as error:
            typer.echo(f"configuration: {error}", err=True)
            raise typer.Exit(EXIT_CONFIG) from None
        if show:
            typer.echo(json.dumps(shown(loaded.config, loaded.sources), indent=2))
        else:
            typer.echo(f"{file or 'defaults and environment'}: ok")
