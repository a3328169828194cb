"""What people say of anomalies, useful or noise, and what it changes.

Rules of the subject:
  * One verdict an anomaly; another replaces it, `take_back` removes it. Every step is an event in the history (who,
    when, what before), and the verdict is a record that survives a restart.
  * A verdict moves the score that an alert's severity is taken from: SERIES for anomalies of the same series and kind,
    FAMILY for the same metric of the same service and kind. Noise lowers, useful raises; verdicts add up within
    LOWEST … HIGHEST and lose half of their weight every HALF_LIFE. A factor ten of rarity is 0.2 of score.
  * What falls under the score of an alert (0.5) is muted and listed with the reason; the anomaly's own score stays.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final, Literal

import msgspec

from gateway.alerting.journal import Journal
from gateway.alerting.moments import SECOND
from gateway.alerting.store import Store, decoded
from gateway.errors import NotFound
from gateway.telemetry.anomaly import Anomaly
from gateway.telemetry.service_labels import service_as_named

FEEDBACK: Final = "feedback"
"""Kind of the records and of the events."""
HALF_LIFE: Final = 14 * 86400 * SECOND
KEPT: Final = 6 * HALF_LIFE
"""A verdict weighs a sixtieth then and is forgotten."""
SERIES: Final = 0.1
FAMILY: Final = 0.03
LOWEST: Final = -0.3
HIGHEST: Final = 0.15
_SIDES: Final = {"noise": -1.0, "useful": 1.0}

Verdict = Literal["useful", "noise"]


class Given(msgspec.Struct, frozen=True, kw_only=True):
    """One verdict, with what it is about: enough to learn from when the anomaly itself is forgotten."""

    anomaly: Anomaly
    verdict: Verdict
    by: str
    comment: str = ""
    at: int
    """When it was given, nanoseconds."""


class Feedback:
    """All verdicts over a journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._all: dict[str, Given] = {}
        self._of_series: dict[tuple[str, frozenset[tuple[str, str]]], set[str]] = defaultdict(set)
        self._of_family: dict[tuple[str, str, str], set[str]] = defaultdict(set)

    def load(self, store: Store, now: int) -> None:
        """At start. Waits for the disk."""
        for key, given in decoded(store, FEEDBACK, Given):
            if given.at < now - KEPT:
                self._journal.drop(FEEDBACK, key)
            else:
                self._remember(given)

    def give(self, anomaly: Anomaly, verdict: Verdict, by: str, comment: str, now: int) -> Given:
        """Takes a verdict; replaces an earlier one of the same anomaly."""
        before = self._all.get(anomaly.id)
        given = Given(anomaly=anomaly, verdict=verdict, by=by, comment=comment, at=now)
        self._forget(anomaly.id)
        self._remember(given)
        self._journal.put(FEEDBACK, anomaly.id, given)
        self._journal.event(
            now, FEEDBACK, id=anomaly.id, verdict=verdict, by=by, comment=comment,
            before=before.verdict if before else "",
        )  # fmt: skip
        return given

    def take_back(self, anomaly_id: str, by: str, now: int) -> None:
        """Removes a verdict and its effect. Raises NotFound."""
        before = self._all.get(anomaly_id)
        if before is None:
            raise NotFound(f"no feedback on anomaly {anomaly_id}")
        self._forget(anomaly_id)
        self._journal.drop(FEEDBACK, anomaly_id)
        self._journal.event(now, FEEDBACK, id=anomaly_id, verdict="", by=by, before=before.verdict)

    def get(self, anomaly_id: str) -> Given | None:
        """The verdict on an anomaly."""
        return self._all.get(anomaly_id)

    def __iter__(self) -> Iterator[Given]:
        return iter(sorted(self._all.values(), key=lambda given: given.at))

    def shift(self, anomaly: Anomaly, now: int) -> float:
        """What verdicts on other anomalies add to the score of this one."""
        if not self._all:
            return 0.0
        own = self._of_series.get(_series(anomaly), set())
        family = self._of_family.get(_family(anomaly), set())
        moved = sum((SERIES if name in own else FAMILY) * self._weight(name, anomaly.id, now) for name in own | family)
        return min(max(moved, LOWEST), HIGHEST)

    def _weight(self, name: str, judged: str, now: int) -> float:
        given = self._all[name]
        if name == judged:
            return 0.0  # an alert that is open stays as it is
        return float(_SIDES[given.verdict] * 0.5 ** (max(now - given.at, 0) / HALF_LIFE))

    def _remember(self, given: Given) -> None:
        name = given.anomaly.id
        self._all[name] = given
        self._of_series[_series(given.anomaly)].add(name)
        self._of_family[_family(given.anomaly)].add(name)

    def _forget(self, name: str) -> None:
        given = self._all.pop(name, None)
        if given is not None:
            self._of_series[_series(given.anomaly)].discard(name)
            self._of_family[_family(given.anomaly)].discard(name)


def _series(anomaly: Anomaly) -> tuple[str, frozenset[tuple[str, str]]]:
    return anomaly.kind, frozenset(anomaly.series.items())


def _family(anomaly: Anomaly) -> tuple[str, str, str]:
    labels: Mapping[str, str] = anomaly.series
    service = service_as_named(labels)
    return anomaly.kind, service, labels.get("__name__", "")
