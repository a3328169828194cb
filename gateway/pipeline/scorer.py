"""The scorer: one thread that scores every durable row, learns from it, and writes anomalies.

It reads the log like any other reader, so it never slows an acknowledgement; its committed position stands beside a
snapshot of the baselines. After a crash it scores again from there, which gives the same scores and the same anomaly
ids as before.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Final

import msgspec
import numpy as np
import structlog
from numpy.typing import NDArray

from gateway.baseline.detector import Baseline, Observation
from gateway.clock import Clock
from gateway.errors import GatewayError
from gateway.log.event_writer import EventWriter
from gateway.pipeline.anomaly_book import AnomalyBook
from gateway.pipeline.baseline_store import BaselineStore, ScorerCounts, UnsyncedSnapshot
from gateway.pipeline.bucket_bounds import BucketBounds
from gateway.pipeline.data_quality import DataQuality
from gateway.pipeline.feed import Feed, ThreadFeed
from gateway.pipeline.learning_freeze import LearningFreeze
from gateway.pipeline.replacements import Replacements
from gateway.pipeline.watches import Watch
from gateway.selfmetrics import TASK_FAILURES, counter, gauge, histogram
from gateway.series.index import SeriesIndex
from gateway.series.label_values import distinct_values
from gateway.telemetry.anomaly import SEVERITIES, Anomaly
from gateway.telemetry.frame import Place
from gateway.telemetry.lag import LagWindow
from gateway.telemetry.mapped_zeros import grown_size
from gateway.telemetry.resolved import ResolvedFrame
from kernels.first_seen import first_seen

log = structlog.get_logger(__name__)

ANOMALIES = counter("anomalies", "Anomaly records written, by severity and state.", ["severity", "state"])
for _severity in SEVERITIES[1:]:
    for _state in ("firing", "resolved"):
        ANOMALIES.labels(_severity, _state)  # nothing yet is 0, not unknown
COPY_SECONDS = histogram("baseline_copy_seconds", "Time scoring stands still for a snapshot of the baselines.")
SNAPSHOT_SECONDS = histogram("baseline_snapshot_seconds", "Time until a snapshot of the baselines is on disk.")
RESTORED = gauge("baseline_restored_series", "Series that took up their baseline after the last start.")

_NEVER_MET: Final = 0xFFFFFFFF
"""No generation gets so high; a series' first is 0."""
_FRAMES_BYTES: Final = 8 * 2**20
_WAIT_SECONDS: Final = 0.2
_SPACING_SECONDS: Final = 0.04
"""A round begins so long after the one before it began, unless much waits: what is done once a frame is then done for
several commits. What comes after a pause is taken at once."""
_MUCH_ROWS: Final = 65_536
_ADVANCE_SECONDS: Final = 1.0
_SNAPSHOT_SECONDS: Final = 60.0
_EXPIRY_SECONDS: Final = 60.0
_PRESSED_SECONDS: Final = 2.0
"""Between snapshots while the log is nearly full: what is not committed cannot be removed."""

ScoreSink = Callable[[ResolvedFrame, Observation], None]


