"""The command line: `gateway …`."""

from __future__ import annotations

from importlib.metadata import version as distribution_version

import typer

from gateway.commands import check_config, demo, detect, doctor, replay, run, serve

app = typer.Typer(
    name="gateway",
    help="Takes OTLP and Prometheus remote write, keeps it safe, scores every series, tells people.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.command("version")
def version() -> None:
    """Print the version."""
    typer.echo(distribution_version("telemetry-gateway"))


for command in (serve, run, demo, check_config, detect, replay, doctor):
    command.register(app)


def main() -> None:
    """Entry point of the `gateway` script."""
    app()


if __name__ == "__main__":
    main()
