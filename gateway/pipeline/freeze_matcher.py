"""Which series are covered by which maintenance windows that freeze learning, and when.

Conditions are on labels as the alert of a series' anomaly has them (docs/alerting.md): `service` is the first of
SERVICE_LABELS that the series has, `metric` its name, and labels of the series by one of the alert's own names are
`exported_…`. The labels `alertname` and `severity` are no conditions here: the control plane has decided on them.

A series is matched once, when a row of it comes at a time that any window covers, so that a million series cost nothing
while there is no maintenance, and are matched as their rows come when there is. Series that the same windows cover have
one number, and share the borders of these windows' spans.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.errors import RequestError
from gateway.pipeline.watches import services_of
from gateway.series.label_values import distinct_values
from gateway.telemetry.freeze_window import FreezeWindow, LabelCondition
from gateway.telemetry.mapped_zeros import grown_size, mapped_zeros
from gateway.telemetry.regular_expression import RegularExpression
from gateway.telemetry.resolved import SeriesView

_UNMATCHED: Final = 0
_EXPORTED: Final = {f"exported_{name}": name for name in ("alertname", "metric", "severity")}
_NO_BORDERS: Final = np.empty(0, np.int64)
_PIECE: Final = 16_384
"""Series matched at a time."""

Column = tuple[list[str], NDArray[np.int64]]
"""Values of a label, and which of them each series has."""
Test = Callable[[Mapping[str, int]], NDArray[np.bool_]]
"""Of distinct values, by their places."""


class FreezeMatcher:
    """See the module's text; the scorer's thread owns it."""

    def __init__(self, series: SeriesView) -> None:
        self._series = series
        self._tests: list[list[tuple[str, Test]]] = []
        self._windows: list[FreezeWindow] = []
        self._groups = np.zeros(0, np.uint32)
        """By series id: _UNMATCHED, else one more than the place in `_borders`."""
        self._borders: list[NDArray[np.int64]] = []
        self._numbers: dict[bytes, int] = {}
        self._all = _NO_BORDERS

    def reload(self, windows: Sequence[FreezeWindow]) -> list[str]:
        """These are the windows from now on; gives what is wrong with those that cannot be used and are left out. All
        is as before where it raises."""
        problems: list[str] = []
        readable: list[FreezeWindow] = []
        of_windows: list[list[tuple[str, Test]]] = []
        for window in windows:
            try:
                tests = [(condition.name, _test(condition)) for condition in window.conditions]
            except (RequestError, ValueError) as error:
                problems.append(f"maintenance window {window.id}: {error}")
                continue
            of_windows.append(tests)
            readable.append(window)
        borders = _borders([span for window in readable for span in window.spans])
        # Only now: tests of some windows with borders of others would be worse than either.
        self._tests, self._windows, self._all = of_windows, readable, borders
        self._groups = np.zeros(0, np.uint32)
        self._borders, self._numbers = [], {}
        return problems

    def __len__(self) -> int:
        return len(self._windows)

    def holding(self, now_ms: int) -> int:
        """Windows that cover a moment."""
        return sum(any(start <= now_ms < end for start, end in window.spans) for window in self._windows)

    def any_between(self, first_ms: int, last_ms: int) -> bool:
        """Whether any window covers a moment from first to last."""
        if len(self._all) == 0:
            return False
        at = int(np.searchsorted(self._all, first_ms, "right"))
        return at % 2 == 1 or (at < len(self._all) and int(self._all[at]) <= last_ms)

    def forget(self, sids: NDArray[np.uint32]) -> None:
        """These ids, uint32[n], belong to others now, or to none."""
        self._groups[sids[sids < len(self._groups)]] = _UNMATCHED

    def match(
        self, sids: NDArray[np.uint32], times_ms: NDArray[np.int64], grace_ms: NDArray[np.int64] | int = 0
    ) -> NDArray[np.bool_]:
        """bool[n]: whether a window of series sids, uint32[n], covers the time beside it, or one up to `grace_ms`
        before. The index knows them all."""
        inside = np.zeros(len(sids), np.bool_)
        if len(sids) == 0 or len(self._all) == 0:
            return inside
        self._reserve(int(sids.max()) + 1)
        unmatched = np.unique(sids[self._groups[sids] == _UNMATCHED])
        for first in range(0, len(unmatched), _PIECE):
            self._match(unmatched[first : first + _PIECE])
        groups = self._groups[sids] - 1
        since_ms = times_ms - grace_ms
        for number in np.unique(groups).tolist():
            borders = self._borders[number]
            if len(borders):
                rows = np.flatnonzero(groups == number)
                at = np.searchsorted(borders, times_ms[rows], "right")
                inside[rows] = (at % 2 == 1) | (at != np.searchsorted(borders, since_ms[rows], "right"))
        return inside

    def _reserve(self, end: int) -> None:
        if len(self._groups) < end:
            grown = mapped_zeros(grown_size(max(len(self._groups), 1024), end), np.uint32)
            grown[: len(self._groups)] = self._groups
            self._groups = grown

    def _match(self, sids: NDArray[np.uint32]) -> None:
        """Find the number of each of sids, uint32[n], each once."""
        columns: dict[str, tuple[dict[str, int], NDArray[np.int64]]] = {}
        meets = np.ones((len(sids), len(self._windows)), np.bool_)
        for at, tests in enumerate(self._tests):
            for name, test in tests:
                if name not in columns:
                    columns[name] = _distinct(self._column(sids, name))
                values, which = columns[name]
                meets[:, at] &= test(values)[which]
        packed = np.ascontiguousarray(np.packbits(meets, axis=1))
        rows = packed.view(np.dtype((np.void, packed.shape[1])))[:, 0]
        _, first, which = np.unique(rows, return_index=True, return_inverse=True)
        numbers = [self._number_of(packed[row].tobytes(), meets[row]) for row in first.tolist()]
        self._groups[sids] = np.array(numbers, np.uint32)[which] + 1

    def _number_of(self, key: bytes, meets: NDArray[np.bool_]) -> int:
        number = self._numbers.get(key)
        if number is None:
            number = self._numbers[key] = len(self._borders)
            of_series = [self._windows[at] for at in np.flatnonzero(meets).tolist()]
            self._borders.append(_borders([span for window in of_series for span in window.spans]))
        return number

    def _column(self, sids: NDArray[np.uint32], name: str) -> Column:
        series = self._series
        if name == "service":
            return services_of(series, sids)
        if name == "metric":
            return distinct_values(series, sids, "__name__")
        if name == "__name__":
            return [""], np.zeros(len(sids), np.int64)
        own = _EXPORTED.get(name)
        if own is None:
            return distinct_values(series, sids, name)
        # Where a series has both, the later one by name is what the alert has.
        later, earlier = (distinct_values(series, sids, label) for label in sorted((own, name), reverse=True))
        has_later = np.array([bool(value) for value in later[0]], np.bool_)[later[1]]
        return [*later[0], *earlier[0]], np.where(has_later, later[1], len(later[0]) + earlier[1])


def _borders(spans: Sequence[tuple[int, int]]) -> NDArray[np.int64]:
    """Where the union of half-open spans begins and ends, in turn, ascending."""
    found: list[int] = []
    for start, end in sorted(span for span in spans if span[0] < span[1]):
        if found and start <= found[-1]:
            found[-1] = max(found[-1], end)
        else:
            found += [start, end]
    return np.array(found, np.int64)


def _distinct(column: Column) -> tuple[dict[str, int], NDArray[np.int64]]:
    """(values, each once, with their places in that order; int64[n]: which of them each series has)."""
    values, which = column
    places: dict[str, int] = {}
    new_place = np.array([places.setdefault(value, len(places)) for value in values], np.int64)
    return places, new_place[which]


def _test(condition: LabelCondition) -> Test:
    """Which of some values, each once, meet the condition. Raises RequestError, ValueError."""
    wanted = condition.value
    if condition.operator in ("=", "!="):
        return partial(_equal, wanted, condition.operator == "=")
    if condition.operator not in ("=~", "!~"):
        raise ValueError(f"{condition.operator!r} is not an operator of a matcher")
    expression = RegularExpression(wanted, dot_matches_line_break=False)
    holds = condition.operator == "=~"
    return lambda values: np.fromiter((expression.fullmatch(value) == holds for value in values), np.bool_, len(values))


def _equal(wanted: str, holds: bool, values: Mapping[str, int]) -> NDArray[np.bool_]:
    found = np.full(len(values), not holds, np.bool_)
    if wanted in values:
        found[values[wanted]] = holds
    return found
