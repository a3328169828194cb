"""The edge's writer: one thread that makes decoded requests durable, many at a time.

Group commit: while one fsync runs, requests gather; the next round takes all of them, writes one frame and runs one
fsync. While others are being decoded it also waits for them, some milliseconds at most: what a commit costs beside its
rows, and what every reader spends on a frame, is then spent less often. Where nothing else is under way nothing is
waited for. The thread owns the edge table and the log writer, so neither needs a lock. The queue is bounded by
admission: a request holds its admitted bytes until it is answered.

Order within a round: resolve, append, sync, publish to the readers, count, answer. A request is answered only when
its rows are durable, and the counters stand before the answer is sent.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

import numpy as np
import structlog
from numpy.typing import NDArray

from gateway.clock import Clock
from gateway.errors import GatewayError, ShuttingDown, Unavailable
from gateway.log.writer import LogWriter
from gateway.pipeline.merge import merge_columns
from gateway.pipeline.shard_rows import RowGrouping
from gateway.selfmetrics import TASK_FAILURES, counter, histogram
from gateway.series.edge_table import EdgeTable, Resolution
from gateway.telemetry import kind
from gateway.telemetry.columns import PointColumns, Receipt
from gateway.telemetry.frame import Frame

log = structlog.get_logger(__name__)

COMMITS = counter("log_commits", "Group commits: one append and one fsync each.")
COMMIT_SECONDS = histogram("log_commit_seconds", "Time of one group commit, append and fsync together.")

MAX_ROWS_PER_COMMIT: Final = 200_000
"""A frame stays small enough to be handed on and read back in one piece."""
_ENOUGH_ROWS: Final = 32_000
"""With so many rows a commit waits for no others."""
_GATHER_SECONDS: Final = 0.005
"""The longest that a commit waits for requests that are being decoded."""
_MOST_ROW_BYTES: Final = 28
"""Id, time, value and start of a row; definitions come on top and may pass the log's limit by one frame."""
_FRAME_BYTES: Final = 512


@dataclass(slots=True)
class _Request:
    columns: PointColumns
    received_ns: int
    latest_ns: int
    answer: Future[Receipt] | asyncio.Future[Receipt]
    loop: asyncio.AbstractEventLoop | None = None
    """Which `answer` belongs to; None for one that any thread may answer."""


class _Probe:
    """Asks whether the disk takes writes again."""


