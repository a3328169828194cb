"""`gateway role NAME`: one child of `serve`; hidden, started by the supervisor alone."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

import typer

from gateway.app import load_role, run_role
from gateway.config import check_config
from gateway.errors import ConfigError, GatewayError, StateError
from gateway.fork_server import SERVER_NAME, serve_forks
from gateway.logging_setup import configure_logging
from gateway.supervisor import EXIT_CONFIG


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command("role", hidden=True)
    def role(name: str) -> None:
        """One child of `serve`; reads its configuration from standard input. `fork-server`: becomes what it is asked
        to be."""
        # gRPC writes lines of its own for what any client sends; what matters is counted and logged by us.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        if name == SERVER_NAME:
            forked = serve_forks(load_role)
            if forked is None:
                return
            name = forked
        configure_logging(name)
        load_role(name)
        message: dict[str, Any] = json.loads(sys.stdin.buffer.read())
        try:
            loaded = dataclasses.replace(
                check_config(message["raw"], message["sources"]),
                file=Path(message["file"]) if message["file"] else None,
                assignments=tuple(message["assignments"]),
            )
            run_role(name, loaded)
        except ConfigError as error:
            typer.echo(f"configuration: {error}", err=True)
            raise typer.Exit(EXIT_CONFIG) from None
        except StateError as error:
            # Starting again cannot help: a person has to decide what becomes of the file.
            typer.echo(f"{name}: {error}", err=True)
            raise typer.Exit(EXIT_CONFIG) from None
        except GatewayError as error:
            typer.echo(f"{name}: {error}", err=True)
            raise typer.Exit(1) from None
