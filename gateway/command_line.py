"""The command line as people see it: all commands, their options and help."""

from __future__ import annotations

import sys
from importlib import import_module
from importlib.metadata import version as distribution_version
from typing import Annotated, Final

import typer

app = typer.Typer(
    name="gateway",
    help="Takes OTLP and Prometheus remote write, keeps it safe, scores every series, tells people.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

COMMANDS: Final = {
    "serve": "gateway.commands.serve",
    "role": "gateway.commands.role",
    "run": "gateway.commands.run",
    "demo": "gateway.commands.demo",
    "check-config": "gateway.commands.check_config",
    "detect": "gateway.commands.detect",
    "replay": "gateway.commands.replay",
    "doctor": "gateway.commands.doctor",
    "alerting": "gateway.commands.alerting",
}
"""Command → module with its `register`. Only the module asked for is imported."""


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(distribution_version("telemetry-gateway"))
        raise typer.Exit


@app.callback(epilog="Examples: gateway serve --config gateway.toml; gateway doctor; gateway detect --help")
def program(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """What holds for every command; it also makes a single registered command keep its name."""


@app.command("version")
def version() -> None:
    """Print the version.

    Examples:

      gateway version
    """
    _print_version(True)


def main() -> None:
    """Do what the arguments ask for."""
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    if asked not in ("version", "--version"):
        for module in [COMMANDS[asked]] if asked in COMMANDS else COMMANDS.values():
            import_module(module).register(app)
    app()