class Committer:
    """Takes decoded requests from any thread; see the module's text. Implements Sink and BlockingSink.

    publish: called on the writer thread with each durable frame, in order. grouping: where several
    workers share the log.
    """

    def __init__(
        self,
        writer: LogWriter,
        edge: EdgeTable,
        clock: Clock,
        publish: Callable[[Frame], None],
        grouping: RowGrouping | None = None,
    ) -> None:
        self._writer = writer
        self._edge = edge
        self._clock = clock
        self._publish = publish
        self._grouping = grouping
        self.more_coming: Callable[[], bool] = _nothing_coming
        """Whether requests are being decoded that will soon be here. The receivers' side sets it; called on the writer
        thread, which looks again after `_GATHER_SECONDS` at the latest."""
        self._queue: queue.SimpleQueue[_Request | _Probe | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="committer", daemon=True)
        self._stopping = False
        self._stalled_since: float | None = None
        self._queued_since: float | None = None
        self._gave_up = False
        self.accepted_rows = writer.next_row
        """Counted rows in the log since the data directory was made; durable ones alone."""
        self.last_error: GatewayError | None = None
        """Why the last commit failed; None after one that succeeded."""

    def start(self) -> None:
        """Begin to take requests."""
        self._thread.start()

    def stop(self, timeout: float = 10.0) -> None:
        """Finish what is queued, refuse what comes later. Idempotent, bounded."""
        if not self._stopping:
            self._stopping = True
            self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(timeout)

    def probe(self) -> None:
        """After a failure, try the disk without waiting for a request: who is told that we are not ready sends none."""
        if self.last_error is not None and not self._stopping:
            self._queue.put(_Probe())

    @property
    def busy_seconds(self) -> float:
        """How long the commit under way has been running, or requests have waited for one; 0.0 when idle."""
        since = self._stalled_since or self._queued_since
        return 0.0 if since is None else self._clock.monotonic() - since

    @property
    def thread_id(self) -> int:
        """gettid(2) of the writer thread; 0 before it is started."""
        return self._thread.native_id or 0

    async def accept(self, columns: PointColumns, *, received_ns: int, body_bytes: int, latest_ns: int = 0) -> Receipt:
        """See Sink."""
        del body_bytes
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Receipt] = loop.create_future()
        self._submit(_Request(columns, received_ns, max(received_ns, latest_ns), future, loop))
        return await future

    def accept_blocking(self, columns: PointColumns, *, received_ns: int, body_bytes: int) -> Receipt:
        """See BlockingSink."""
        del body_bytes
        future: Future[Receipt] = Future()
        self._submit(_Request(columns, received_ns, received_ns, future))
        return future.result()

    def _submit(self, request: _Request) -> None:
        if self._stopping:
            raise ShuttingDown("the gateway is stopping")
        if len(request.columns) == 0:
            _answer([(request, Receipt(rows=0))])
            return
        if self._queued_since is None:
            self._queued_since = self._clock.monotonic()
        self._queue.put(request)

    def _run(self) -> None:
        ended = False
        while not ended:
            batch: list[_Request] = []
            if self._queue.empty():
                self._queued_since = None
            first = self._queue.get()
            if first is None:
                break
            if isinstance(first, _Probe):
                self._try_disk()
                continue
            batch.append(first)
            rows = len(first.columns)
            until: float | None = None
            while rows < MAX_ROWS_PER_COMMIT:
                try:
                    following = self._queue.get_nowait()
                except queue.Empty:
                    if rows >= _ENOUGH_ROWS or not self.more_coming():
                        break
                    now = self._clock.monotonic()
                    until = now + _GATHER_SECONDS if until is None else until
                    try:
                        following = self._queue.get(timeout=max(until - now, 0.0))
                    except queue.Empty:
                        break
                if following is None:
                    ended = True
                    break
                if isinstance(following, _Probe):
                    continue
                batch.append(following)
                rows += len(following.columns)
            self._queued_since, self._stalled_since = None, self._clock.monotonic()
            self._commit_or_answer(batch)
            self._stalled_since = None
        self._refuse_the_rest()

    def _try_disk(self) -> None:
        if self.last_error is None:
            return
        self._stalled_since = self._clock.monotonic()
        try:
            self._writer.prepare(_FRAME_BYTES)
            self.last_error = None
        except GatewayError as error:
            self.last_error = error
        except Exception:  # as for a commit: the thread lives on
            TASK_FAILURES.labels("committer").inc()
            log.exception("the disk could not be tried")
        finally:
            self._stalled_since = None

    def _commit_or_answer(self, batch: Sequence[_Request]) -> None:
        began = self._clock.monotonic()
        try:
            merged, ends = merge_columns([r.columns for r in batch])
            resolution = self._write(merged, min(r.received_ns for r in batch), max(r.latest_ns for r in batch))
            self.last_error = None
        except GatewayError as error:
            self._fail(batch, error)
            return
        except Exception as error:  # the thread's outermost edge: requests are answered, the thread lives on
            TASK_FAILURES.labels("committer").inc()
            log.exception("a commit failed unexpectedly", requests=len(batch), error=repr(error))
            if len(batch) == 1:
                _answer([(batch[0], Unavailable("the request could not be stored; send it again"))])
                return
            # Nothing of the group was stored. One request that we cannot handle must not take the others along.
            for request in batch:
                self._commit_or_answer([request])
            return
        COMMITS.inc()
        COMMIT_SECONDS.observe(self._clock.monotonic() - began)
        refused = resolution.refused_rows
        if refused is not None:
            self._answer_with_refusals(batch, ends, refused)
            return
        _answer([(request, Receipt(rows=len(request.columns))) for request in batch])

    def _write(self, columns: PointColumns, received_ns: int, latest_ns: int) -> Resolution:
        """Resolve, append, sync, publish."""
        segment = self._writer.prepare(len(columns) * _MOST_ROW_BYTES + _FRAME_BYTES)
        if segment != self._edge.segment:
            begin = self._edge.restarted if self._gave_up else self._edge.rotated
            begin(segment, self._writer.path_of(segment))
            self._gave_up = False
        resolution = self._edge.resolve(columns)
        keep = resolution.keep
        counts = (columns.kinds & kind.CLASS_MASK) != kind.TARGET_INFO
        if keep is not None:
            counts &= keep
            if not keep.any() and not len(resolution.definitions):
                return resolution
        try:
            grouped = self._grouping.group(columns, resolution, latest_ns) if self._grouping is not None else None
            rows = resolution if grouped is None else grouped
            source = columns if grouped is None else grouped
            frame = self._writer.append(
                ids=rows.ids,
                times_ms=source.times_ms,
                values=source.values,
                starts_ms=source.starts_ms,
                definitions=resolution.definitions,
                first_new_id=resolution.first_new_id,
                counted_rows=int(np.count_nonzero(counts)),
                received_ns=received_ns,
                exemplars=source.exemplars,
                keep=keep if grouped is None else None,
                shards=None if grouped is None else grouped.shards,
            )
            self._edge.appended(frame)
            self._writer.sync()
        except BaseException:
            # The table names ids whose definitions did not reach the disk: both begin again in another segment.
            self._gave_up = True
            self._writer.discard()
            raise
        self.accepted_rows = self._writer.next_row
        self._publish(frame)
        return resolution

    def _answer_with_refusals(
        self,
        batch: Sequence[_Request],
        ends: NDArray[np.int64],
        refused_rows: NDArray[np.bool_],
    ) -> None:
        first = 0
        answers: list[tuple[_Request, Receipt | GatewayError]] = []
        for request, end in zip(batch, ends, strict=True):
            rows = refused_rows[first:end]
            lost = int(rows.sum())
            receipt = Receipt(rows=len(rows) - lost)
            columns = request.columns
            counted = rows & ((columns.kinds & kind.CLASS_MASK) != kind.TARGET_INFO)
            if counted.any():
                points = columns.row_points
                refused = len(np.unique(points[counted])) if points is not None else int(np.count_nonzero(counted))
                receipt.refused["series_limit"] = refused
                receipt.message = self._edge.limit_message
                receipt.refused_rows = rows
            answers.append((request, receipt))
            first = int(end)
        _answer(answers)

    def _fail(self, batch: Sequence[_Request], error: GatewayError) -> None:
        self.last_error = error
        _answer([(request, error) for request in batch])

    def _refuse_the_rest(self) -> None:
        while True:
            try:
                request = self._queue.get_nowait()
            except queue.Empty:
                return
            if isinstance(request, _Request):
                _answer([(request, ShuttingDown("the gateway is stopping"))])


def _nothing_coming() -> bool:
    return False


def _answer(answers: Sequence[tuple[_Request, Receipt | GatewayError]]) -> None:
    """Answer requests; those of an event loop in one call, because waking it costs more than the answer."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[_Request, Receipt | GatewayError]]] = {}
    for request, outcome in answers:
        if request.loop is not None:
            by_loop.setdefault(request.loop, []).append((request, outcome))
        else:
            _settle(request, outcome)
    for loop, theirs in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle_all, theirs)
        except RuntimeError:
            # The loop is closed: the clients these answers were for are gone with it.
            log.debug("answers came after the loop had closed", requests=len(theirs))


def _settle_all(answers: Sequence[tuple[_Request, Receipt | GatewayError]]) -> None:
    for request, outcome in answers:
        _settle(request, outcome)


def _settle(request: _Request, outcome: Receipt | GatewayError) -> None:
    if request.answer.done():  # the client went away and its handler was cancelled
        return
    if isinstance(outcome, GatewayError):
        request.answer.set_exception(outcome)
    else:
        request.answer.set_result(outcome)
