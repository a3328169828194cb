"""Turns transitions of baselines into anomaly records, and keeps the open ones.

An anomaly's id is a digest of its series' label blob and of the time its alert opened, so that scoring the same rows
again after a crash writes the same ids, and readers of the log see a repetition for what it is.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from gateway.baseline.detector import Baseline
from gateway.baseline.evidence_text import evidence_text
from gateway.telemetry.anomaly import SEVERITIES, Anomaly, TraceReference
from gateway.telemetry.columns import ExemplarColumns
from gateway.telemetry.labels import decode_label_blob
from kernels import series_state as state
from kernels.series_state import CHANGED, CLOSED

_EXEMPLARS_KEPT: Final = 2048
_EXEMPLARS_SHOWN: Final = 3
KINDS: Final = {
    state.SPIKE: "spike",
    state.SUSTAINED: "sustained",
    state.SEASON: "season",
    state.NOISIER: "noisier",
    state.CALMER: "calmer",
    state.ZERO: "zero",
    state.FLAT: "flat",
    state.STALE: "stale",
    state.GROUP: "group",
}
"""What an anomaly of each reason is called."""
_FAMILY_SUFFIXES: Final = ("_bucket", "_count", "_sum", "_total")


def family_of(labels: dict[str, str]) -> tuple[str, frozenset[tuple[str, str]]]:
    """What the series of one instrument have in common: the name without its suffix, the labels without bounds."""
    name = labels.get("__name__", "")
    for suffix in _FAMILY_SUFFIXES:
        name = name.removesuffix(suffix)
    return name, frozenset((k, v) for k, v in labels.items() if k not in ("__name__", "le", "vmrange", "quantile"))


class AnomalyBook:
    """Open anomalies by id. blob_of: the label blob of a series id. The scorer's thread owns it."""

    def __init__(self, baseline: Baseline, blob_of: Callable[[int], bytes]) -> None:
        self._baseline = baseline
        self._blob_of = blob_of
        self._open: dict[str, Anomaly] = {}
        self._exemplars: deque[tuple[int, float, float, bytes, bytes]] = deque(maxlen=_EXEMPLARS_KEPT)

    def remember(self, sids: NDArray[np.uint32], exemplars: ExemplarColumns) -> None:
        """Keep a frame's exemplars for anomalies to come. sids: uint32[n], the frame's rows."""
        first = max(0, len(exemplars.rows) - _EXEMPLARS_KEPT)
        for i in range(first, len(exemplars.rows)):
            self._exemplars.append(
                (
                    int(sids[exemplars.rows[i]]),
                    float(exemplars.times_ms[i]) / 1000.0,
                    float(exemplars.values[i]),
                    exemplars.trace_ids[i].tobytes(),
                    exemplars.span_ids[i].tobytes(),
                )
            )

    def take(
        self, transitions: Iterable[Any], detected_ns: int, blobs: Mapping[int, bytes] | None = None
    ) -> Iterator[Anomaly]:
        """The records these transitions make, in order. Each is to be used before the next is asked for: a later
        transition of the same anomaly changes the same object. blobs: labels of series whose ids are given up."""
        for transition in transitions:
            sid = int(transition["sid"])
            yield self._one(transition, self._blob_of(sid) if blobs is None else blobs[sid], detected_ns)

    def _one(self, transition: Any, blob: bytes, detected_ns: int) -> Anomaly:
        opened_ms = int(transition["opened_ms"])
        identity = blake2b(blob + opened_ms.to_bytes(8, "little"), digest_size=8).hexdigest()
        kind = int(transition["kind"])
        known = self._open.get(identity)
        if known is None:
            known = Anomaly(
                id=identity,
                time=opened_ms / 1000.0,
                series=decode_label_blob(blob),
                value=None,
                expected=None,
                lower=None,
                upper=None,
                score=0.0,
                severity="low",
                reasons=[],
                detected_ns=detected_ns,
            )
            known.kind = KINDS.get(int(transition["reason"]), "")
            known.evidence = evidence_text(transition)
            known.exemplars = self._exemplars_of(known.series)
            self._open[identity] = known
        if kind == CLOSED:
            known.state, known.ended = "resolved", int(transition["time_ms"]) / 1000.0
            if not known.reasons:  # opened before a restart: the closing record stands alone
                _copy_numbers(known, transition)
                _copy_score(known, transition)
            known.reasons = [*known.reasons, *self._baseline.explain(transition)]
            del self._open[identity]
            return known
        if kind != CHANGED or float(transition["score"]) >= known.score:
            _copy_score(known, transition)
            # What lasts becomes more severe, also at a sample that is back within its range: it tells nothing of why.
            if not known.reasons or not _within_its_range(transition):
                _copy_numbers(known, transition)
                known.kind = KINDS.get(int(transition["reason"]), known.kind)
                known.reasons = self._baseline.explain(transition)
        return known

    def _exemplars_of(self, labels: dict[str, str]) -> list[TraceReference]:
        family, found = family_of(labels), []
        families: dict[int, bool] = {}
        for sid, time, value, trace, span in reversed(self._exemplars):
            if sid not in families:
                blob = self._blob_of(sid)
                families[sid] = bool(blob) and family_of(decode_label_blob(blob)) == family
            if families[sid]:
                found.append(TraceReference(trace.hex(), span.hex(), value, time))
                if len(found) == _EXEMPLARS_SHOWN:
                    break
        return found


def _copy_numbers(anomaly: Anomaly, transition: Any) -> None:
    for name in ("value", "expected", "lower", "upper"):
        number = float(transition[name])
        setattr(anomaly, name, number if math.isfinite(number) else None)


def _within_its_range(transition: Any) -> bool:
    """False where value or band is not known."""
    return bool(float(transition["lower"]) <= float(transition["value"]) <= float(transition["upper"]))


def _copy_score(anomaly: Anomaly, transition: Any) -> None:
    anomaly.score = round(float(transition["score"]), 4)
    anomaly.severity = SEVERITIES[int(transition["severity"])]
