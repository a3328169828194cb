"""Which series run into a limit, and what the detector says of them as anomaly records.

A limit is given by a rule of [limits], or found by the series' names (`limit_names`). Counters have none.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from gateway.baseline.detector import Observation
from gateway.baseline.limit_settings import LimitSettings
from gateway.baseline.limits import LimitChange, LimitDetector
from gateway.baseline.reasons import duration_words
from gateway.clock import Clock
from gateway.errors import StateError, UnknownVersion
from gateway.pipeline.group_watch import severity_of
from gateway.pipeline.limit_names import STATE_LABEL, USED_STATE, limit_keys, natural_limit, stem_of
from gateway.selfmetrics import gauge
from gateway.series.index import SeriesIndex
from gateway.series.label_values import distinct_values
from gateway.telemetry import kind
from gateway.telemetry.anomaly import Anomaly
from gateway.telemetry.frame import Frame
from gateway.telemetry.labels import decode_label_blob
from gateway.telemetry.mapped_zeros import grown_size
from gateway.telemetry.selector import LabelMatcher, parse_selector
from gateway.telemetry.state_file import read_checked, write_checked
from kernels.series_state import CLOSED

log = structlog.get_logger(__name__)

VERSION: Final = 1
_MAGIC: Final = b"GWLIMITS"
_MOST_BYTES: Final = 2**30
"""Far beyond what is written; what says that it is longer is not read."""

WATCHED: Final = gauge("limit_series", "Series that are watched for the time to their limit.")


class LimitWatch:
    """See Watch. path: where the open anomalies are kept, so that a process that comes after this one can end them."""

    def __init__(self, settings: LimitSettings, index: SeriesIndex, path: Path, clock: Clock) -> None:
        """Raises RequestError for a rule whose selector cannot be read, UnknownVersion."""
        self._settings, self._index, self._path, self._clock = settings, index, path, clock
        self._detector = LimitDetector(settings.horizon)
        self._rules: list[tuple[tuple[LabelMatcher, ...], float, bool]] = [
            (parse_selector(rule.match), rule.limit, rule.falling) for rule in settings.rules
        ]
        self._slot = np.full(1024, -1, np.int32)
        self._is_limit = np.zeros(1024, np.bool_)
        self._sid_of_slot: dict[int, int] = {}
        self._keys_of: dict[int, Sequence[bytes]] = {}
        """Of series that are a limit or wait for one."""
        self._waiting: dict[bytes, set[int]] = {}
        self._limits: dict[bytes, float] = {}
        self._open: dict[int, Anomaly] = {}
        self._kept: list[str] = []
        """Ids of the anomalies that the file names as open."""
        self._ended: list[Anomaly] = []
        """Open when an earlier process stopped: the rings that would end them are not kept."""
        self._load()

    # Series

    def learn(self, sids: NDArray[np.uint32], frame: Frame) -> None:
        """See Watch."""
        if len(sids) == 0:
            return
        self._reserve(int(sids.max()) + 1)
        self.forget(sids)
        names, which = distinct_values(self._index, sids, "__name__")
        told = [self._meaning(name) for name in names]
        wanted = np.array([meaning != "" for meaning in told], np.bool_)[which]
        for row in np.flatnonzero(wanted).tolist():
            if len(self._keys_of) + len(self._detector) >= 2 * self._settings.max_series:
                break
            self._take(int(sids[row]), names[which[row]], told[which[row]])
        WATCHED.set(len(self._detector))

    def _meaning(self, name: str) -> str:
        """rule, natural, limit, used, or "" for none."""
        if any(_may_be(matchers, name) for matchers, _, _ in self._rules):
            return "rule"
        if natural_limit(name) is not None:
            return "natural"
        return stem_of(name)[0] if "cpu" not in name else ""

    def _take(self, sid: int, name: str, meaning: str) -> None:
        kinds = int(self._index.kinds[sid])
        if kinds & kind.CLASS_MASK in kind.COUNTING and not kinds & kind.NON_MONOTONIC:
            return
        labels = self._index.labels(sid)
        if meaning == "rule":
            for matchers, limit, falling in self._rules:
                if all(m.matches(labels.get(m.name, "")) for m in matchers):
                    self._watch(sid, limit, falling=falling)
                    return
            return
        if meaning == "natural":
            found = natural_limit(name)
            if found is not None and labels.get(STATE_LABEL, USED_STATE) == USED_STATE:
                self._watch(sid, found[0], falling=found[1])
            return
        role, stem = stem_of(name)
        keys = limit_keys(stem, labels)
        if role == "limit":
            self._keys_of[sid] = keys[:1]
            self._is_limit[sid] = True
            return
        self._keys_of[sid] = keys
        for key in keys:
            if key in self._limits:
                self._watch(sid, self._limits[key])
                return
            self._waiting.setdefault(key, set()).add(sid)

    def _watch(self, sid: int, limit: float, *, falling: bool = False) -> None:
        if len(self._detector) < self._settings.max_series and self._slot[sid] < 0:
            slot = self._detector.add(limit, falling=falling)
            self._slot[sid] = slot
            self._sid_of_slot[slot] = sid

    def _reserve(self, count: int) -> None:
        more = grown_size(len(self._slot), count) - len(self._slot) if count > len(self._slot) else 0
        if more:
            self._slot = np.concatenate([self._slot, np.full(more, -1, np.int32)])
            self._is_limit = np.concatenate([self._is_limit, np.zeros(more, np.bool_)])

    def forget(self, sids: NDArray[np.uint32]) -> list[Anomaly]:
        """See Watch."""
        ended: list[Anomaly] = []
        known = sids[sids < len(self._slot)]
        for sid in known[(self._slot[known] >= 0) | self._is_limit[known]].tolist():
            slot = int(self._slot[sid])
            if slot >= 0:
                change = self._detector.drop(slot)
                if change is not None:
                    ended += self._records([change])
                del self._sid_of_slot[slot]
        for sid in known.tolist() if self._keys_of else ():
            self._leave(sid, self._keys_of.pop(sid, ()))
        self._slot[known] = -1
        self._is_limit[known] = False
        return ended

    def _leave(self, sid: int, keys: Sequence[bytes]) -> None:
        for key in keys:
            if self._is_limit[sid]:  # another one of the same words says so again with its next row
                self._limits.pop(key, None)
            elif (waiting := self._waiting.get(key)) is not None:
                waiting.discard(sid)
                if not waiting:
                    del self._waiting[key]

    # Rows

    def observe(self, sids: NDArray[np.uint32], frame: Frame, observation: Observation) -> list[Anomaly]:
        """See Watch."""
        for row in np.flatnonzero(self._is_limit[sids]).tolist():
            self._new_limit(int(sids[row]), float(frame.values[row]))
        slots = self._slot[sids]
        rows = np.flatnonzero(slots >= 0)
        if len(rows) == 0:
            return []
        return self._records(
            self._detector.observe(slots[rows].astype(np.int64), frame.times_ms[rows], frame.values[rows])
        )

    def _new_limit(self, sid: int, value: float) -> None:
        key = self._keys_of[sid][0]
        if not math.isfinite(value) or value <= 0.0 or value >= 2.0**62 or self._limits.get(key) == value:
            return  # not a limit: "none" is written as 0, -1 or the largest number
        self._limits[key] = value
        for used in self._waiting.get(key, ()):
            if self._slot[used] < 0:
                self._watch(used, value)
            else:
                self._detector.limit(int(self._slot[used]), value)

    def advance(self, now_ms: int) -> list[Anomaly]:
        """See Watch. Raises OSError."""
        ended, self._ended = self._ended, []
        for anomaly in ended:
            anomaly.state, anomaly.ended = "resolved", max(now_ms / 1000.0, anomaly.time)
            anomaly.reasons = [*anomaly.reasons, "the gateway was started again"]
        if not ended:  # else what has just been ended is not on disk yet, and the file must go on naming it
            self.save()
        return ended

    def save(self) -> None:
        """See Watch. The rings are short; after a restart they fill again."""
        found = [*self._open.values(), *self._ended]
        ids = [anomaly.id for anomaly in found]
        if ids != self._kept:
            write_checked(self._path, _MAGIC, VERSION, [msgspec.msgpack.encode(found)])
            self._kept = ids

    def _load(self) -> None:
        self._ended = _read(self._path)
        self._kept = [anomaly.id for anomaly in self._ended]

    def _records(self, changes: Iterable[LimitChange]) -> list[Anomaly]:
        found: list[Anomaly] = []
        for change in changes:
            sid = self._sid_of_slot[change.slot]
            blob = self._index.blob(sid)
            if change.kind == CLOSED:
                known = self._open.pop(sid, None)
                if known is not None:
                    ended = max(change.time_ms / 1000.0, known.time)
                    reasons = [*known.reasons, "no longer on the way to its limit"]
                    found.append(msgspec.structs.replace(known, state="resolved", ended=ended, reasons=reasons))
                continue
            if not blob:
                continue
            found.append(self._record(change, sid, blob))
        return found

    def _record(self, change: LimitChange, sid: int, blob: bytes) -> Anomaly:
        text = b"limit\0" + blob + change.opened_ms.to_bytes(8, "little")
        known = self._open.get(sid)
        self._open[sid] = anomaly = Anomaly(
            id=blake2b(text, digest_size=8).hexdigest(),
            time=change.opened_ms / 1000.0,
            series=decode_label_blob(blob),
            value=change.value if math.isfinite(change.value) else None,
            expected=None,
            lower=None,
            upper=change.limit if change.per_hour > 0 else None,
            score=change.score,
            severity=severity_of(change.score),
            reasons=[
                f"reaches its limit of {change.limit:.4g} in about {duration_words(change.likely_s)}, "
                f"at the earliest in {duration_words(change.earliest_s)}",
                f"{change.per_hour:+.4g} an hour",
            ],
            detected_ns=known.detected_ns if known is not None else self._clock.time_ns(),
            kind="exhaustion",
        )
        return anomaly


def _may_be(matchers: Sequence[LabelMatcher], name: str) -> bool:
    """Whether a series of this name may be meant."""
    return all(m.matches(name) for m in matchers if m.name == "__name__")


def _read(path: Path) -> list[Anomaly]:
    """What was open; nothing where the file cannot be used. Raises UnknownVersion."""
    try:
        found = read_checked(path, _MAGIC, VERSION, limit=_MOST_BYTES)
        return [] if found is None else msgspec.msgpack.decode(found[1], type=list[Anomaly])
    except UnknownVersion:
        raise
    except (StateError, msgspec.MsgspecError) as error:
        log.error(
            "what was open of limits cannot be read; its alerts have to end by hand", path=str(path), error=str(error)
        )
        return []


def hand_over_limits(former: Path, gone: Sequence[Path], into: Path) -> None:
    """Write to `into` what `former` had open, and what workers that no longer run (`gone`) had, so that it is ended.

    Raises UnknownVersion, DiskFailed.
    """
    found = [anomaly for path in (former, *gone) for anomaly in _read(path)]
    write_checked(into, _MAGIC, VERSION, [msgspec.msgpack.encode(found)])
