"""`gateway role NAME`: one child of `serve`; hidden, started by the supervisor alone."""

from __future__ import annotations

import typer

from gateway import role_process


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("role", hidden=True)
    def role(name: str) -> None:
        """One child of `serve`; reads its configuration from standard input. `fork-server`: becomes what it is asked
        to be."""
        raise typer.Exit(role_process.run(name))
