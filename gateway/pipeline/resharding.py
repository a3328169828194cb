"""Makes the states of n workers out of those of another number, while none of them runs.

Every row is settled by exactly one worker, whatever the numbers. A new worker begins at the least position of the
former ones in each edge's log, and passes over rows whose owner of then had come further (`Former` in workers.json,
gateway.series.shard). Which series is whose follows from labels, which the states do not hold; so every new worker is
given the baselines and running totals of all series, takes up those of its own when the log names them, and drops the
rest after `series.expiry` and `victoriametrics.forget_totals_after`. Counts go to worker 0, so that their sums stay,
and so does what workers that no longer run had open of services and limits, which it ends.

The forwarder goes back to its safe place, as it does when the target restarts: a few seconds of samples are sent
again with the values they had.

Everything is written to `state/resharding/` first and then moved; a crash before the mark `complete` leaves the former
states as they were, and one after it is caught up with at the next start.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np
import structlog

from gateway.baseline import snapshot
from gateway.errors import DiskFailed, StateError, UnknownVersion
from gateway.forward.progress import ProgressFiles, Record, SafePoint
from gateway.forward.running_totals import HashKey, TotalsCheckpoint
from gateway.log.offsets import Offset, OffsetFile
from gateway.log.recovery import recover
from gateway.log.segment import list_segments
from gateway.log.sharing import forget_committed
from gateway.pipeline.baseline_store import ScorerCounts, ScorerState
from gateway.pipeline.group_watch import hand_over_groups
from gateway.pipeline.limit_watch import hand_over_limits
from gateway.pipeline.workers import (
    FORMAT_VERSION,
    Former,
    WorkersFile,
    others_stopped,
    read_workers,
    read_workers_at,
    write_workers,
)
from gateway.telemetry.frame import Frontier, LogPosition, Place, edge_positions, not_beyond
from gateway.telemetry.state_file import store_file

log = structlog.get_logger(__name__)

_START: Final = LogPosition(0, 0)
_MARK: Final = "complete"
_FILE: Final = "workers.json"
_FILES_OF_WORKER: Final = (
    "scorer-{}.offset",
    "forward-{}.progress",
    "forward-{}.totals",
    "groups-{}.state",
    "limits-{}.state",
)
"""Removed where the worker is gone."""


def prepare_workers(data_dir: Path, workers: int) -> WorkersFile | None:
    """For worker 0, which holds the directory's lock: make the states fit the number of workers.

    None where one worker alone has used the directory and goes on to. Raises StateError, DiskFailed.
    """
    state, fresh = data_dir / "state", data_dir / "state" / "resharding"
    state.mkdir(parents=True, exist_ok=True)
    if (fresh / _MARK).exists():
        _move_in(data_dir, fresh)
    shutil.rmtree(fresh, ignore_errors=True)
    known = read_workers(data_dir)
    before = known.workers if known is not None else 1
    if workers == before:
        return known
    with others_stopped(data_dir, range(1, max(workers, before))):
        _make(data_dir, fresh, known, workers)
        _move_in(data_dir, fresh)
    shutil.rmtree(fresh, ignore_errors=True)
    log.info("the states were made anew for another number of workers", before=before, workers=workers)
    return read_workers(data_dir)


class _Scorers(NamedTuple):
    places: list[Place]
    counts: list[ScorerCounts]
    baselines: snapshot.BaselineSnapshot


def _make(data_dir: Path, fresh: Path, known: WorkersFile | None, workers: int) -> None:
    state = data_dir / "state"
    before = known.workers if known is not None else 1
    edges_before = known.edges if known is not None else 1
    edges = max(edges_before, workers)
    until = [_log_end(data_dir / "log", edge) for edge in range(edges)]
    scorers = _read_scorers(state, before)
    progress = [ProgressFiles(state, number).read()[1] for number in range(before)]
    former = list(known.former) if known is not None else []
    if known is not None and all(
        not_beyond(Frontier(tuple(known.until), ()), place)
        for place in (*scorers.places, *(safe.record.position for safe in progress))
    ):
        former = []  # all that was written before the last change has been settled
    former.append(
        Former(
            before,
            [_padded(place, edges) for place in scorers.places],
            [_padded(safe.record.position, edges) for safe in progress],
        )
    )
    fresh.mkdir(parents=True, exist_ok=True)
    _write_scorers(fresh, scorers, workers, edges)
    _write_forwarders(fresh, progress, workers, edges)
    _hand_over_watches(state, fresh, before, workers)
    content = WorkersFile(FORMAT_VERSION, workers, edges, until, former)
    store_file(fresh / _FILE, msgspec.json.encode(content))
    store_file(fresh / _MARK, b"")


def _log_end(directory: Path, edge: int) -> LogPosition:
    try:
        found = recover(directory, edge)
    except OSError as error:
        raise DiskFailed(f"the log in {directory} cannot be read: {error.strerror}") from error
    segments = list_segments(directory, edge)
    if found.end is None or not segments:
        return _START
    # Kept damaged segments may bear a higher number than the last one with frames.
    return max(found.end, LogPosition(segments[-1].number, segments[-1].end))


def _read_scorers(state: Path, count: int) -> _Scorers:
    places: list[Place] = []
    counts: list[ScorerCounts] = []
    parts: list[snapshot.BaselineSnapshot] = []
    for number in range(count):
        try:
            offset = OffsetFile(state / f"scorer-{number}.offset").load()
            if offset is None:
                places.append(_START)
                counts.append(ScorerCounts())
                continue
            payload = msgspec.json.decode(offset.payload, type=ScorerState)
            part = snapshot.read(state / payload.snapshot)
        except UnknownVersion:
            raise
        except (StateError, msgspec.MsgspecError, FileNotFoundError) as error:
            log.error("a scorer's state cannot be used; its series are learned anew", worker=number, error=str(error))
            places.append(_START)
            counts.append(ScorerCounts())
            continue
        parts.append(part)
        counts.append(payload.counts)
        places.append(payload.place or Frontier((offset.position,), (offset.next_row,), offset.next_row))
    return _Scorers(places, counts, joined_baselines(parts))


def joined_baselines(parts: Sequence[snapshot.BaselineSnapshot]) -> snapshot.BaselineSnapshot:
    """All records; where two files have one series (one of them waited for it in vain), the one that saw more."""
    if not parts:
        return snapshot.BaselineSnapshot.empty()
    keys = np.concatenate([p.keys for p in parts])
    records = np.concatenate([p.records for p in parts])
    deadlines = np.concatenate([p.deadlines for p in parts])
    halves = np.frombuffer(np.ascontiguousarray(keys).tobytes(), np.uint64).reshape(-1, 2)
    order = np.lexsort((records["last_ms"], halves[:, 1], halves[:, 0]))
    last = np.ones(len(order), np.bool_)
    last[:-1] = np.any(halves[order[1:]] != halves[order[:-1]], axis=1)
    begins = np.cumsum([0, *(len(p.records) for p in parts)])
    frozen = np.concatenate([begin + p.frozen for begin, p in zip(begins, parts, strict=False)])
    kept = np.concatenate([p.kept for p in parts])
    watermark_ms = max(p.watermark_ms for p in parts)
    whole = snapshot.BaselineSnapshot(keys, deadlines, records, watermark_ms, frozen, kept)
    return whole.only(order[last])


def _write_scorers(fresh: Path, scorers: _Scorers, workers: int, edges: int) -> None:
    start = _least(scorers.places, edges)
    total = ScorerCounts()
    for counts in scorers.counts:
        total.scored += counts.scored
        total.late += counts.late
        total.repeated += counts.repeated
        total.skipped += counts.skipped
        total.next_row += counts.next_row
        for reason, lost in counts.lost.items():
            total.lost = {**total.lost, reason: total.lost.get(reason, 0) + lost}
    first: Path | None = None
    try:
        for worker in range(workers):
            path = fresh / f"baseline-{worker}-{1:09d}.snapshot"
            if first is None:
                snapshot.write(path, scorers.baselines)
                first = path
            else:
                os.link(first, path)
            counts = total if worker == 0 else ScorerCounts()
            place = msgspec.structs.replace(start, taken=counts.next_row)
            payload = msgspec.json.encode(ScorerState(path.name, counts, place))
            OffsetFile(fresh / f"scorer-{worker}.offset").commit(Offset(_START, counts.next_row, payload))
    except OSError as error:
        raise DiskFailed(f"the scorers' states cannot be written: {error.strerror}") from error


def _write_forwarders(fresh: Path, progress: Sequence[SafePoint], workers: int, edges: int) -> None:
    start = _least([safe.record.position for safe in progress], edges, [safe.record.rows for safe in progress])
    total = Record(position=start)
    for safe in progress:
        record = safe.record
        total.rows += record.rows
        total.forwarded += record.forwarded
        total.target_info_forwarded += record.target_info_forwarded
        total.target_info_dropped += record.target_info_dropped
        for reason, rows in record.dropped.items():
            total.dropped = {**total.dropped, reason: total.dropped.get(reason, 0) + rows}
    totals = _joined_totals([safe.totals for safe in progress])
    try:
        for worker in range(workers):
            counted = total if worker == 0 else Record()
            record = counted.copy()
            record.position = msgspec.structs.replace(start, taken=counted.rows)
            files = ProgressFiles(fresh, worker)
            files.write_safe(SafePoint(record, totals))
            files.write_progress(record, record, None)
    except OSError as error:
        raise DiskFailed(f"the forwarders' states cannot be written: {error.strerror}") from error


def _hand_over_watches(state: Path, fresh: Path, before: int, workers: int) -> None:
    for name, hand_over in (("groups", hand_over_groups), ("limits", hand_over_limits)):
        gone = [state / f"{name}-{worker}.state" for worker in range(workers, before)]
        if any(path.exists() for path in gone):
            hand_over(state / f"{name}-0.state", gone, fresh / f"{name}-0.state")


def _joined_totals(parts: Sequence[TotalsCheckpoint]) -> TotalsCheckpoint:
    """All totals under one key; where two files have one series, the one whose last interval ended later."""
    kept = [part for part in parts if len(part)]
    if not kept:
        return TotalsCheckpoint.empty(parts[0].hash_key if parts else None)
    key: HashKey = kept[0].hash_key
    for part in kept:
        if part.hash_key != key:
            log.error("running totals under another key begin from zero", series=len(part))
    kept = [part for part in kept if part.hash_key == key]
    high, low = np.concatenate([p.high for p in kept]), np.concatenate([p.low for p in kept])
    totals, ends = np.concatenate([p.totals for p in kept]), np.concatenate([p.ends for p in kept])
    order = np.lexsort((ends, low, high))
    last = np.ones(len(order), np.bool_)
    last[:-1] = (high[order[1:]] != high[order[:-1]]) | (low[order[1:]] != low[order[:-1]])
    chosen = order[last]
    return TotalsCheckpoint(key, high[chosen], low[chosen], totals[chosen], ends[chosen])


def _least(places: Sequence[Place], edges: int, rows_of_one: Sequence[int] = ()) -> Frontier:
    """For each edge the least position, and the row it begins with. rows_of_one: for places in one edge's log."""
    positions: list[LogPosition] = []
    rows: list[int] = []
    for edge in range(edges):
        found: list[tuple[LogPosition, int]] = []
        for number, place in enumerate(places):
            if isinstance(place, Frontier):
                known = edge < len(place.edges)
                found.append((place.edges[edge], place.rows[edge]) if known else (_START, 0))
            elif edge == 0 and place != _START:
                found.append((place, rows_of_one[number] if number < len(rows_of_one) else 0))
            else:
                found.append((_START, 0))
        at, row = min(found)
        positions.append(at)
        rows.append(row)
    return Frontier(tuple(positions), tuple(rows))


def _padded(place: Place, edges: int) -> list[LogPosition]:
    known = list(edge_positions(place))
    return known + [_START] * (edges - len(known))


def _move_in(data_dir: Path, fresh: Path) -> None:
    """Put the new states in the place of the former ones; may be done again after a crash."""
    state = data_dir / "state"
    content = read_workers_at(fresh / _FILE)
    if content is None:
        raise StateError(f"{fresh / _FILE} is gone")
    try:
        forget_committed(data_dir / "run")
        for path in sorted(fresh.iterdir()):
            if path.name not in (_FILE, _MARK):
                path.replace(state / path.name)
        wanted = {f"baseline-{worker}-{1:09d}.snapshot" for worker in range(content.workers)}
        for path in state.glob("baseline-*.snapshot"):
            if path.name not in wanted:
                path.unlink()
        for worker in range(content.workers, content.edges):
            for name in _FILES_OF_WORKER:
                (state / name.format(worker)).unlink(missing_ok=True)
        write_workers(data_dir, content)
        (fresh / _MARK).unlink()
    except OSError as error:
        raise DiskFailed(f"the new states cannot be put in place: {error.strerror}") from error
