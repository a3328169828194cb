"""Durable frames on their way to one reader: in memory while it keeps up, from disk when it is behind or restarts.

A feed is in one of two modes. *Live*: the committer's frames wait in a bounded queue. *Behind*: they are left on disk
and read from there; once the reader has reached the durable end the feed is live again. The switch is made under one
lock, so that no frame is lost and none comes twice, and a reader never sees a frame that is not durable.

Local ids are resolved here, in the thread that polls, so each reader has its own map and its own pace.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from gateway.log.reader import LogReader
from gateway.log.retention import Retention
from gateway.pipeline.coalesce import coalesced
from gateway.series.local_ids import LocalIds
from gateway.telemetry.frame import Frame, Frontier, LogPosition, Place
from gateway.telemetry.resolved import ResolvedFrame

QUEUE_BYTES: Final = 64 * 2**20
"""Frames held in memory for one reader; more and it reads them from disk."""
_INLINE_DEFINITIONS: Final = 64
"""New series an event loop may register by itself; more are left to a thread."""
_INLINE_BYTES: Final = 2**20
"""Bytes of frames whose rows it may give their series by itself."""


class EdgeFrames:
    """The frames of one edge for one reader, local ids as they are. `publish` comes from the committer's thread, all
    else from the reader's.

    on_definitions: given the frames without rows that stand before the place reading begins at. tails: the log of
    another process; it is read from its file always, and `take` is told how far.
    """

    def __init__(
        self,
        log_directory: Path,
        edge: int,
        durable_end: LogPosition,
        on_definitions: Callable[[Frame], object],
        *,
        queue_bytes: int = QUEUE_BYTES,
        tails: bool = False,
    ) -> None:
        self._directory = log_directory
        self._edge = edge
        self._on_definitions = on_definitions
        self._queue_limit = queue_bytes
        self._tails = tails
        self._lock = threading.Lock()
        self._queue: deque[Frame] = deque()
        self._queued_bytes = 0
        self._durable_end = durable_end
        self._next: LogPosition | None = None
        """Where the next frame is expected; None = the oldest there is."""
        self._expected_row: int | None = None
        self._live = False
        self._reader: LogReader | None = None
        self._follows = False
        """Whether what stands in the segment before `_next` was given out, so that its definitions are known."""
        self._seen_lost: dict[str, int] = {}
        self.lost: dict[str, int] = {}
        """Rows that could not be read any more, by reason, since this process started."""

    def publish(self, frame: Frame) -> None:
        """A frame has become durable."""
        with self._lock:
            self._durable_end = frame.end
            if self._live:
                if self._queued_bytes + frame.nbytes > self._queue_limit and self._queue:
                    self._fall_behind()
                else:
                    self._queue.append(frame)
                    self._queued_bytes += frame.nbytes

    def _fall_behind(self) -> None:
        self._live = False
        self._next = self._queue[0].start
        self._expected_row = self._queue[0].first_row
        self._queue.clear()
        self._queued_bytes = 0

    def seek(self, position: LogPosition | None, expected_row: int | None = None) -> None:
        """Continue with the frame at `position`, or with the oldest one there is."""
        with self._lock:
            self._live = False
            self._queue.clear()
            self._queued_bytes = 0
            self._next = position
            self._expected_row = expected_row
        self._follows = False
        self.close()

    @property
    def drained(self) -> bool:
        """Whether everything durable has been taken."""
        with self._lock:
            return self._live and not self._queue

    @property
    def queued_is_light(self) -> bool:
        """Whether what waits is in memory, and little work to resolve."""
        with self._lock:
            if not self._live or self._queued_bytes > _INLINE_BYTES:
                return False
            return sum(len(f.definitions) for f in self._queue) <= _INLINE_DEFINITIONS

    def take(self, max_bytes: int, until: LogPosition | None = None) -> list[Frame]:
        """The next frames before `until`, none if there are none now; at least one even if it is larger.

        Raises DiskFailed.
        """
        with self._lock:
            if self._live:
                return self._dequeue(max_bytes, until)
            durable_end = self._durable_end
        if until is not None:
            end = until if self._tails else min(until, durable_end)
        else:
            end = durable_end
        reader = self._opened()
        frames = reader.read(max_bytes, end)
        self._count_lost(reader)
        if frames or self._tails:
            return frames
        with self._lock:
            if self._durable_end == end and self._reader is reader:
                # Nothing was published since we looked: from here on frames come through the queue.
                self._live = True
        if self._live:
            self.close()
        return []

    def _dequeue(self, max_bytes: int, until: LogPosition | None) -> list[Frame]:
        frames: list[Frame] = []
        taken = 0
        while self._queue and (not frames or taken + self._queue[0].nbytes <= max_bytes):
            if until is not None and self._queue[0].end > until:
                break
            frame = self._queue.popleft()
            frames.append(frame)
            taken += frame.nbytes
        self._queued_bytes -= taken
        return frames

    def _opened(self) -> LogReader:
        if self._reader is None:
            reader = LogReader.open(self._directory, self._edge, self._next, self._expected_row)
            try:
                # A reader that was live and fell behind knows them: to read and enter them again takes a second for a
                # million series, just when there is most to do.
                if not self._follows:
                    for frame in reader.definitions_before():
                        self._on_definitions(frame)
            except BaseException:
                reader.close()
                raise
            self._reader, self._follows, self._seen_lost = reader, True, {}
        return self._reader

    def _count_lost(self, reader: LogReader) -> None:
        for reason, rows in reader.lost.items():
            new = rows - self._seen_lost.get(reason, 0)
            self.lost[reason] = self.lost.get(reason, 0) + new
        self._seen_lost = dict(reader.lost)

    def close(self) -> None:
        """Release files. Idempotent."""
        if self._reader is not None:
            self._reader.close()
            self._reader = None


class Feed(Protocol):
    """What a reader polls: the frames of one edge (DurableFeed), or its shard's of all edges (ShardFeed)."""

    wake: Callable[[], None]
    lost: dict[str, int]

    def seek(self, position: Place | None, expected_row: int | None = None, until: Place | None = None) -> None:
        """Continue at `position`, or with the oldest frame; what lies before `until` comes first."""
        ...

    def poll(self, max_bytes: int) -> list[ResolvedFrame]:
        """The next frames, none if there are none; at least one frame even if it is larger. Raises DiskFailed.

        The frames of one call are of one segment of each edge: entering the next one lets the series of this one
        expire, which must not happen before the caller is done with them, that is before its next call.
        """
        ...

    @property
    def pending_is_light(self) -> bool:
        """Whether a poll would be so short that an event loop may do it itself."""
        ...

    @property
    def idle(self) -> bool:
        """Whether everything durable has been taken."""
        ...

    def committed(self, position: Place) -> None:
        """See FrameFeed."""
        ...

    def close(self) -> None:
        """Release files. Idempotent."""
        ...


