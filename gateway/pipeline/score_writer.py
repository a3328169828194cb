"""Scores as series: `anomaly_score`, `anomaly_expected`, `anomaly_lower` and `anomaly_upper`, with the labels of the
scored series plus `for="<metric name>"`."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from gateway.baseline.detector import Observation
from gateway.telemetry.labels import decode_label_blob, encode_label_blob
from gateway.telemetry.resolved import ResolvedFrame

SCORE_NAMES: Final = ("anomaly_score", "anomaly_expected", "anomaly_lower", "anomaly_upper")
_BLOBS_KEPT: Final = 50_000


class ScoreWriter:
    """Turns observations into samples. add_rows: Forwarder.add_score_rows. The scorer's thread owns it.

    which: "exceedances" writes rows whose score is at least one half, "all" every scored row, "none" nothing.
    """

    def __init__(
        self,
        which: Literal["exceedances", "all", "none"],
        blob_of: Callable[[int], bytes],
        add_rows: Callable[[Sequence[bytes], Sequence[int], Sequence[float]], int],
    ) -> None:
        self._which = which
        self._blob_of = blob_of
        self._add_rows = add_rows
        self._blobs: OrderedDict[bytes, tuple[bytes, ...]] = OrderedDict()

    def __call__(self, resolved: ResolvedFrame, observation: Observation) -> None:
        """Queue the samples of one scored frame."""
        if self._which == "none":
            return
        rows: NDArray[np.int64] = observation.exceeding
        if self._which == "all":
            rows = np.flatnonzero(np.isfinite(observation.expected))
        if len(rows) == 0:
            return
        blobs: list[bytes] = []
        times: list[int] = []
        values: list[float] = []
        columns: tuple[NDArray[np.floating[Any]], ...] = (
            observation.score, observation.expected, observation.lower, observation.upper,
        )  # fmt: skip
        for row in rows.tolist():
            time = int(resolved.frame.times_ms[row])
            for blob, column in zip(self._names(int(resolved.sids[row])), columns, strict=True):
                number = float(column[row])
                if math.isfinite(number):
                    blobs.append(blob)
                    times.append(time)
                    values.append(number)
        self._add_rows(blobs, times, values)

    def _names(self, sid: int) -> tuple[bytes, ...]:
        blob = self._blob_of(sid)
        known = self._blobs.get(blob)
        if known is None:
            labels = decode_label_blob(blob)
            name = labels.pop("__name__", "")
            known = tuple(encode_label_blob({**labels, "__name__": n, "for": name}) for n in SCORE_NAMES)
            self._blobs[blob] = known
            if len(self._blobs) > _BLOBS_KEPT:
                self._blobs.popitem(last=False)
        return known
