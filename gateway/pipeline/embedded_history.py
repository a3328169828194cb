"""The log as history: samples of the series that a selector means."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from gateway.log.history import LogHistory
from gateway.series.label_values import blobs_with
from gateway.telemetry.frame import LogPosition
from gateway.telemetry.history_samples import HistorySamples
from gateway.telemetry.labels import decode_label_blob
from gateway.telemetry.selector import LabelMatcher

_MOST_VALUES: Final = 100
"""Of a matcher, for its series to be told from their bytes: a millisecond each for 100,000 series."""


class EmbeddedHistory:
    """Of one edge's log; any thread may ask."""

    def __init__(self, log_dir: Path, edge: int) -> None:
        self._log = LogHistory(log_dir, edge)

    def samples(
        self, matchers: tuple[LabelMatcher, ...], start_ms: int, end_ms: int, limit: int, durable_end: LogPosition
    ) -> list[HistorySamples]:
        """Of `limit` series at most, oldest first."""
        # Most series are told from their bytes: decoding the labels of 100,000 takes a second.
        named = {m.name: values for m in matchers if (values := m.values()) and len(values) <= _MOST_VALUES}
        found = self._log.scan(
            lambda blob: _accepts(matchers, decode_label_blob(blob)),
            start_ms,
            end_ms,
            max_series=limit,
            durable_end=durable_end,
            select=partial(blobs_with, named),
        )
        return [
            HistorySamples(
                decode_label_blob(s.blob), s.kind, (s.times_ms / 1000.0).tolist(), _plain(s.values), s.exemplars
            )
            for s in found.series
        ]


def _plain(values: NDArray[np.float64]) -> list[float | None]:
    """For JSON, which has no NaN: stale markers become None."""
    return [v if math.isfinite(v) else None for v in values.tolist()]


def _accepts(matchers: tuple[LabelMatcher, ...], labels: dict[str, str]) -> bool:
    return all(m.matches(labels.get(m.name, "")) for m in matchers)