class DurableFeed:
    """One reader's frames of the one edge there is. See Feed."""

    def __init__(
        self,
        name: str,
        log_directory: Path,
        edge: int,
        local_ids: LocalIds,
        retention: Retention,
        durable_end: LogPosition,
        *,
        queue_bytes: int = QUEUE_BYTES,
    ) -> None:
        self._name = name
        self._local_ids = local_ids
        self._retention = retention
        self._frames = EdgeFrames(log_directory, edge, durable_end, local_ids.resolve, queue_bytes=queue_bytes)
        self._held: list[Frame] = []
        """Taken, but of the segment after the one last polled. The reader's thread owns it."""
        self._until: LogPosition | None = None
        """Frames before this place and behind it are not taken together, so that the reader can tell them apart."""
        self.lost = self._frames.lost
        self.wake: Callable[[], None] = _nothing
        """Called on the committer's thread after each publish."""

    def publish(self, frame: Frame) -> None:
        """A frame has become durable."""
        self._frames.publish(frame)
        self.wake()

    def seek(self, position: Place | None, expected_row: int | None = None, until: Place | None = None) -> None:
        """See Feed; of one edge all frames come in order."""
        assert not isinstance(position, Frontier), "a place in several logs"
        assert not isinstance(until, Frontier), "a place in several logs"
        self._held, self._until = [], until
        self._frames.seek(position, expected_row)

    def poll(self, max_bytes: int) -> list[ResolvedFrame]:
        """See Feed."""
        frames = self._held or self._frames.take(max_bytes)
        same = [f for f in frames if f.start.segment == frames[0].start.segment]
        self._held = frames[len(same) :]
        resolved = [self._local_ids.resolve(frame) for frame in same]
        if self._until is None:
            return coalesced(resolved)
        before = sum(frame.end <= self._until for frame in same)
        if before < len(same):
            self._until = None
        return coalesced(resolved[:before]) + coalesced(resolved[before:])

    @property
    def pending_is_light(self) -> bool:
        """See Feed."""
        if self._held:
            return False
        return self._frames.queued_is_light

    @property
    def idle(self) -> bool:
        """See Feed."""
        return self._frames.drained and not self._held

    def committed(self, position: Place) -> None:
        """See FrameFeed."""
        assert not isinstance(position, Frontier), "a place in several logs"
        self._retention.commit(self._name, position)

    def close(self) -> None:
        """See Feed."""
        self._frames.close()


