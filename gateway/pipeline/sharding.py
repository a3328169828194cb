"""One worker among several: its feeds over all edges' logs, and what it tells the others of its own.

After each commit the edge's page is told the durable end; a thread of every worker looks at all pages fifty times a
second and wakes its readers where something came. So readers take together what came in 20 ms: of N edges there are N
times as many commits as of one, each with fewer rows, and a part of a reader's cost is a frame's. Committed positions
go the other way, through a file a worker, so that an edge keeps the segments that somebody still needs. Logs of edges
that no worker writes any more (the number of workers was larger once) are looked after by the worker with their number
modulo the number of workers.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import structlog

from gateway.clock import Clock
from gateway.errors import DiskFailed, StateError, UnknownVersion
from gateway.forward.progress import ProgressFiles
from gateway.log.offsets import OffsetFile
from gateway.log.recovery import recover
from gateway.log.retention import Retention
from gateway.log.settings import LogSettings
from gateway.log.sharing import DurableEnd, EdgePage, EdgePageReader, read_committed, tell_committed
from gateway.pipeline.baseline_store import ScorerState
from gateway.pipeline.shard_feed import ShardFeed
from gateway.pipeline.workers import WorkersFile
from gateway.selfmetrics import TASK_FAILURES
from gateway.series.index import SeriesIndex
from gateway.series.shard import Shard
from gateway.settings_types import ByteSize
from gateway.telemetry.frame import Frame, Frontier, LogPosition

log = structlog.get_logger(__name__)

_LOOK_SECONDS: Final = 0.02
_START: Final = LogPosition(0, 0)


class Sharding:
    """See the module's text. Made before the log is opened; `close` ends it."""

    def __init__(self, data_dir: Path, worker: int, layout: WorkersFile, hash_key: tuple[int, int]) -> None:
        self.worker = worker
        self.layout = layout
        self.shard = Shard(worker, layout.workers, hash_key)
        self._log_dir, self._run_dir, self._state_dir = data_dir / "log", data_dir / "run", data_dir / "state"
        self._feeds: list[ShardFeed] = []
        self._readers: tuple[str, ...] = ()
        self._retention: Retention | None = None
        self._orphans: list[Retention] = []
        self._page: EdgePage | None = None
        self._committed: dict[str, list[LogPosition]] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._look, name="tail-watch", daemon=True)

    def committed_row(self, with_forwarder: bool) -> int:
        """The highest row of the own edge that any worker's reader has committed."""
        highest = 0
        for worker in range(self.layout.workers):
            try:
                offset = OffsetFile(self._state_dir / f"scorer-{worker}.offset").load()
                if offset is not None:
                    place = msgspec.json.decode(offset.payload, type=ScorerState).place
                    highest = max(highest, self._own_row(place))
            except UnknownVersion:
                raise
            except (StateError, msgspec.MsgspecError):
                pass  # the worker whose file it is sets it aside and says so
            if with_forwarder:
                position = ProgressFiles(self._state_dir, worker).read()[0].position
                highest = max(highest, self._own_row(position if isinstance(position, Frontier) else None))
        return highest

    def _own_row(self, place: Frontier | None) -> int:
        return place.rows[self.worker] if place is not None and self.worker < len(place.rows) else 0

    def settings_of_edge(self, settings: LogSettings) -> LogSettings:
        """An edge's part of `log.max_bytes`."""
        return msgspec.structs.replace(settings, max_bytes=ByteSize(settings.max_bytes // self.layout.workers))

    def open(
        self, retention: Retention, end: DurableEnd, readers: Sequence[str], settings: LogSettings, clock: Clock
    ) -> None:
        """The own edge's log is open. Raises DiskFailed."""
        self._readers = tuple(readers)
        self._retention = retention
        self._register(retention)
        self._page = EdgePage(self._run_dir, self.worker)
        self._page.tell(end)
        for edge in range(self.layout.workers, self.layout.edges):
            if edge % self.layout.workers == self.worker:
                self._adopt(edge, settings, clock)
        self.refresh_retention()

    def _adopt(self, edge: int, settings: LogSettings, clock: Clock) -> None:
        try:
            found = recover(self._log_dir, edge)
        except OSError as error:
            raise DiskFailed(f"the log of edge {edge} cannot be read: {error.strerror}") from error
        page = EdgePage(self._run_dir, edge)
        page.tell(DurableEnd(found.end or _START, found.next_row))
        page.close()
        retention = Retention(self._log_dir, edge, settings, clock)
        self._register(retention)
        self._orphans.append(retention)

    def _register(self, retention: Retention) -> None:
        for worker in range(self.layout.workers):
            for reader in self._readers:
                retention.register(f"{reader} of worker {worker}")

    def feed(self, name: str, index: SeriesIndex, durable_end: LogPosition, *, touch: bool) -> ShardFeed:
        """The feed of the reader `name`."""
        feed = ShardFeed(
            name,
            self._log_dir,
            self._run_dir,
            index,
            self.shard,
            self.layout.edges,
            self.worker,
            durable_end,
            former=self.layout.former_of(name),
            former_until=self.layout.until,
            on_committed=self._on_committed,
            touch=touch,
        )
        self._feeds.append(feed)
        return feed

    def start(self) -> None:
        """Begin to watch the edges."""
        self._watch.start()

    def publish(self, frame: Frame) -> None:
        """A frame of the own edge is durable; on the committer's thread."""
        for feed in self._feeds:
            feed.publish(frame)
        assert self._page is not None
        self._page.tell(DurableEnd(frame.end, frame.first_row + frame.counted_rows))

    def refresh_retention(self) -> None:
        """Learn what the other workers have committed, in every edge that is looked after here."""
        assert self._retention is not None
        edges = [e for e in range(self.layout.workers, self.layout.edges) if e % self.layout.workers == self.worker]
        for worker in range(self.layout.workers):
            told = read_committed(self._run_dir, worker)
            for reader in self._readers:
                positions = told.get(reader, [])
                for edge, retention in zip((self.worker, *edges), (self._retention, *self._orphans), strict=True):
                    if edge < len(positions):
                        retention.commit(f"{reader} of worker {worker}", positions[edge])

    def sweep_orphans(self) -> None:
        """Remove delivered segments of edges that nobody writes any more."""
        for retention in self._orphans:
            retention.sweep()

    def accepted_elsewhere(self) -> int:
        """Rows in the logs of the edges that nobody writes any more and that are looked after here."""
        rows = 0
        for edge in range(self.layout.workers, self.layout.edges):
            if edge % self.layout.workers == self.worker:
                page = EdgePageReader(self._run_dir, edge)
                rows += page.read().next_row
                page.close()
        return rows

    def close(self) -> None:
        """Idempotent."""
        self._stopping.set()
        if self._watch.is_alive():
            self._watch.join(5.0)
        if self._page is not None:
            self._page.close()
            self._page = None

    def _on_committed(self, reader: str, positions: Sequence[LogPosition]) -> None:
        """From any reader's thread; the position is durable in the reader's state."""
        with self._lock:
            self._committed[reader] = list(positions)
            try:
                tell_committed(self._run_dir, self.worker, self._committed)
            except DiskFailed as error:
                # The others keep segments longer; the next commit tells more.
                log.warning("committed positions could not be told", error=str(error))
        if self._retention is not None and self.worker < len(positions):
            self._retention.commit(f"{reader} of worker {self.worker}", positions[self.worker])

    def _look(self) -> None:
        pages = [EdgePageReader(self._run_dir, edge) for edge in range(self.layout.workers)]
        seen: list[DurableEnd] = []
        problem = ""
        while not self._stopping.wait(_LOOK_SECONDS):
            try:
                now = [page.read() for page in pages]
                problem = ""
                if now != seen:
                    seen = now
                    for feed in self._feeds:
                        feed.wake()
            except DiskFailed as error:
                if problem != (problem := str(error)):  # it is looked at fifty times a second
                    log.error("an edge's page cannot be read", error=problem)
            except Exception:  # the thread's outermost edge: readers would fall asleep
                TASK_FAILURES.labels("tail-watch").inc()
                log.exception("watching the edges failed once")
        for page in pages:
            page.close()
