"""The scorer's state on disk: a snapshot of the baselines and the log position it stands at.

A snapshot goes to a new file; then the offset file, which names it, is replaced; then older snapshots are removed. So
the offset file always names a whole snapshot, whenever the process dies. Series are found again by a keyed 128-bit
digest of their label blob: those of the restored snapshot wait until the log names their series again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from gateway.baseline import snapshot
from gateway.baseline.detector import Baseline
from gateway.errors import StateError, UnknownVersion
from gateway.log.offsets import Offset, OffsetFile
from gateway.telemetry.frame import Frontier, LogPosition, Place
from gateway.telemetry.label_sets import blobs_of
from gateway.telemetry.resolved import SeriesView
from gateway.telemetry.state_file import put_in_place
from kernels.cumulative import label_digests
from kernels.label_hash import derive_secrets

log = structlog.get_logger(__name__)

_LOG_START: Final = LogPosition(0, 0)
_PIECE: Final = 4096
"""Records, or digests, copied at a time while a snapshot is written."""


class ScorerCounts(msgspec.Struct):
    """What became of the rows before a position, since the data directory was made."""

    scored: int = 0
    late: int = 0
    repeated: int = 0
    skipped: int = 0
    lost: dict[str, int] = {}
    next_row: int = 0


class ScorerState(msgspec.Struct, omit_defaults=True):
    """The offset file's payload."""

    snapshot: str
    counts: ScorerCounts
    place: Frontier | None = None
    """Where the snapshot stands, of several edges; of one edge the offset says it."""


class UnsyncedSnapshot(NamedTuple):
    """A snapshot that is written but not yet safe."""

    temporary: Path
    path: Path


