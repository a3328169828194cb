"""What looks at scored rows beside the baselines of single series; the scorer's thread drives all of them alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from gateway.baseline.detector import Observation
from gateway.series.label_values import distinct_values
from gateway.telemetry.anomaly import Anomaly
from gateway.telemetry.frame import Frame
from gateway.telemetry.resolved import SeriesView
from gateway.telemetry.service_labels import SERVICE_LABELS


class Watch(Protocol):
    """One of them. Records it gives back are written like those of baselines."""

    def learn(self, sids: NDArray[np.uint32], frame: Frame) -> None:
        """Series met for the first time, or again under a reused id, in this frame."""
        ...

    def observe(self, sids: NDArray[np.uint32], frame: Frame, observation: Observation) -> Sequence[Anomaly]:
        """One scored frame, sids: uint32[n]; every sid has been learned."""
        ...

    def advance(self, now_ms: int) -> Sequence[Anomaly]:
        """About once a second, with the time of the newest points."""
        ...

    def forget(self, sids: NDArray[np.uint32]) -> Sequence[Anomaly]:
        """Series that ended."""
        ...

    def save(self) -> None:
        """The baselines are written to disk now. Raises OSError, DiskFailed."""
        ...


def services_of(series: SeriesView, sids: NDArray[np.uint32]) -> tuple[list[str], NDArray[np.int64]]:
    """(names of services, int64[n]: which of them each of sids, uint32[n], belongs to); "" for none."""
    names: list[str] = [""]
    which = np.zeros(len(sids), np.int64)
    left = np.arange(len(sids))
    for label in SERVICE_LABELS:
        if len(left) == 0:
            break
        values, own = distinct_values(series, sids[left], label)
        named = np.array([bool(value) for value in values])[own]
        which[left[named]] = len(names) + own[named]
        names += values
        left = left[~named]
    return names, which
