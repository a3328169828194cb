"""The roles of the program's processes: their planes and their names."""

from __future__ import annotations

from typing import Final

DATA: Final = "data"
"""The plane that takes points; one process a worker."""
CONTROL: Final = "control"
"""The plane of the console, the API and the alert router, and the name of its only role."""


def data_role_name(worker: int) -> str:
    """The role of a worker of the data plane: `data`, `data-1`, `data-2`, …"""
    return DATA if worker == 0 else f"{DATA}-{worker}"


def worker_of(name: str) -> int | None:
    """The worker that bears this role's name; None for another role."""
    kind, _, number = name.partition("-")
    if kind != DATA:
        return None
    return int(number) if number else 0