class AsyncFeed:
    """A Feed for a reader that lives on an event loop; implements FrameFeed."""

    def __init__(self, feed: Feed, loop: asyncio.AbstractEventLoop) -> None:
        self._feed = feed
        self._loop = loop
        self._event = asyncio.Event()
        self._polling: asyncio.Task[list[ResolvedFrame]] | None = None
        self._seek_to: tuple[Place, Place | None] | None = None
        feed.wake = self._wake

    async def next_frames(self, max_bytes: int) -> list[ResolvedFrame]:
        """See FrameFeed."""
        while True:
            if self._polling is None:
                if self._seek_to is not None:
                    self._feed.seek(self._seek_to[0], until=self._seek_to[1])
                    self._seek_to = None
                self._event.clear()
                if self._feed.pending_is_light:
                    frames = self._feed.poll(max_bytes)
                    if frames:
                        return frames
                else:
                    self._polling = asyncio.create_task(asyncio.to_thread(self._feed.poll, max_bytes), name="feed-poll")
            if self._polling is not None:
                # Shielded and kept: a cancelled call leaves the frames to the next one.
                try:
                    polled = await asyncio.shield(self._polling)
                except Exception:
                    self._polling = None  # the next call tries again
                    raise
                self._polling = None
                if self._seek_to is not None:
                    continue  # these frames lie elsewhere
                if polled:
                    return polled
            if self._feed.idle and self._seek_to is None:
                await self._event.wait()

    def seek(self, position: Place, until: Place | None = None) -> None:
        """See FrameFeed. Takes effect with the next poll, as one may be under way in a thread."""
        self._seek_to = (position, until)
        self._event.set()

    def committed(self, position: Place) -> None:
        """See FrameFeed."""
        self._feed.committed(position)

    async def close(self) -> None:
        """Wait for a poll under way. Idempotent."""
        if self._polling is not None:
            await asyncio.gather(self._polling, return_exceptions=True)
            self._polling = None
        self._feed.close()

    def _wake(self) -> None:
        if self._event.is_set():
            return
        try:
            self._loop.call_soon_threadsafe(self._event.set)
        except RuntimeError:
            self._feed.wake = _nothing  # the loop has closed


class ThreadFeed:
    """A Feed for a reader that has a thread of its own."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._event = threading.Event()
        feed.wake = self._event.set

    def next_frames(self, max_bytes: int, timeout: float) -> list[ResolvedFrame]:
        """The next frames, none after `timeout` seconds without any. Raises DiskFailed."""
        self._event.clear()
        frames = self._feed.poll(max_bytes)
        if frames or not self._feed.idle:
            return frames
        self._event.wait(timeout)
        return self._feed.poll(max_bytes)

    def wake(self) -> None:
        """End a wait now."""
        self._event.set()


def _nothing() -> None:
    """Before a reader is attached nobody is to be woken."""
