"""The data plane put together: edge, log, scorer, forwarder, and what it tells of itself.

Start: load offsets, open the log (which cuts a torn tail), start readers at their positions, then the committer.
Stop: committer first (what is accepted becomes durable), then the readers, each writing its position.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import structlog

from gateway.baseline.detector import Baseline
from gateway.baseline.group_detector import BUDGETS, GroupDetector
from gateway.baseline.limit_settings import LimitSettings
from gateway.baseline.settings import DetectionSettings
from gateway.clock import Clock
from gateway.errors import DiskFailed, StateError, UnknownVersion
from gateway.forward.forwarder import Forwarder
from gateway.forward.progress import ProgressFiles
from gateway.forward.settings import VictoriaMetricsSettings
from gateway.log.event_writer import EventWriter
from gateway.log.offsets import OffsetFile
from gateway.log.retention import Retention
from gateway.log.segment import FORMAT_VERSION
from gateway.log.settings import LogSettings
from gateway.log.sharing import DurableEnd
from gateway.log.writer import LogWriter
from gateway.owned_tasks import end_tasks
from gateway.pipeline.baseline_store import BaselineStore
from gateway.pipeline.call_edges import CallEdges
from gateway.pipeline.change_log import DIRECTORY, ChangeLog
from gateway.pipeline.committer import Committer
from gateway.pipeline.embedded_history import EmbeddedHistory
from gateway.pipeline.feed import AsyncFeed, DurableFeed, Feed
from gateway.pipeline.free_memory import give_back_free_memory
from gateway.pipeline.group_watch import GroupWatch
from gateway.pipeline.hash_key import load_or_make_hash_key
from gateway.pipeline.learning_freeze import LearningFreeze
from gateway.pipeline.limit_watch import LimitWatch
from gateway.pipeline.plane_status import plane_status, senders_of
from gateway.pipeline.score_writer import ScoreWriter
from gateway.pipeline.scorer import Scorer
from gateway.pipeline.shard_rows import RowGrouping
from gateway.pipeline.sharding import Sharding
from gateway.pipeline.watches import Watch
from gateway.selfmetrics import TASK_FAILURES
from gateway.series.edge_table import EdgeTable
from gateway.series.index import SeriesIndex
from gateway.series.local_ids import LocalIds
from gateway.series.settings import SeriesSettings
from gateway.telemetry.call_edge import CallEdge
from gateway.telemetry.frame import Frame, edge_positions
from gateway.telemetry.freeze_window import FILE_NAME
from gateway.telemetry.history_samples import HistorySamples
from gateway.telemetry.label_groups import LabelGroups
from gateway.telemetry.selector import LabelMatcher

log = structlog.get_logger(__name__)

_TOLD_SECONDS: Final = 1.5
"""From which a part that stands still is told of."""
_NAMED_SECONDS: Final = 0.5
"""From which the supervisor is given the thread of a part that stands still, and looks whether it runs at all."""
_STALLED_SECONDS: Final = 15.0
"""From which scoring that stands still is a reason to send traffic elsewhere; the log takes it all the while."""
_SWEEP_SECONDS: Final = 10.0
_TRIM_SECONDS: Final = 60.0
_PROBE_SECONDS: Final = 0.5
_DRAIN_SECONDS: Final = 3.0
_ANOMALIES_LOG: Final = LogSettings()


class DataPlane:
    """Everything between a decoded request and its way out. Belongs to the event loop that starts it."""

    def __init__(
        self,
        data_dir: Path,
        clock: Clock,
        *,
        log_settings: LogSettings,
        series_settings: SeriesSettings,
        detection: DetectionSettings,
        victoriametrics: VictoriaMetricsSettings,
        max_series: int,
        sharding: Sharding | None = None,
        limits: LimitSettings | None = None,
    ) -> None:
        """sharding: where several workers share the data directory, or did."""
        self._clock = clock
        self._sharding = sharding
        self._number = sharding.worker if sharding is not None else 0
        """Of this worker, its edge and its shard."""
        self._data_dir = data_dir
        self._log_dir = data_dir / "log"
        self._state_dir = data_dir / "state"
        self._log_settings = sharding.settings_of_edge(log_settings) if sharding is not None else log_settings
        self._series_settings = series_settings
        self._detection = detection
        self._limits = limits or LimitSettings()
        self._target = victoriametrics
        self._max_series = max_series
        self._started = clock.monotonic()
        self._forward_task: asyncio.Task[None] | None = None
        self._stack = contextlib.AsyncExitStack()
        self._forwarder: Forwarder | None = None
        self._forward_feed: AsyncFeed | None = None
        self._feeds: list[DurableFeed] = []
        self._accepted_elsewhere = 0
        """Rows of edges that no worker writes any more and that are counted here."""
        self._stopped = False
        self._state_dir.mkdir(parents=True, exist_ok=True)
        self.hash_key = load_or_make_hash_key(data_dir)
        self.call_edges = CallEdges(clock)
        """Who calls whom, from the spans that pass."""

    async def start(self) -> None:
        """Recover and begin to accept. Raises StateError, DiskFailed, ConfigError."""
        await asyncio.to_thread(self._open)
        if self._target.url:
            loop = asyncio.get_running_loop()
            self._forward_feed = AsyncFeed(self._forward_durable, loop)
            self._stack.push_async_callback(self._forward_feed.close)
            self._forwarder = Forwarder(
                self._target, self._forward_feed, self._index, self._state_dir, clock=self._clock, edge=self._number
            )
            await self._forwarder.load()
            if self._sharding is None:
                acked = self._forwarder.stats().acked_position
                self._retention.commit("forwarder", edge_positions(acked)[0])
        self._score_writer = ScoreWriter(
            self._target.scores if self._forwarder is not None else "none",
            self._index.blob,
            self._forwarder.add_score_rows if self._forwarder is not None else _take_none,
        )
        self.baseline = Baseline(self._detection)
        """The scorer's thread owns it; others may look."""
        self._scorer = Scorer(
            self._score_feed,
            self._index,
            self.baseline,
            BaselineStore(self._state_dir, self._number, self.hash_key),
            self._anomalies,
            self._clock,
            on_scores=self._score_writer,
            expiry_seconds=float(self._series_settings.expiry),
            log_is_pressed=self._log_is_pressed,
            freeze=LearningFreeze(self._state_dir / FILE_NAME, self._index, self.baseline, self._clock),
            watches=self._watches() if self._detection.enabled else (),
        )
        self._stack.push_async_callback(asyncio.to_thread, self._scorer.stop)
        await asyncio.to_thread(self._scorer.start)
        if self._forwarder is not None:
            self._forward_task = asyncio.create_task(self._forwarder.run(), name="forwarder")
        self._stack.push_async_callback(self._stop_forwarding)
        sweep = asyncio.create_task(self._sweep(), name="log-retention")
        self._stack.push_async_callback(end_tasks, sweep)
        self._stack.push_async_callback(asyncio.to_thread, self.committer.stop)
        self.committer.start()

    def _open(self) -> None:
        _make_directories(
            self._data_dir, self._number, self._log_dir, self._data_dir / "anomalies", self._data_dir / DIRECTORY
        )
        readers = ("scorer", "forwarder") if self._target.url else ("scorer",)
        self._retention = Retention(self._log_dir, self._number, self._log_settings, self._clock)
        self._writer = LogWriter.open(
            self._log_dir,
            self._number,
            self._log_settings,
            self._clock,
            self._retention,
            minimum_row=self._committed_row(),
        )
        self._stack.callback(self._writer.close)
        self._anomalies = EventWriter.open(self._data_dir / "anomalies", self._number, _ANOMALIES_LOG, self._clock)
        self._stack.callback(self._anomalies.close)
        self.changes = ChangeLog(self._data_dir, self._number, self._clock)
        """Deploys that OTLP events told of; any thread may put some in."""
        self._stack.callback(self.changes.close)
        self._index = SeriesIndex(self._max_series)
        self._history = EmbeddedHistory(self._log_dir, self._number)
        grouping: RowGrouping | None = None
        publish = self._publish
        if self._sharding is None:
            for reader in readers:
                self._retention.register(reader)
            self._score_feed: Feed = self._own_feed("scorer")
            if self._target.url:
                self._forward_durable: Feed = self._own_feed("forwarder")
        else:
            sharding = self._sharding
            self._stack.callback(sharding.close)
            end = DurableEnd(self._writer.durable_end, self._writer.next_row)
            sharding.open(self._retention, end, readers, self._log_settings, self._clock)
            self._score_feed = sharding.feed("scorer", self._index, end.position, touch=True)
            self._stack.callback(self._score_feed.close)
            if self._target.url:
                self._forward_durable = sharding.feed("forwarder", self._index, end.position, touch=False)
            self._accepted_elsewhere = sharding.accepted_elsewhere()
            if sharding.shard.count > 1:
                grouping = RowGrouping(sharding.shard)
                self._writer.format_version = FORMAT_VERSION
            publish = sharding.publish
            sharding.start()
        self.committer = Committer(self._writer, EdgeTable(self._max_series), self._clock, publish, grouping)

    def _watches(self) -> list[Watch]:
        groups = GroupDetector(BUDGETS[self._detection.sensitivity])
        place = self._state_dir / f"groups-{self._number}.state"
        frozen = self.baseline.frozen
        watches: list[Watch] = [GroupWatch(groups, self._index, self._index.blob, place, self._clock, frozen)]
        if self._limits.enabled:
            place = self._state_dir / f"limits-{self._number}.state"
            watches.append(LimitWatch(self._limits, self._index, place, self._clock))
        return watches

    def _committed_row(self) -> int:
        """The highest row any reader has committed: where the log's own end is lost, numbers go on behind it."""
        if self._sharding is not None:
            return self._sharding.committed_row(bool(self._target.url))
        try:
            offset = OffsetFile(self._state_dir / "scorer-0.offset").load()
            rows = 0 if offset is None else offset.next_row
        except UnknownVersion:
            raise
        except StateError:
            rows = 0  # the scorer sets the file aside and says so
        if self._target.url:
            rows = max(rows, ProgressFiles(self._state_dir, 0).read()[0].rows)
        return rows

    def _log_is_pressed(self) -> bool:
        used, limit = self._retention.room
        return used > 0.75 * limit

    def _own_feed(self, name: str) -> DurableFeed:
        local_ids = LocalIds(self._index, name, touch=name == "scorer")
        durable_end = self._writer.durable_end
        feed = DurableFeed(name, self._log_dir, self._number, local_ids, self._retention, durable_end)
        self._stack.callback(feed.close)
        self._feeds.append(feed)
        return feed

    def _publish(self, frame: Frame) -> None:
        for feed in self._feeds:
            feed.publish(frame)

    async def stop(self) -> None:
        """Drain and write positions, as far as `start` had come; idempotent, bounded."""
        self._stopped = True
        await self._stack.aclose()

    async def _stop_forwarding(self) -> None:
        if self._forwarder is not None and self._forward_task is not None:
            await self._forwarder.drain(_DRAIN_SECONDS)
            await end_tasks(self._forward_task)

    async def _sweep(self) -> None:
        next_sweep = self._clock.monotonic() + _SWEEP_SECONDS
        next_trim = self._clock.monotonic() + _TRIM_SECONDS
        while True:
            await asyncio.sleep(_PROBE_SECONDS)
            self.committer.probe()
            if self._sharding is not None:
                await asyncio.to_thread(self._sharding.refresh_retention)
            if self._clock.monotonic() < next_sweep:
                continue
            next_sweep = self._clock.monotonic() + _SWEEP_SECONDS
            try:
                await asyncio.to_thread(self._retention.sweep)
                if self._sharding is not None:
                    await asyncio.to_thread(self._sharding.sweep_orphans)
            except Exception:  # the task's outermost edge: the disk probe and later sweeps must go on
                TASK_FAILURES.labels("log-retention").inc()
                log.exception("old log segments could not be removed")
            if self._clock.monotonic() >= next_trim:
                next_trim = self._clock.monotonic() + _TRIM_SECONDS
                await asyncio.to_thread(give_back_free_memory)

    # -- what it tells of itself; see web.data_plane_socket.DataPlaneView

    def problem(self) -> str:
        """Empty while everything makes progress, else what does not."""
        problem = self._standing_still(_TOLD_SECONDS)
        if not problem and self._scorer.failed is not None:
            return f"scoring is held up: {self._scorer.failed}"
        return problem

    def _standing_still(self, scoring_seconds: float) -> str:
        if self._stopped:
            return "stopping"
        if self.committer.busy_seconds > _TOLD_SECONDS:
            return f"the log has not answered for {self.committer.busy_seconds:.1f} s"
        if self._scoring_pause > scoring_seconds:
            return f"scoring has stood still for {self._scoring_pause:.1f} s"
        if self._forward_task is not None and self._forward_task.done():
            return "forwarding has ended"
        return ""

    @property
    def _scoring_pause(self) -> float:
        return self._clock.monotonic() - self._scorer.last_round

    def waits_for(self) -> int | None:
        """None while everything makes progress, else the id of the thread that does not, or 0; see Heartbeat."""
        if self._stopped:
            return None  # the end is bounded by itself
        if self.committer.busy_seconds > _NAMED_SECONDS:
            return self.committer.thread_id
        if self._scoring_pause > _NAMED_SECONDS:
            return self._scorer.thread_id
        return 0 if self._forward_task is not None and self._forward_task.done() else None

    def ready(self) -> str:
        """Empty when requests can be accepted."""
        problem = self._standing_still(_STALLED_SECONDS)
        if problem:
            return problem
        error = self.committer.last_error
        return f"the log refuses: {error}" if error is not None else ""

    def accepted(self) -> int:
        """Counted rows in the log since the data directory was made."""
        return self.committer.accepted_rows + self._accepted_elsewhere

    def status(self) -> dict[str, Any]:
        """The contract's status."""
        return plane_status(
            accepted=self.accepted(),
            scorer=self._scorer,
            forwarder=self._forwarder,
            several=self._sharding is not None,
            active_series=self._index.active_count,
            uptime_seconds=self._clock.monotonic() - self._started,
            room=self._retention.room,
            lost=self._lost(),
            problem=self.problem(),
        )

    def senders(self) -> list[dict[str, Any]]:
        """Senders over the last look."""
        return senders_of(self._scorer.quality, self._index)

    def _lost(self) -> dict[str, int]:
        lost = dict(self._scorer.counts.lost)
        for reason, rows in self._score_feed.lost.items():
            lost[reason] = lost.get(reason, 0) + rows
        return lost

    def series(self, matchers: tuple[LabelMatcher, ...], limit: int) -> list[dict[str, Any]]:
        """Active series with id and labels."""
        tests = [(m.name, m.operator, m.value) for m in matchers]
        return [{"id": sid, "labels": labels} for sid, labels in self._index.labels_of(tests, limit).items()]

    def label_groups(self, names: Sequence[str]) -> LabelGroups:
        """Active series counted by the values of some labels."""
        return self._index.groups(names)

    def calls(self) -> list[CallEdge]:
        """Call edges between services, as counted since the start."""
        return self.call_edges.edges()

    def history(
        self, matchers: tuple[LabelMatcher, ...], start_ms: int, end_ms: int, limit: int
    ) -> list[HistorySamples]:
        """Samples of the embedded log, oldest first; runs in a thread."""
        return self._history.samples(matchers, start_ms, end_ms, limit, self._writer.durable_end)


def _make_directories(data_dir: Path, edge: int, *inner: Path) -> None:
    """Make the directories and their names durable: a file's fsync promises nothing for the directories above it."""
    for directory in inner:
        (directory / f"edge-{edge}").mkdir(parents=True, exist_ok=True)
    try:
        for directory in (*inner, data_dir, data_dir.parent):
            descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
    except OSError as error:
        raise DiskFailed(f"{data_dir} cannot be made durable: {error.strerror}") from error


def _take_none(*_: object) -> int:
    return 0