class BaselineStore:
    """Loads and stores; the scorer's thread owns it. hash_key: the data directory's."""

    def __init__(self, directory: Path, edge: int, hash_key: tuple[int, int]) -> None:
        self._directory = directory
        self._offset_path = directory / f"scorer-{edge}.offset"
        self._offset = OffsetFile(self._offset_path)
        self._prefix = f"baseline-{edge}-"
        self._secrets = derive_secrets(hash_key)
        self._number = 0
        self._pending: snapshot.BaselineSnapshot | None = None
        self._order: NDArray[np.uint64] = np.empty((0, 2), np.uint64)
        self._rows: NDArray[np.int64] = np.empty(0, np.int64)
        self._unclaimed: NDArray[np.bool_] = np.empty(0, np.bool_)
        self._left = 0
        """Records that have not been claimed."""

    def load(self) -> tuple[Place | None, ScorerCounts]:
        """The committed position and counts; a damaged state is set aside, said aloud, and everything learned anew."""
        self._directory.mkdir(parents=True, exist_ok=True)
        for leftover in self._directory.glob(f"{self._prefix}*.tmp"):
            leftover.unlink()
        self._number = max((self._number_of(p) for p in self._directory.glob(f"{self._prefix}*")), default=0)
        try:
            committed = self._offset.load()
            if committed is None:
                return None, ScorerCounts()
            payload = msgspec.json.decode(committed.payload, type=ScorerState)
            path = self._directory / payload.snapshot
            self._wait_for(snapshot.read(path))
        except UnknownVersion:
            raise
        except (StateError, msgspec.MsgspecError, FileNotFoundError) as error:
            log.error("the baselines' state cannot be used; they are learned anew from the log", error=str(error))
            with contextlib.suppress(FileNotFoundError):
                self._offset_path.replace(self._offset_path.with_suffix(".damaged"))
            return None, ScorerCounts()
        return payload.place or committed.position, payload.counts

    def _number_of(self, path: Path) -> int:
        text = path.name.removeprefix(self._prefix).partition(".")[0]
        return int(text) if text.isdigit() else 0

    def _wait_for(self, taken: snapshot.BaselineSnapshot) -> None:
        keys = np.frombuffer(np.ascontiguousarray(taken.keys).tobytes(), np.uint64).reshape(-1, 2)
        self._rows = np.lexsort((keys[:, 1], keys[:, 0]))
        self._order = keys[self._rows]
        self._pending = taken if len(keys) else None
        self._unclaimed = np.ones(len(keys), np.bool_)
        self._left = len(keys)

    def restore(self, baseline: Baseline, sids: NDArray[np.uint32], series: SeriesView) -> int:
        """Give series that were met for the first time what the snapshot knows of them; returns how many."""
        taken = self._pending
        if taken is None or len(sids) == 0:
            return 0
        keys = self._digests(sids, series)
        found_sids = np.full(len(taken.records), -1, np.int64)
        at = np.searchsorted(self._order[:, 0], keys[:, 0])
        waiting = np.arange(len(keys))
        while len(waiting):
            waiting = waiting[at[waiting] < len(self._order)]
            waiting = waiting[self._order[at[waiting], 0] == keys[waiting, 0]]
            same = self._order[at[waiting], 1] == keys[waiting, 1]
            found_sids[self._rows[at[waiting[same]]]] = sids[waiting[same]]
            waiting = waiting[~same]
            at[waiting] += 1
        hits = np.flatnonzero(found_sids >= 0)
        self._left -= int(np.count_nonzero(self._unclaimed[hits]))
        self._unclaimed[hits] = False
        part = taken.only(hits)
        owners = found_sids[hits]
        snapshot.restore(baseline, part, owners, series.generations[owners])
        if self._left == 0:
            self._forget_restored()
        return len(hits)

    def _forget_restored(self) -> None:
        """Every record has found its series, or is too old: the file need not be held any longer."""
        self._pending = None
        self._order, self._rows = np.empty((0, 2), np.uint64), np.empty(0, np.int64)
        self._unclaimed = np.empty(0, np.bool_)

    def begin(
        self,
        baseline: Baseline,
        sids: NDArray[np.uint32],
        series: SeriesView,
        forget_before_ms: int,
    ) -> UnsyncedSnapshot:
        """Write the baselines of `sids` to a file, without waiting for the disk.

        Series of the restored snapshot that have not been met again stay in it, unless their last point is older than
        `forget_before_ms`. The state is copied piece by piece, so memory for it is not needed twice. Raises OSError.
        """
        waiting = self._waiting(forget_before_ms)
        frozen = baseline.frozen_rows(sids)

        def keys() -> Iterator[NDArray[np.uint8]]:
            for first in range(0, len(sids), _PIECE):
                digests = self._digests(sids[first : first + _PIECE], series)
                yield digests.view(np.uint8).reshape(len(digests), 16)
            yield waiting.keys

        def records() -> Iterator[NDArray[Any]]:
            for first in range(0, len(sids), _PIECE):
                yield baseline.records(sids[first : first + _PIECE])[0]
            yield waiting.records

        def kept() -> Iterator[NDArray[Any]]:
            for first in range(0, len(frozen), _PIECE):
                yield baseline.frozen.records(sids[frozen[first : first + _PIECE]])
            yield waiting.kept

        self._number += 1
        path = self._directory / f"{self._prefix}{self._number:09d}.snapshot"
        deadlines = np.concatenate([baseline.deadlines(sids), waiting.deadlines])
        rows = np.concatenate([frozen, len(sids) + waiting.frozen])
        temporary = snapshot.write_unsynced(path, keys(), deadlines, records(), baseline.watermark_ms, rows, kept())
        return UnsyncedSnapshot(temporary, path)

    def finish(self, written: UnsyncedSnapshot, position: Place, counts: ScorerCounts) -> None:
        """Make a written snapshot durable and commit `position`; any thread, one at a time.

        Raises DiskFailed, OSError; then the former state stands.
        """
        put_in_place(written.temporary, written.path)
        place, at = (position, _LOG_START) if isinstance(position, Frontier) else (None, position)
        payload = msgspec.json.encode(ScorerState(written.path.name, counts, place))
        self._offset.commit(Offset(at, counts.next_row, payload))
        for old in self._directory.glob(f"{self._prefix}*.snapshot"):
            if old != written.path:
                old.unlink(missing_ok=True)

    def _waiting(self, forget_before_ms: int) -> snapshot.BaselineSnapshot:
        """Records of the restored snapshot whose series have not been met again."""
        pending = self._pending
        kept = np.empty(0, np.int64)
        if pending is not None:
            kept = np.flatnonzero(self._unclaimed & (pending.records["last_ms"] >= forget_before_ms))
            if len(kept) == 0:
                self._forget_restored()
        if pending is None or len(kept) == 0:
            return snapshot.BaselineSnapshot.empty()
        return pending.only(kept)

    def _digests(self, sids: NDArray[np.uint32], series: SeriesView) -> NDArray[np.uint64]:
        """uint64[k, 2]: the digest of each label blob."""
        digests = np.empty((len(sids), 2), np.uint64)
        for blobs in blobs_of(series, sids):
            n = len(blobs.lengths)
            high, low = np.zeros(n, np.uint64), np.zeros(n, np.uint64)
            label_digests(blobs.area, blobs.begins, blobs.lengths, blobs.rows, n, self._secrets, high, low)
            digests[blobs.first : blobs.first + n, 0], digests[blobs.first : blobs.first + n, 1] = high, low
        return digests
