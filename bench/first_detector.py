"""The index with the simplest detector there is behind it: points a second of one core over 800,000 series.

`python -m bench.first_detector [--series 800000] [--rounds 12]` prints one JSON line a figure, medians of the rounds. A
round is one point of every series in batches of 8,000 rows, hashes in an order that the table's memory does not follow.

- `index`: hash → local id (kernels.series_table.resolve_hashes), as in the gateway.
- `index_and_ewma`: and then, of each series, a discounted mean and deviation (kernels.ewma) that score the value before
  they learn it. It says what the seam between index and detector allows. No series is scored so in the gateway; what
  the whole ensemble costs is `python -m bench.baseline_score`.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from kernels.ewma import share
from kernels.series_table import E_LIMIT, E_NEW, E_NEXT_ID, E_STATE, resolve_hashes

BATCH = 8000
MEAN, DEVIATION = 0, 1


@njit(nogil=True, error_model="numpy")  # type: ignore[untyped-decorator]
def score_ewma(ids: Any, values: Any, state: Any, scores: Any) -> None:
    """Distance of each value from its series' mean in mean deviations, into scores; then both learn the value.

    ids uint32[n], values float64[n], state float64[series, 2], scores float64[n].
    """
    weight = share(60.0, 3600.0)
    for row in range(ids.size):
        series = ids[row]
        away = values[row] - state[series, MEAN]
        scores[row] = abs(away) / (state[series, DEVIATION] + 1e-9)
        state[series, MEAN] += weight * away
        state[series, DEVIATION] += weight * (abs(away) - state[series, DEVIATION])


class Index:
    """A table that knows `series` hashes."""

    def __init__(self, series: int, draw: np.random.Generator) -> None:
        self.high, self.low = (draw.integers(1, 2**64, series, np.uint64) for _ in range(2))
        self._slots = np.zeros(series * 2, np.uint64)
        self._entries, self._carried = np.zeros(2 * series, np.uint64), np.zeros(series, np.uint8)
        self._state = np.zeros(E_STATE, np.int64)
        self._state[E_LIMIT] = series
        self._new = np.empty(series, np.int64), np.empty(series, np.int64)
        self.ids(0, series)
        if self._state[E_NEXT_ID] != series:
            raise SystemExit("two series of the benchmark have one hash")

    def ids(self, begin: int, end: int) -> NDArray[np.uint32]:
        """Local ids of the series begin … end - 1."""
        out = np.empty(end - begin, np.uint32)
        self._state[E_NEW] = 0
        table = self._slots, self._entries, self._carried, self._state
        resolve_hashes(self.high[begin:end], self.low[begin:end], 0, *table, out, *self._new)
        return out


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--series", type=int, default=800_000)
    parser.add_argument("--rounds", type=int, default=12)
    given = parser.parse_args()
    draw = np.random.default_rng(1)
    index = Index(given.series, draw)
    state, scores = np.ones((given.series, 2)), np.empty(BATCH)
    ranges = [(begin, min(begin + BATCH, given.series)) for begin in range(0, given.series, BATCH)]
    took: dict[str, list[float]] = {"index": [], "index_and_ewma": []}
    score_ewma(index.ids(0, 1), np.ones(1), state, scores)  # compiles it
    for _ in range(given.rounds):
        values = draw.normal(100.0, 1.0, given.series)
        for name, seconds in took.items():
            draw.shuffle(ranges)
            began = time.thread_time()
            for begin, end in ranges:
                ids = index.ids(begin, end)
                if name != "index":
                    score_ewma(ids, values[begin:end], state, scores[: end - begin])
            seconds.append(time.thread_time() - began)
    for name, seconds in took.items():
        middle = statistics.median(seconds)
        figure = {"bench": name, "points_per_second": round(given.series / middle), "series": given.series}
        print(json.dumps({**figure, "ns_per_point": round(middle / given.series * 1e9, 1), "runs": given.rounds}))


if __name__ == "__main__":
    main()