class Scorer:
    """Owns the baselines; see the module's text. Numbers for the status are read from other threads.

    on_scores: called on the scorer's thread with every scored frame; writes scores back as series.
    freeze: scores the rows, and holds learning in maintenance windows.
    watches: what looks at the scored rows beside the baselines.
    log_is_pressed: whether the log is so full that segments should be let go soon.
    """

    def __init__(
        self,
        feed: Feed,
        index: SeriesIndex,
        baseline: Baseline,
        store: BaselineStore,
        anomalies: EventWriter,
        clock: Clock,
        *,
        on_scores: ScoreSink,
        expiry_seconds: float,
        log_is_pressed: Callable[[], bool],
        freeze: LearningFreeze,
        watches: Sequence[Watch] = (),
    ) -> None:
        self._durable_feed = feed
        self._feed = ThreadFeed(feed)
        self._index = index
        self._baseline = baseline
        self._store = store
        self._anomalies = anomalies
        self._clock = clock
        self._on_scores = on_scores
        self._expiry_ms = int(expiry_seconds * 1000)
        self._log_is_pressed = log_is_pressed
        self.freeze = freeze
        self._watches = watches
        self._book = AnomalyBook(baseline, index.blob)
        self._bounds = BucketBounds(index)
        self._replacements = Replacements(index)
        self.quality = DataQuality(lambda sids: distinct_values(index, sids, "job"))
        self._known = np.full(1024, _NEVER_MET, np.uint32)
        self._unwritten: list[bytes] = []
        """Anomaly records that are not on disk yet."""
        self._encoder = msgspec.msgpack.Encoder()
        self._lag = LagWindow()
        self._lag_lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="scorer", daemon=True)
        self._stopping = False
        self._stop_called = threading.Event()
        self._position: Place | None = None
        self._commit_unwritten = False
        self._saver = ThreadPoolExecutor(1, thread_name_prefix="baseline-snapshot")
        self._saving: Future[None] | None = None
        self.counts = ScorerCounts()
        self.failed: GatewayError | None = None
        """Why the last round failed; None after one that succeeded."""
        self.last_round = clock.monotonic()
        """When the thread last finished a round; a thread that stands still shows here."""

    def start(self) -> None:
        """Load state, go to its position, begin."""
        position, self.counts = self._store.load()
        self._position = position
        self.freeze.reload()  # before the first row: what comes may lie in a window
        self._durable_feed.seek(position, self.counts.next_row if position is not None else None)
        if position is not None:
            self._durable_feed.committed(position)
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Finish the round, write a last snapshot. Idempotent, bounded."""
        self._stopping = True
        self._stop_called.set()
        self._feed.wake()
        if self._thread.is_alive():
            self._thread.join(timeout)

    @property
    def thread_id(self) -> int:
        """gettid(2) of the thread; 0 before it is started."""
        return self._thread.native_id or 0

    def lag(self, share: float) -> float:
        """Seconds from the receipt of the bytes to the score, that `share` of the rows of the last minutes kept."""
        with self._lag_lock:
            return self._lag.percentile(self._clock.monotonic(), share) or 0.0

    def lag_counts(self) -> list[int]:
        """Rows by lag, see LagWindow.counts."""
        with self._lag_lock:
            counts: list[int] = self._lag.counts(self._clock.monotonic()).tolist()
        return counts

    def _run(self) -> None:
        now = self._clock.monotonic()
        next_advance, next_snapshot, next_expiry = now, now + _SNAPSHOT_SECONDS, now + _EXPIRY_SECONDS
        next_pressed = now
        while not self._stopping:
            try:
                self._flush()
                self._round()
                now = self._clock.monotonic()
                if now >= next_advance:
                    next_advance = now + _ADVANCE_SECONDS
                    self._advance(self._clock.time_ns() // 1_000_000)
                if now >= next_expiry:
                    next_expiry = now + _EXPIRY_SECONDS
                    self._expire()
                if now >= next_snapshot or (now >= next_pressed and self._log_is_pressed()):
                    self._snapshot()
                    next_pressed = now + _PRESSED_SECONDS
                    # A large state takes its time: never more than a hundredth of the thread goes into it.
                    next_snapshot = now + max(_SNAPSHOT_SECONDS, 100.0 * (self._clock.monotonic() - now))
                self._flush()
                self.failed = None
            except (GatewayError, OSError) as error:
                self.failed = error if isinstance(error, GatewayError) else GatewayError(str(error))
                log.error("scoring is held up, trying again", error=str(error))
                self._feed_wait()
            except Exception:  # the thread's outermost edge: detection must go on
                TASK_FAILURES.labels("scorer").inc()
                log.exception("a round of scoring failed")
                self._feed_wait()
            self.last_round = self._clock.monotonic()
        self._finish()

    def _finish(self) -> None:
        try:
            self._snapshot(wait=True)
            self._flush()
        except (GatewayError, OSError) as error:
            log.error("the last snapshot failed; scoring will repeat from the one before", error=str(error))
        finally:
            self._saver.shutdown(wait=False)

    def _feed_wait(self) -> None:
        threading.Event().wait(_WAIT_SECONDS)

    def _advance(self, now_ms: int) -> None:
        """Tell of series that fell silent, unless others took their place; look for maintenance windows."""
        self.freeze.advance()
        silent = self._baseline.advance(now_ms)
        told, replaced, told_before = self._replacements.match(silent, self._baseline.watermark_ms)
        self._baseline.end_silence(replaced)
        self._write(told)
        self._write(self._baseline.end_silence(told_before))
        for watch in self._watches:
            self._keep(watch.advance(self._baseline.watermark_ms))

    def _round(self) -> None:
        frames = self._feed.next_frames(_FRAMES_BYTES, _WAIT_SECONDS)
        began = self._clock.monotonic()
        for resolved in frames:
            frame = resolved.frame
            try:
                if len(frame):
                    self._score(resolved)
            except Exception:  # the thread's outermost edge: a frame that fails must not end detection
                TASK_FAILURES.labels("scorer").inc()
                log.exception("a frame could not be scored", rows=len(frame))
                self.counts.lost["failed"] = self.counts.lost.get("failed", 0) + frame.counted_rows
            self.counts.next_row = frame.first_row + frame.counted_rows
            self._position = resolved.end
            self._commit_unwritten = True
        if frames and sum(len(resolved.sids) for resolved in frames) < _MUCH_ROWS:
            left = _SPACING_SECONDS - (self._clock.monotonic() - began)
            if left > 0.0:
                self._stop_called.wait(left)

    def _score(self, resolved: ResolvedFrame) -> None:
        frame, sids = resolved.frame, resolved.sids
        fresh = self._meet(sids, frame.times_ms)
        for watch in self._watches:
            watch.learn(fresh, frame)
        self.quality.note_pauses(sids, frame.times_ms, self._baseline.states)
        observation = self.freeze.observe(sids, frame, self._bounds.array)
        counts = self.counts
        counts.scored += observation.scored
        counts.late += observation.late
        counts.repeated += observation.repeated
        counts.skipped += observation.skipped
        if frame.exemplars is not None:
            self._book.remember(sids, frame.exemplars)
        if len(observation.transitions):
            self._write(observation.transitions)
        for watch in self._watches:
            self._keep(watch.observe(sids, frame, observation))
        if len(far := observation.exceeding):
            self.quality.note_units(sids[far], frame.values[far], observation.expected[far])
        self.quality.observe(sids, frame.times_ms, frame.received_ns, observation.repeated)
        self._on_scores(resolved, observation)
        now_ns = self._clock.time_ns()
        with self._lag_lock:
            self._lag.add(self._clock.monotonic(), (now_ns - frame.received_ns) / 1e9, len(sids))

    def _meet(self, sids: NDArray[np.uint32], times_ms: NDArray[np.int64]) -> NDArray[np.uint32]:
        """Prepare for series that appear for the first time, or again under a reused id; gives their ids."""
        if len(self._known) < self._index.end_sid:
            grown = np.full(grown_size(len(self._known), self._index.end_sid), _NEVER_MET, np.uint32)
            grown[: len(self._known)] = self._known
            self._known = grown
        found = np.empty(len(sids), np.uint32)
        count = first_seen(sids, self._index.generations, self._known, found)
        fresh = found[:count]
        if count:
            self._bounds.learn(fresh)
            self.quality.learn(fresh)
            self.freeze.forget(fresh)
            RESTORED.inc(self._store.restore(self._baseline, fresh, self._index))
            self._replacements.learn(self._baseline.without_record(fresh), int(times_ms.max()))
        return fresh

    def _write(self, transitions: NDArray[Any], blobs: Mapping[int, bytes] | None = None) -> None:
        if len(transitions) == 0:
            return
        self._keep(self._book.take(transitions, self._clock.time_ns(), blobs))

    def _keep(self, anomalies: Iterable[Anomaly]) -> None:
        for anomaly in anomalies:
            ANOMALIES.labels(anomaly.severity, anomaly.state).inc()
            self._unwritten.append(self._encoder.encode(anomaly))

    def _flush(self) -> None:
        """Put records on disk; a failed attempt is made again, and nothing is scored before one succeeds."""
        if not self._unwritten:
            return
        now_ns = self._clock.time_ns()
        for record in self._unwritten:
            self._anomalies.append(record, received_ns=now_ns)
        self._anomalies.sync()
        self._unwritten.clear()

    def _expire(self) -> None:
        watermark = self._baseline.watermark_ms
        if watermark == 0:
            return
        cutoff = watermark - self._expiry_ms
        opened = self._baseline.open_ids()
        # An alert is told apart by its series' labels, which are gone, or another series', once the id is given up.
        blobs = {sid: self._index.blob(sid) for sid in opened[self._index.last_seen_ms[opened] < cutoff].tolist()}
        expired = self._index.expire(cutoff)
        if len(expired):
            self._write(self._baseline.forget(expired), blobs)
            for watch in self._watches:
                self._keep(watch.forget(expired))
            log.info("forgot idle series", series=len(expired))

    def _snapshot(self, *, wait: bool = False) -> None:
        """Write the baselines here, make them durable in another thread: scoring stands still only for the copy."""
        if self._saving is not None:
            if not wait and not self._saving.done():
                return
            self._saved()
        if self._position is None or not self._commit_unwritten:
            return
        self._flush()  # an anomaly must be on disk before the rows behind it count as read
        lengths = self._index.label_lengths[: self._index.end_sid]
        live = np.flatnonzero(lengths).astype(np.uint32)
        forget_before_ms = self._baseline.watermark_ms - self._expiry_ms
        began = self._clock.monotonic()
        for watch in self._watches:
            watch.save()
        written = self._store.begin(self._baseline, live, self._index, forget_before_ms)
        COPY_SECONDS.observe(self._clock.monotonic() - began)
        self._commit_unwritten = False
        self._saving = self._saver.submit(self._save, written, self._position, copy.deepcopy(self.counts), began)
        if wait:
            self._saved()

    def _saved(self) -> None:
        """Wait for the snapshot under way; raises what its writing raised."""
        saving, self._saving = self._saving, None
        if saving is not None and saving.exception() is not None:
            self._commit_unwritten = True
            saving.result()

    def _save(self, written: UnsyncedSnapshot, position: Place, counts: ScorerCounts, began: float) -> None:
        self._store.finish(written, position, counts)
        self._durable_feed.committed(position)
        SNAPSHOT_SECONDS.observe(self._clock.monotonic() - began)
