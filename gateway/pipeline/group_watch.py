"""Groups of deviating series, service by service, as anomaly records; what is known of services outlives a restart."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from gateway.baseline.detector import Observation
from gateway.baseline.group_detector import GroupChange, GroupDetector
from gateway.clock import Clock
from gateway.pipeline.watches import SERVICE_LABELS, label_value
from gateway.telemetry.anomaly import SEVERITIES, SEVERITY_FLOORS, Anomaly, Member
from gateway.telemetry.frame import Frame
from gateway.telemetry.labels import decode_label_blob
from kernels.series_state import CLOSED

log = structlog.get_logger(__name__)

VERSION: Final = 1
SHOWN: Final = 100
"""Members a record names; their number is told in any case."""
NAMED: Final = 5
"""Members the words name."""


class _State(msgspec.Struct):
    version: int
    services: dict[str, list[float | int]]
    open: list[Anomaly]


class GroupWatch:
    """See Watch. blob_of: the label blob of a series id; path: where the state is kept."""

    def __init__(self, detector: GroupDetector, blob_of: Callable[[int], bytes], path: Path, clock: Clock) -> None:
        self._detector, self._blob_of, self._path, self._clock = detector, blob_of, path, clock
        self._open: dict[str, Anomaly] = {}
        self._ended: list[Anomaly] = []
        """Open when an earlier process stopped: which series took part is not known any more."""
        self._load()

    def learn(self, sids: NDArray[np.uint32], frame: Frame) -> None:
        """See Watch."""
        services = [label_value(self._blob_of(sid), SERVICE_LABELS) for sid in sids.tolist()]
        self._detector.learn(sids, services, int(frame.times_ms.min()) if len(frame.times_ms) else 0)

    def observe(self, sids: NDArray[np.uint32], frame: Frame, observation: Observation) -> list[Anomaly]:
        """See Watch."""
        return self._records(self._detector.observe(sids, frame.times_ms, observation.score))

    def advance(self, now_ms: int) -> list[Anomaly]:
        """See Watch."""
        ended, self._ended = self._ended, []
        for anomaly in ended:
            anomaly.state, anomaly.ended = "resolved", max(now_ms / 1000.0, anomaly.time)
            anomaly.reasons = [*anomaly.reasons, "the gateway was started again"]
        return ended + self._records(self._detector.advance(now_ms))

    def forget(self, sids: NDArray[np.uint32]) -> list[Anomaly]:
        """See Watch."""
        self._detector.forget(sids)
        return []

    def _records(self, changes: Iterable[GroupChange]) -> list[Anomaly]:
        return [self._record(change) for change in changes]

    def _record(self, change: GroupChange) -> Anomaly:
        text = f"group\0{change.service}\0{change.opened_ms}".encode()
        identity = blake2b(text, digest_size=8).hexdigest()
        members = []
        for member in change.members[:SHOWN]:
            blob = self._blob_of(member.sid)
            if blob:  # it may have ended meanwhile
                series = decode_label_blob(blob)
                members.append(Member(series, member.onset_ms / 1000.0, round(member.score, 4)))
        known = self._open.get(identity)
        anomaly = Anomaly(
            id=identity,
            time=change.opened_ms / 1000.0,
            series={"service": change.service},
            value=float(change.count),
            expected=round(change.usual, 3),
            lower=0.0,
            upper=None,
            score=round(change.score, 4),
            severity=severity_of(change.score),
            reasons=_words(change, members),
            detected_ns=known.detected_ns if known is not None else self._clock.time_ns(),
            kind="group",
            members=members,
        )
        if change.kind == CLOSED:
            anomaly.state, anomaly.ended = "resolved", change.time_ms / 1000.0
            self._open.pop(identity, None)
        else:
            self._open[identity] = anomaly
        return anomaly

    def save(self) -> None:
        """See Watch."""
        state = _State(VERSION, self._detector.dump(), list(self._open.values()))
        temporary = self._path.with_name(self._path.name + ".tmp")
        with temporary.open("wb") as file:
            file.write(msgspec.msgpack.encode(state))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)

    def _load(self) -> None:
        try:
            state = msgspec.msgpack.decode(self._path.read_bytes(), type=_State)
            if state.version != VERSION:
                raise msgspec.ValidationError(f"version {state.version}")
        except FileNotFoundError:
            return
        except msgspec.MsgspecError as error:
            log.error(
                "what is known of services cannot be read; it is learned anew", path=str(self._path), error=str(error)
            )
            return
        for name, entry in state.services.items():
            self._detector.load(name, entry)
        self._ended = state.open


def severity_of(score: float) -> str:
    """The severity of a score."""
    return SEVERITIES[max(n for n, floor in enumerate(SEVERITY_FLOORS) if score >= floor)]


def _words(change: GroupChange, members: list[Member]) -> list[str]:
    names = list(dict.fromkeys(member.series.get("__name__", "a series") for member in members))
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    usual = f"{change.usual:.1f}" if change.usual >= 0.1 else "hardly any"
    return [
        f"{change.count} series of {change.service} deviate at the same time, usually {usual}",
        f"first {', then '.join(names[:NAMED])}{more}",
    ]
