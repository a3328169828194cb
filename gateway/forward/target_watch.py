"""The target's life: whether it is still the process that acked what is held as acked.

meet      until it answers; back to safe unless it is that process, or if it may have lost its memory
begin     blocks may be sent
suspect   a connection broke: nobody sends until `watch` knows more
watch     asks for its start time now and then, or at once when suspected; returns when it is another process
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from gateway.clock import Clock
from gateway.forward.progress_keeper import ProgressKeeper
from gateway.forward.remote_write_encoder import Encoding
from gateway.forward.retry import Backoff
from gateway.forward.settings import VictoriaMetricsSettings
from gateway.forward.victoria_metrics import Silence, TargetIdentity, VictoriaMetrics
from gateway.selfmetrics import counter

log = structlog.get_logger(__name__)

REPLAYS = counter("forward_replays", "Times the position went back because the target lost its memory.")

_START_SECOND: Final = 1.05
"""Longer than the unit in which a target tells its start."""


class TargetWatch:
    """One target as one forwarder sees it. For one event loop."""

    def __init__(
        self,
        settings: VictoriaMetricsSettings,
        client: VictoriaMetrics,
        kept: ProgressKeeper,
        clock: Clock,
        *,
        backoff: Callable[[], Backoff],
        sleep: Callable[[float], Awaitable[object]],
        complain: Callable[[str], None],
    ) -> None:
        """backoff: makes the waits of one sequence of failures. complain: takes what the network says against us."""
        self._settings, self._client, self._kept, self._clock = settings, client, kept, clock
        self._backoff, self._sleep, self._complain = backoff, sleep, complain
        self.confirmed = asyncio.Event()
        """Set while nothing speaks against the target being the process it was."""
        self.encoding: Encoding = "snappy"
        """Which it takes."""
        self.retention: float | None = settings.retention or None
        """Seconds; None where it is not known."""
        self.replays = 0
        """Times the position went back."""
        self._probe_now = asyncio.Event()
        self._memory_lost = False

    async def meet(self) -> None:
        """Wait for the target; go back to safe unless it is the process that acked what we hold as acked."""
        identity, self.encoding = await self._until_it_answers()
        progress = self._kept.progress
        same = identity.start_time is not None and identity.start_time == self._kept.target_start
        if self._memory_lost or not same:
            if progress.acked.position != progress.safe.record.position:
                self.replays += 1
                REPLAYS.inc()
                log.warning(
                    "the target restarted and may have lost its newest samples; they are sent again",
                    rows=progress.acked.rows - progress.safe.record.rows,
                )
            progress.go_back()
        self._memory_lost = False
        self._learn(identity)
        log.info("forwarding", encoding=self.encoding, rows_acked=progress.acked.rows)

    async def _until_it_answers(self) -> tuple[TargetIdentity, Encoding]:
        backoff = self._backoff()
        seen: float | None = None
        while True:
            identity = await self._client.identity()
            encoding = await self._client.encoding() if isinstance(identity, TargetIdentity) else None
            if isinstance(identity, TargetIdentity) and encoding is not None:
                if identity.distinct or (identity.told_at is None and identity.start_time == seen):
                    return identity, encoding
                # Nothing is sent in the second in which it started: killed and started again within it, it would
                # tell the same start time and nobody would know that what it had taken is gone.
                seen = identity.start_time
                await self._sleep(_START_SECOND)
                continue
            words = "it does not answer on its write address"
            if isinstance(identity, Silence):
                words = identity.words
                self._memory_lost = self._memory_lost or identity.refused
            if backoff.failures == 0:
                log.warning("the target cannot be reached; data waits in the log", reason=words)
            self._complain(words)
            await self._sleep(backoff.delay())

    def begin(self) -> None:
        """It was met just now."""
        self._probe_now.clear()
        self.confirmed.set()

    def suspect(self, words: str, refused: bool) -> None:
        """A connection broke: nobody sends until the watch knows whether the target is still the same process.

        Where nobody listened it is not, whatever start time it tells.
        """
        self._memory_lost = self._memory_lost or refused
        if self.confirmed.is_set():
            log.warning("the connection to the target broke", reason=words)
        self.confirmed.clear()
        self._probe_now.set()

    async def watch(self) -> None:
        """Ask for the target's start time; returns when it is another process."""
        backoff = self._backoff()
        while True:
            try:
                async with asyncio.timeout(self._settings.poll_interval):
                    await self._probe_now.wait()
            except TimeoutError:
                pass
            self._probe_now.clear()
            suspected = not self.confirmed.is_set()
            asked_at = self._clock.monotonic()
            identity = await self._client.identity()
            if isinstance(identity, Silence):
                self._complain(identity.words)
                self.suspect(identity.words, identity.refused)
                await self._sleep(backoff.delay())
                continue
            unknown = identity.start_time is None and suspected
            if self._memory_lost or unknown or identity.start_time != self._kept.target_start:
                self._memory_lost = True
                return
            if suspected:
                encoding = await self._client.encoding()
                if encoding is None:
                    self._probe_now.set()
                    await self._sleep(backoff.delay())
                    continue
                self.encoding = encoding
                self.confirmed.set()
            backoff.reset()
            self._learn(identity)
            self._kept.progress.confirm(asked_at)

    def _learn(self, identity: TargetIdentity) -> None:
        self._kept.target_start = identity.start_time
        self.retention = self._settings.retention or identity.retention
