"""Runs a mutation loop for as many cases as are asked for, and prints one JSON line."""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping


def main(
    name: str, description: str | None, run: Callable[[int, int], Mapping[str, object]], *, cases: int = 100_000
) -> None:
    """run: takes the number of cases and a seed, and says what came of them. cases: unless `--cases` says otherwise."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--cases", type=int, default=cases)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    began = time.monotonic()
    outcome = run(given.cases, given.seed)
    took = round(time.monotonic() - began, 1)
    print(json.dumps({"fuzz": name, "cases": given.cases, "seed": given.seed, "seconds": took, **outcome}))
