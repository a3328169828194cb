"""The forwarder: reads its feed, keeps several blocks on their way to the target, and knows how far it is.

One *flow* is the tasks that run while the target is one and the same process: a reader that prepares steps, senders,
a watch over the target's start time, a committer, a sender of scores. When the watch finds another process, the flow
ends, progress goes back to the safe position and a new flow begins. Everything under way is forgotten then: the log
has it. So memory is bounded by the window (blocks in flight, as many queued, the rows of one step) however long the
target is away. A row of a step takes at most 80 bytes: its frame, folded, and once more in order of series.

Work on arrays runs in one thread (folding is in order of the log), writing to disk in another; the loop only waits.
"""

from __future__ import annotations

import asyncio
import random as random_numbers
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import structlog

from gateway.clock import Clock
from gateway.errors import UnknownVersion
from gateway.forward.dead_letter import DeadLetterFile
from gateway.forward.forward_stats import ForwardStats
from gateway.forward.preparation import Preparation, SeriesArrays, oldest_taken_ms
from gateway.forward.progress import Progress, ProgressFiles, Record, SafePoint, Step
from gateway.forward.progress_keeper import ProgressKeeper
from gateway.forward.remote_write_encoder import EncodedBlock, PackedRows, RemoteWriteEncoder
from gateway.forward.retry import Backoff
from gateway.forward.running_totals import RunningTotals
from gateway.forward.score_sender import ScoreSender
from gateway.forward.settings import VictoriaMetricsSettings
from gateway.forward.step_size import StepSize
from gateway.forward.target_watch import TargetWatch
from gateway.forward.victoria_metrics import Answer, Outcome, VictoriaMetrics
from gateway.owned_tasks import cancel_tasks
from gateway.selfmetrics import TASK_FAILURES, counter
from gateway.telemetry.feed import FrameFeed
from gateway.telemetry.frame import Place, not_beyond
from gateway.telemetry.lag import LagWindow
from gateway.telemetry.resolved import ResolvedFrame, SeriesView

log = structlog.get_logger(__name__)

T = TypeVar("T")

ANSWERS = counter("forward_answers", "Answers of the target to blocks, by outcome.", ["outcome"])

_ROW_BYTES: Final = 20
"""About what a row takes in a frame."""
_WORDS_SHOWN: Final = 300


@dataclass(slots=True, eq=False)
class _Outgoing:
    """A block and the step it belongs to; scores belong to none."""

    block: EncodedBlock
    step: Step | None


