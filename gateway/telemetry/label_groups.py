"""Series counted by the values of some of their labels: what a list of services needs of a hundred thousand series."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec
import numpy as np
from numpy.typing import NDArray


class LabelGroups(msgspec.Struct, frozen=True):
    """The combinations of values that occur.

    names: the labels, m of them. values: for each its values, each once; "" where a series does not have it.
    rows: uint32[k, m], little endian, which value of each label a combination has. counts: uint32[k], its series.
    """

    names: list[str]
    values: list[list[str]]
    rows: bytes
    counts: bytes

    def __iter__(self) -> Iterator[tuple[dict[str, str], int]]:
        """(the labels that are there, how many series have exactly these)."""
        rows = np.frombuffer(self.rows, "<u4").reshape(-1, len(self.names))
        columns = [
            (name, list(map(values.__getitem__, rows[:, at].tolist())))
            for at, (name, values) in enumerate(zip(self.names, self.values, strict=True))
        ]
        for at, count in enumerate(np.frombuffer(self.counts, "<u4").tolist()):
            yield {name: column[at] for name, column in columns if column[at]}, count


def grouped(names: Sequence[str], values: list[list[str]], codes: NDArray[np.uint32]) -> LabelGroups:
    """codes: uint32[m, n], for each label which of its values each of n series has."""
    key = np.zeros(codes.shape[1], np.int64)
    for column, known in zip(codes, values, strict=True):
        # Dense again after each label, so that the product of all never leaves 63 bits.
        _, key = np.unique(key * len(known) + column.astype(np.int64), return_inverse=True)
    _, first, counts = np.unique(key, return_index=True, return_counts=True)
    rows = np.ascontiguousarray(codes[:, first].T, "<u4")
    return LabelGroups(list(names), values, rows.tobytes(), counts.astype("<u4").tobytes())
