"""Groups of deviating series, service by service, as anomaly records; what is known of services outlives a restart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from gateway.baseline.detector import Observation
from gateway.baseline.freeze import FreezeStore
from gateway.baseline.group_detector import GroupChange, GroupDetector
from gateway.clock import Clock
from gateway.errors import StateError, UnknownVersion
from gateway.pipeline.watches import services_of
from gateway.telemetry.anomaly import SEVERITIES, SEVERITY_FLOORS, Anomaly, Member
from gateway.telemetry.frame import Frame
from gateway.telemetry.labels import decode_label_blob
from gateway.telemetry.resolved import SeriesView
from gateway.telemetry.state_file import read_checked, write_checked
from kernels.series_state import CLOSED

log = structlog.get_logger(__name__)

VERSION: Final = 1
_MAGIC: Final = b"GWGROUPS"
_MOST_BYTES: Final = 2**30
"""Far beyond what is written; what says that it is longer is not read."""
SHOWN: Final = 100
"""Members a record names; their number is told in any case."""
NAMED: Final = 5
"""Members the words name."""


class _State(msgspec.Struct):
    services: dict[str, list[float | int]]
    open: list[Anomaly]


class GroupWatch:
    """See Watch. blob_of: the label blob of a series id; series: the index; path: where the state is kept; frozen: what
    is kept of series in maintenance windows."""

    def __init__(
        self,
        detector: GroupDetector,
        series: SeriesView,
        blob_of: Callable[[int], bytes],
        path: Path,
        clock: Clock,
        frozen: FreezeStore,
    ) -> None:
        """Raises UnknownVersion."""
        self._frozen, self._has_frozen = frozen, False
        self._detector, self._series, self._blob_of = detector, series, blob_of
        self._path, self._clock = path, clock
        self._open: dict[str, Anomaly] = {}
        self._ended: list[Anomaly] = []
        """Open when an earlier process stopped: which series took part is not known any more."""
        self._load()

    def learn(self, sids: NDArray[np.uint32], frame: Frame) -> None:
        """See Watch."""
        if len(sids):
            services, which = services_of(self._series, sids)
            self._detector.learn(sids, services, which, int(frame.times_ms.min()))

    def observe(self, sids: NDArray[np.uint32], frame: Frame, observation: Observation) -> list[Anomaly]:
        """See Watch."""
        return self._records(self._detector.observe(sids, frame.times_ms, observation.score))

    def advance(self, now_ms: int) -> list[Anomaly]:
        """See Watch."""
        has_frozen = not self._frozen.idle
        if has_frozen or self._has_frozen:
            self._detector.freeze(self._frozen.sids())
        self._has_frozen = has_frozen
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
        state = _State(self._detector.dump(), list(self._open.values()))
        write_checked(self._path, _MAGIC, VERSION, [msgspec.msgpack.encode(state)])

    def _load(self) -> None:
        state = _read(self._path)
        for name, entry in state.services.items():
            self._detector.load(name, entry)
        self._ended = state.open


def _read(path: Path) -> _State:
    """What is known of services; nothing where the file cannot be used. Raises UnknownVersion."""
    try:
        found = read_checked(path, _MAGIC, VERSION, limit=_MOST_BYTES)
        return _State({}, []) if found is None else msgspec.msgpack.decode(found[1], type=_State)
    except UnknownVersion:
        raise
    except (StateError, msgspec.MsgspecError) as error:
        log.error("what is known of services cannot be used; it is learned anew", path=str(path), error=str(error))
        return _State({}, [])


def hand_over_groups(former: Path, gone: Sequence[Path], into: Path) -> None:
    """Write to `into` what `former` knows, and what workers that no longer run (`gone`) had open, so that it is ended.

    Raises UnknownVersion, DiskFailed.
    """
    state = _read(former)
    state.open = [*state.open, *(anomaly for path in gone for anomaly in _read(path).open)]
    write_checked(into, _MAGIC, VERSION, [msgspec.msgpack.encode(state)])


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