class Forwarder:
    """One edge's way to VictoriaMetrics. All methods but `add_score_rows` are for one event loop."""

    def __init__(
        self,
        settings: VictoriaMetricsSettings,
        feed: FrameFeed,
        series: SeriesView,
        state_dir: Path,
        *,
        clock: Clock,
        edge: int = 0,
        random: Callable[[], float] = random_numbers.random,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """`state_dir` exists. Raises ConfigError for certificates that cannot be used."""
        self._settings, self._feed, self._series = settings, feed, series
        self._clock, self._random, self._sleep = clock, random, sleep
        self._client = VictoriaMetrics(settings)
        self._dead_letters = DeadLetterFile(state_dir, edge, settings.dead_letter_bytes, settings.dead_letter_files)
        self._work = ThreadPoolExecutor(1, thread_name_prefix="forward-work")
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="forward-disk")
        encoder = RemoteWriteEncoder(settings.block_rows, settings.block_bytes, settings.zstd_level)
        self._preparation = Preparation(RunningTotals(), encoder)
        files = ProgressFiles(state_dir, edge)
        self._kept = ProgressKeeper(files, settings, clock, in_disk=self._in_disk, safe_written=feed.committed)
        self._queue: asyncio.Queue[_Outgoing] = asyncio.Queue(settings.blocks_in_flight)
        self._step_size = StepSize(settings.block_rows, settings.backlog_rows)

        self._target = TargetWatch(
            settings, self._client, self._kept, clock, backoff=self._backoff, sleep=sleep, complain=self._note
        )
        self._send_from: Place = Record().position
        self._next_row = 0
        self._folded_to: Place = Record().position
        """End of the last frame whose deltas are in the running totals."""

        self._draining = False
        self._reading = False
        self._settled = asyncio.Event()
        self._scores = ScoreSender(settings, sleep)

        self._lag = LagWindow()
        self._lag_rows = 0
        self._lag_high = 0
        self._dead_letter_blocks = 0
        self._last_error = ""

    # ---- what others call -------------------------------------------------------------------------------------------

    async def load(self) -> None:
        """Read the kept progress, so that `stats` is right before the first answer. `run` does it otherwise.

        Raises UnknownVersion, and OSError."""
        await self._kept.load()
        self._lag_high = max(self._lag_high, self._progress.acked.rows)

    async def run(self) -> None:
        """Forward until cancelled; the progress is on disk when this returns. Raises UnknownVersion."""
        backoff = self._backoff()
        try:
            async with self._client:
                while True:
                    try:
                        await self.load()
                        await self._target.meet()
                        await self._rewind()
                        await self._flow()
                        backoff.reset()
                    except UnknownVersion:
                        raise  # it would be found again
                    except Exception as error:
                        TASK_FAILURES.labels("forward").inc()
                        self._last_error = f"{type(error).__name__}: {error}"
                        log.exception("forwarding failed and starts again from its last position")
                        await self._sleep(backoff.delay())
        finally:
            self._target.confirmed.clear()
            await self._commit(last=True)
            self._work.shutdown(wait=False, cancel_futures=True)
            self._disk.shutdown(wait=False)

    async def drain(self, timeout: float) -> bool:
        """Take no more frames and wait until what was taken is acked; whether that came within `timeout` seconds."""
        self._draining = True
        try:
            async with asyncio.timeout(timeout):
                while self._reading or self._progress.steps_open:
                    self._settled.clear()
                    await self._settled.wait()
        except TimeoutError:
            return False
        return True

    def add_score_rows(self, blobs: Sequence[bytes], times_ms: Sequence[int], values: Sequence[float]) -> int:
        """Write samples back beside the log; from any thread. Returns how many were taken, the rest is dropped."""
        return self._scores.add(blobs, times_ms, values)

    def stats(self) -> ForwardStats:
        """The present state."""
        acked = self._progress.acked
        now = self._clock.monotonic()
        return ForwardStats(
            acked_position=acked.position,
            acked_rows=acked.rows,
            forwarded=acked.forwarded,
            dropped=dict(acked.dropped),
            target_info_forwarded=acked.target_info_forwarded,
            target_info_dropped=acked.target_info_dropped,
            scores_forwarded=self._scores.forwarded,
            scores_dropped=self._scores.dropped,
            scores_waiting=self._scores.waiting,
            lag_p50=self._lag.percentile(now, 0.5),
            lag_p99=self._lag.percentile(now, 0.99),
            connected=self._target.confirmed.is_set(),
            encoding=self._target.encoding,
            steps_open=self._progress.steps_open,
            dead_letter_blocks=self._dead_letter_blocks,
            replays=self._target.replays,
            last_error=self._last_error,
        )

    def lag_counts(self) -> list[int]:
        """Rows by lag, see LagWindow.counts."""
        counts: list[int] = self._lag.counts(self._clock.monotonic()).tolist()
        return counts

    # ---- one flow ---------------------------------------------------------------------------------------------------

    async def _rewind(self) -> None:
        """Begin reading at the safe position with its totals; what lies before acked is folded and not sent."""
        self._progress.forget_steps()
        safe, acked = self._progress.safe, self._progress.acked
        await self._in_work(lambda: self._preparation.totals.restore(safe.totals))
        self._feed.seek(safe.record.position, until=acked.position)
        self._send_from = acked.position
        self._folded_to = safe.record.position
        self._next_row = acked.rows
        self._lag_rows = acked.rows
        self._queue = asyncio.Queue(self._settings.blocks_in_flight)
        self._step_size.reset()
        self._reading = False
        self._target.begin()

    async def _flow(self) -> None:
        """Run until the target turns out to be another process. Raises what a task raised."""
        jobs = [self._read(), self._target.watch(), self._keep_committing(), self._send_scores()]
        jobs += [self._send() for _ in range(self._settings.blocks_in_flight)]
        tasks = [asyncio.create_task(job) for job in jobs]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._target.confirmed.clear()
            failures = await cancel_tasks(*tasks)
        for failure in failures:
            raise failure

    async def _read(self) -> None:
        while True:
            frames = await self._feed.next_frames(self._step_size.rows * _ROW_BYTES)
            if self._draining:
                await asyncio.Event().wait()  # they are read again after the restart
            began = self._clock.monotonic()
            self._reading = True
            arrays = SeriesArrays.of(self._series)
            folded = [f for f in frames if not_beyond(f.end, self._send_from)]
            if folded:
                await self._in_work(partial(self._preparation.fold_only, folded, arrays))
                self._folded_to = folded[-1].end
            fresh = frames[len(folded) :]
            if fresh:
                rows = await self._take_step(fresh, arrays)
                self._reading = False
                self._settled.set()
                spent = self._clock.monotonic() - began
                more_waits = self._step_size.is_full(rows)
                self._step_size.taken(rows, spent)
                if not more_waits:
                    await self._sleep(max(0.0, self._settings.flush_interval - spent))
            self._reading = False
            self._settled.set()

    async def _take_step(self, frames: list[ResolvedFrame], arrays: SeriesArrays) -> int:
        forget_before = None
        if self._kept.checkpoint_is_due():
            self._kept.note_checkpoint()
            forget_before = int(frames[-1].frame.received_ns / 1e6 - self._settings.forget_totals_after * 1000)
        next_row, oldest = self._next_row, oldest_taken_ms(self._clock.time_ns(), self._target.retention)
        step, packed = await self._in_work(
            lambda: self._preparation.prepare(
                frames, arrays, next_row=next_row, oldest_ms=oldest, checkpoint_forgetting_before_ms=forget_before
            )
        )
        self._next_row = frames[-1].frame.first_row + frames[-1].frame.counted_rows
        self._folded_to = step.end
        step.open_blocks = 1  # until all are made
        self._progress.begin(step)
        blocks = self._preparation.encoder.encode(packed, self._target.encoding)
        while (block := await self._in_work(partial(next, blocks, None))) is not None:
            step.open_blocks += 1
            await self._queue.put(_Outgoing(block, step))
        self._close_block(step)
        return step.rows

    # ---- sending ----------------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        while True:
            await self._deliver(await self._queue.get())

    async def _deliver(self, outgoing: _Outgoing) -> None:
        """Send one block until it is taken, or refused for good."""
        block = outgoing.block
        backoff = self._backoff()
        asked_again = False
        while True:
            await self._target.confirmed.wait()
            if block.encoding != self._target.encoding:
                await self._in_work(partial(self._preparation.encoder.recode, block, self._target.encoding))
            answer = await self._client.write(block.body, block.encoding)
            ANSWERS.labels(answer.outcome.value).inc()
            if answer.outcome is Outcome.DONE:
                if outgoing.step is None:
                    self._scores.finished(block, taken=True)
                else:
                    self._close_block(outgoing.step)
                return
            self._last_error = f"{answer.status} {answer.words}"[:_WORDS_SHOWN].strip()
            if answer.outcome is Outcome.REJECTED:
                encoding_now = await self._client.encoding()
                if encoding_now == block.encoding or asked_again:
                    await self._bury(outgoing, answer)
                    return
                if encoding_now is not None:
                    self._target.encoding = encoding_now
                    asked_again = True
                    continue
            elif answer.outcome is Outcome.UNREACHABLE:
                self._target.suspect(answer.words, answer.refused)
            elif answer.outcome is Outcome.MISCONFIGURED:
                log.error(
                    "the target refuses us: check address and credentials; data waits in the log",
                    status=answer.status, words=answer.words[:_WORDS_SHOWN],
                )  # fmt: skip
            elif backoff.failures == 0:
                log.warning("the target is busy", status=answer.status, words=answer.words[:_WORDS_SHOWN])
            await self._sleep(backoff.delay(answer.retry_after))

    async def _bury(self, outgoing: _Outgoing, answer: Answer) -> None:
        """Put a refused block into the dead-letter file and go on without it."""
        block = outgoing.block
        rows = block.rows + block.apart_rows
        now = self._clock.time_ns() / 1e9
        await self._in_disk(
            lambda: self._dead_letters.append(
                time=now, status=answer.status, words=answer.words, rows=rows, encoding=block.encoding, body=block.body
            )
        )
        self._dead_letter_blocks += 1
        log.error(
            "the target refused a block for good; it is in the dead-letter file",
            rows=rows, status=answer.status, words=answer.words[:_WORDS_SHOWN],
        )  # fmt: skip
        if outgoing.step is None:
            self._scores.finished(block, taken=False)
        else:
            outgoing.step.reject("rejected_by_target", block.rows, block.apart_rows)
            self._close_block(outgoing.step)

    def _close_block(self, step: Step) -> None:
        step.open_blocks -= 1
        if step.open_blocks == 0:
            self._settle()

    def _settle(self) -> None:
        now, wall = self._clock.monotonic(), self._clock.time_ns()
        for step in self._progress.settle(now):
            self._lag_rows += step.rows
            if self._lag_rows > self._lag_high:  # rows that are sent again do not count again
                self._lag_high = self._lag_rows
                for received_ns, rows in step.received:
                    self._lag.add(now, (wall - received_ns) / 1e9, rows)
        self._settled.set()

    async def _send_scores(self) -> None:
        async def encode(packed: PackedRows) -> list[EncodedBlock]:
            encoding = self._target.encoding
            return await self._in_work(lambda: list(self._preparation.encoder.encode(packed, encoding)))

        await self._scores.run(encode, lambda block: self._queue.put(_Outgoing(block, None)))

    # ---- what is kept -----------------------------------------------------------------------------------------------

    async def _keep_committing(self) -> None:
        while True:
            await self._kept.until_commit_is_due(self._sleep)
            await self._checkpoint_when_idle()
            await self._commit()

    async def _checkpoint_when_idle(self) -> None:
        """Let safe come up to acked when nothing arrives that would carry a checkpoint.

        While no step is open and the reader waits, the totals stand exactly at acked; the work thread takes its calls
        in order, so whatever the reader folds next comes after this.
        """
        acked = self._progress.acked
        now = self._clock.monotonic()
        idle = not self._reading and self._progress.steps_open == 0 and self._folded_to == acked.position
        if idle and self._kept.checkpoint_is_due() and acked.position != self._progress.newest_checkpoint:
            self._kept.note_checkpoint()
            record = acked.copy()
            forget_before = int(self._clock.time_ns() / 1e6 - self._settings.forget_totals_after * 1000)
            totals = await self._in_work(partial(self._preparation.totals.checkpoint, forget_before))
            self._progress.offer(now, SafePoint(record, totals))

    async def _commit(self, last: bool = False) -> None:
        error = await self._kept.commit(last)
        if error is not None:
            self._note(f"progress cannot be written: {error}")

    def _note(self, words: str) -> None:
        self._last_error = words

    @property
    def _progress(self) -> Progress:
        return self._kept.progress

    # ---- threads ----------------------------------------------------------------------------------------------------

    def _backoff(self) -> Backoff:
        return Backoff(self._settings.backoff_min, self._settings.backoff_max, self._random)

    async def _in_work(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._work, call)

    async def _in_disk(self, call: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._disk, call)
