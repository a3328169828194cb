"""Entry point: `gateway …`.

The supervisor and the roles stay for as long as the program, and what reads command lines is a quarter of what the
supervisor would hold: `serve` with plain options, and `role`, which people do not type, go without it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

_OPTIONS = {"--config": "config", "-c": "config", "--set": "set"}


def plain_options(arguments: Sequence[str]) -> tuple[Path | None, list[str]] | None:
    """File and assignments, if nothing but `--config FILE`, `-c FILE` and `--set KEY=VALUE` is there, with or without
    an equals sign after the long ones; else None."""
    config, assignments = None, list[str]()
    words = iter(arguments)
    for word in words:
        option, equals, value = word.partition("=")
        if not equals:
            value = next(words, "")
        if option not in _OPTIONS or not value or value.startswith("-") or (equals and option == "-c"):
            return None
        if _OPTIONS[option] == "config":
            config = Path(value)
        else:
            assignments.append(value)
    return config, assignments


def _leave_out_rich() -> None:
    """structlog imports it where it is installed, for colours that nobody asks for: a hundred modules."""
    sys.modules["rich"] = None  # type: ignore[assignment]  # as import says that it is not to be found
    try:
        import_module("structlog")
    finally:
        del sys.modules["rich"]


def main() -> None:
    """Entry point of the `gateway` script."""
    asked, arguments = "".join(sys.argv[1:2]), sys.argv[2:]
    if asked == "serve":
        # Held back until the supervisor answers them: of themselves they would end a program that is about to start.
        signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGHUP, signal.SIGUSR2))
    if asked == "role" and len(arguments) == 1 and not arguments[0].startswith("-"):
        _leave_out_rich()
        sys.exit(import_module("gateway.role_process").run(arguments[0]))
    if asked == "serve" and (options := plain_options(arguments)) is not None:
        _leave_out_rich()
        sys.exit(import_module("gateway.supervision").serve(*options))
    import_module("gateway.command_line").main()


if __name__ == "__main__":
    main()
