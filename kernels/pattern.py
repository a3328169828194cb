"""The pattern model: tables of small trees that weigh the evidence of a candidate. The same for all series.

Each tree asks the same DEPTH questions on every path ("is feature j above t?"), so a tree is DEPTH pairs and
2^DEPTH leaves, and the answer is a walk without branches. The tables stand in the parameter vector behind the other
parameters, first that for runs, then that for all else, each: number of trees, bias, then per tree DEPTH × (feature,
threshold) and the leaves. `bench.detection.train` makes them.
"""

from __future__ import annotations

from typing import Any, Final

from kernels.jit import step

DEPTH: Final = 4
LEAVES: Final = 1 << DEPTH
TREE: Final = 2 * DEPTH + LEAVES
"""Entries of one tree."""
FIRST: Final = 32
"""Trees after which a candidate may be given up."""


@step
def weigh(features: Any, first: int, p: Any, at: int, hopeless: float) -> float:
    """Log odds that features[first:] are a fault's, by the table at p[at]; only begun if they stay under `hopeless`."""
    trees = int(p[at])
    total: float = p[at + 1]
    at += 2
    for number in range(trees):
        if number == FIRST and total < hopeless:
            break
        leaf = 0
        for k in range(DEPTH):
            # Added, not branched on: the answers are as good as random.
            leaf += int(features[first + int(p[at + 2 * k])] > p[at + 2 * k + 1]) << k
        total += p[at + 2 * DEPTH + leaf]
        at += TREE
    return total


@step
def second_table(p: Any, at: int) -> int:
    """Where the table behind the one at p[at] begins."""
    return at + 2 + int(p[at]) * TREE
