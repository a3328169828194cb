"""A role's process, from its first line to its exit status; started by the supervisor alone."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import Any

from gateway.app import load_for_fork, load_role, run_role
from gateway.config import check_config
from gateway.errors import AddressNotFree, ConfigError, GatewayError, StateError
from gateway.fork_server import SERVER_NAME, serve_forks
from gateway.logging_setup import configure_logging
from gateway.supervisor import EXIT_ADDRESS_NOT_FREE, EXIT_CONFIG


def run(name: str) -> int:
    """Be the role until it is told to stop; its configuration is read from standard input. SERVER_NAME: become what one
    is asked to be. Returns the exit status."""
    # gRPC writes lines of its own for what any client sends; what matters is counted and logged by us.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    if name == SERVER_NAME:
        forked = serve_forks(load_for_fork)
        if forked is None:
            return 0
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
    except AddressNotFree as error:
        sys.stderr.write(f"{name}: {error}\n")
        return EXIT_ADDRESS_NOT_FREE
    except ConfigError as error:
        sys.stderr.write(f"configuration: {error}\n")
        return EXIT_CONFIG
    except StateError as error:
        # Starting again cannot help: a person has to decide what becomes of the file.
        sys.stderr.write(f"{name}: {error}\n")
        return EXIT_CONFIG
    except GatewayError as error:
        sys.stderr.write(f"{name}: {error}\n")
        return 1
    return 0
