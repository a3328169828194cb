"""The sender processes: each owns a part of the templates and of the connections.

A connection waits for each answer before it sends again, and a template has one request on its way at most, so a body
is never written over while it travels, and the points of one series always travel in order.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import random
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import numpy as np
import uvloop

from loadtest.generator.exchange import Exchange, GrpcExchange, HttpExchange, compress
from loadtest.generator.template import Template, build
from loadtest.generator.work import Outcome, Work
from loadtest.ledger import ACKNOWLEDGED, GIVEN_UP, REFUSED, SENT, Event, LedgerFile

_OLDEST_MS: Final = 47 * 3_600_000
"""Times older than two days are refused by default."""
_FIRST_WAIT: Final = 0.02
_LONGEST_WAIT: Final = 1.0
ACKNOWLEDGED_COUNT, REFUSED_COUNT, GIVEN_UP_COUNT, RETRIES, READY, WARM, ASKED_TO_WAIT = range(7)
"""Places in the shared counters."""


class _Sender:
    """One process's part."""

    def __init__(self, work: Work, part: int, counters: Any, ledger: LedgerFile | None, stop: Any) -> None:
        self.work, self.part, self.counters, self.ledger, self.stop = work, part, counters, ledger, stop
        self.latencies: list[float] = []
        self.body_bytes = 0
        self.first_refusal = ""
        self._numbers = self._request_numbers()
        rounds = work.warm_rounds + (work.requests / work.templates * 1.3 + 5 if work.requests else 2_000)
        self._first_time_ms = int(time.time() * 1000) - min(_OLDEST_MS, int(rounds * work.step_ms))
        self._began = 0.0

    def _request_numbers(self) -> Iterator[int]:
        first = self.work.warm_requests
        for index in count(self.part, self.work.senders):
            if self.work.requests and index >= self.work.requests:
                return
            yield first + index

    async def run(self, templates: list[Template], await_phase: Callable[[int], None]) -> None:
        """The warm-up, which counts nowhere but in the ledger, then everything else."""
        mine = len(range(self.part, self.work.connections, self.work.senders))
        mine = min(mine, len(templates))
        exchanges = [self._exchange() for _ in range(mine)]
        self._turns = [asyncio.Lock() for _ in templates]
        try:
            await asyncio.to_thread(await_phase, READY)
            rounds = ((turn, place) for turn in range(self.work.warm_rounds) for place in range(len(templates)))
            async with asyncio.TaskGroup() as group:
                for exchange in exchanges:
                    group.create_task(self._warm(exchange, templates, rounds))
            self._reset()
            await asyncio.to_thread(await_phase, WARM)
            self._began = time.perf_counter()
            async with asyncio.TaskGroup() as group:
                for exchange in exchanges:
                    group.create_task(self._drive(exchange, templates))
        finally:
            for exchange in exchanges:
                await exchange.close()

    def _reset(self) -> None:
        if self.counters[REFUSED_COUNT] or self.counters[GIVEN_UP_COUNT]:
            raise RuntimeError(f"the warm-up was refused: {self.first_refusal}")
        for place in (ACKNOWLEDGED_COUNT, RETRIES, ASKED_TO_WAIT):
            self.counters[place] = 0
        self.latencies, self.body_bytes = [], 0

    async def _warm(self, exchange: Exchange, templates: list[Template], rounds: Iterator[tuple[int, int]]) -> None:
        # Templates take turns as they do later: series that run ahead of others in time make the others look silent.
        for turn, place in rounds:
            async with self._turns[place]:
                template = templates[place]
                number = turn * self.work.templates + template.number
                await self._request(exchange, template, number, time.perf_counter())

    def _exchange(self) -> Exchange:
        return GrpcExchange(self.work) if self.work.protocol == "otlp-grpc" else HttpExchange(self.work)

    async def _drive(self, exchange: Exchange, templates: list[Template]) -> None:
        work = self.work
        first = work.warm_requests
        seconds_per_request = work.batch / work.rate if work.rate else 0.0
        while True:
            if self.stop.value or (work.seconds and time.perf_counter() - self._began > work.seconds):
                return
            number = next(self._numbers, None)
            if number is None:
                return
            due = time.perf_counter()
            if work.rate:
                due = self._began + (number - first) * seconds_per_request
                if (wait := due - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
            # Templates take turns over all connections, so that no series runs ahead of the others in time.
            place = (number - first) // work.senders % len(templates)
            async with self._turns[place]:
                await self._request(exchange, templates[place], number, due)

    async def _request(self, exchange: Exchange, template: Template, number: int, due: float) -> None:
        work = self.work
        asked = self._first_time_ms + template.round * work.step_ms if work.step_ms else int(time.time() * 1000)
        first_value = number * work.batch if work.numbered else -1
        time_ms = template.stamp(asked, first_value, work.churn_per_minute)
        body = compress("none" if work.protocol == "otlp-grpc" else work.encoding, memoryview(template.body.data))
        self.body_bytes += len(body)
        self._note(number, time_ms, template.number, SENT)
        wait, deadline = _FIRST_WAIT, time.perf_counter() + work.patience
        if work.latency_from_sending:
            due = time.perf_counter()
        while True:
            asked_to_wait = 0.0
            try:
                answer = await exchange.send(body)
            except (OSError, TimeoutError) as error:
                self.first_refusal = self.first_refusal or f"{type(error).__name__}: {error}"
            else:
                if answer.taken:
                    self.latencies.append(time.perf_counter() - due)
                    self._note(number, time_ms, template.number, ACKNOWLEDGED)
                    self.counters[ACKNOWLEDGED_COUNT] += 1
                    return
                self.first_refusal = self.first_refusal or answer.detail
                if not answer.again:
                    self._note(number, time_ms, template.number, REFUSED)
                    self.counters[REFUSED_COUNT] += 1
                    return
                asked_to_wait = answer.wait
                self.counters[ASKED_TO_WAIT] += answer.wait > 0
            if time.perf_counter() > deadline or self.stop.value:
                self._note(number, time_ms, template.number, GIVEN_UP)
                self.counters[GIVEN_UP_COUNT] += 1
                return
            self.counters[RETRIES] += 1
            await asyncio.sleep(max(asked_to_wait, wait * random.uniform(0.5, 1.0)))
            wait = min(_LONGEST_WAIT, wait * 2)

    def _note(self, number: int, time_ms: int, template: int, event: Event) -> None:
        if self.ledger is not None:
            self.ledger.write(number, time_ms, template, event)


def _process(work: Work, part: int, counters: Any, phases: dict[int, Any], stop: Any, results: str) -> None:
    """Body of a sender process."""
    templates = [build(work.protocol, number, work.batch) for number in range(part, work.templates, work.senders)]
    ledger = LedgerFile(work.ledger_dir / f"ledger-{part}") if work.ledger_dir is not None else None
    sender = _Sender(work, part, counters, ledger, stop)
    gc.collect()
    gc.freeze()
    cpu_before = 0.0

    def await_phase(phase: int) -> None:
        nonlocal cpu_before
        counters[phase] = 1
        phases[phase].wait()
        cpu_before = time.process_time()

    try:
        run = asyncio.run if work.protocol == "otlp-grpc" else uvloop.run
        run(sender.run(templates, await_phase))
    finally:
        if ledger is not None:
            ledger.close()
    np.save(f"{results}/latencies-{part}.npy", np.array(sender.latencies))
    figures = f"{time.process_time() - cpu_before}\n{sender.body_bytes}\n{sender.first_refusal}"
    Path(f"{results}/figures-{part}").write_text(figures)


class Senders:
    """The processes of one piece of work: `build`, `warm_up`, `start`, `wait`, and `kill` in any case."""

    def __init__(self, work: Work) -> None:
        self.work = work
        context = multiprocessing.get_context("spawn")
        self._directory = TemporaryDirectory(prefix="loadtest-")
        self._counters = [context.Array("q", 7, lock=False) for _ in range(work.senders)]
        self._phases = {READY: context.Event(), WARM: context.Event()}
        self._stop = context.Value("b", 0, lock=False)
        self._processes = [
            context.Process(
                target=_process,
                args=(work, part, counters, self._phases, self._stop, self._directory.name),
                daemon=True,
            )
            for part, counters in enumerate(self._counters)
        ]
        self._began = 0.0

    def build(self) -> None:
        """Start the processes and wait until every body is built. Raises RuntimeError."""
        if self.work.ledger_dir is not None:
            self.work.ledger_dir.mkdir(parents=True, exist_ok=True)
        for process in self._processes:
            process.start()
        self._await(READY)

    def warm_up(self, progress: Callable[[int], None] = lambda acknowledged: None) -> None:
        """Let them send the warm-up, and wait until all of it is acknowledged. Raises RuntimeError."""
        self._phases[READY].set()
        self._await(WARM, progress)

    def start(self) -> None:
        """Let them send the rest."""
        self._began = time.perf_counter()
        self._phases[WARM].set()

    def _await(self, phase: int, progress: Callable[[int], None] = lambda acknowledged: None) -> None:
        while not all(counters[phase] for counters in self._counters):
            if not all(process.is_alive() for process in self._processes):
                raise RuntimeError("a sender process ended before its time; its own message is above")
            progress(self.acknowledged)
            time.sleep(0.02)

    @property
    def acknowledged(self) -> int:
        """Requests so far."""
        return self._sum(ACKNOWLEDGED_COUNT)

    @property
    def running(self) -> bool:
        """Whether a sender process still lives."""
        return any(process.is_alive() for process in self._processes)

    def stop(self) -> None:
        """Ask for an early end; requests on their way are awaited."""
        self._stop.value = 1

    def kill(self) -> None:
        """End the processes at once."""
        for process in self._processes:
            if process.is_alive():
                process.kill()
            with contextlib.suppress(ValueError, AssertionError):
                process.join()

    def wait(self, progress: Callable[[int], None] = lambda acknowledged: None, timeout: float = 3600.0) -> Outcome:
        """Raises RuntimeError when a process failed, TimeoutError."""
        deadline = time.monotonic() + timeout
        while self.running:
            progress(self.acknowledged)
            if time.monotonic() > deadline:
                self.kill()
                raise TimeoutError(f"the senders did not end within {timeout:.0f} s")
            self._processes[0].join(0.05)
        wall = time.perf_counter() - self._began
        for process in self._processes:
            process.join()
            if process.exitcode:
                raise RuntimeError(f"a sender process ended with status {process.exitcode}")
        progress(self.acknowledged)
        return self._outcome(wall)

    def _sum(self, place: int) -> int:
        return int(sum(counters[place] for counters in self._counters))

    def _outcome(self, wall: float) -> Outcome:
        directory = Path(self._directory.name)
        parts = range(self.work.senders)
        texts = [(directory / f"figures-{part}").read_text().split("\n", 2) for part in parts]
        outcome = Outcome(
            work=self.work,
            wall_seconds=wall,
            cpu_seconds=sum(float(text[0]) for text in texts),
            acknowledged=self.acknowledged,
            refused=self._sum(REFUSED_COUNT),
            given_up=self._sum(GIVEN_UP_COUNT),
            retries=self._sum(RETRIES),
            latencies=np.concatenate([np.load(directory / f"latencies-{part}.npy") for part in parts]),
            body_bytes=sum(int(text[1]) for text in texts),
            first_refusal=next((text[2] for text in texts if text[2]), ""),
            asked_to_wait=self._sum(ASKED_TO_WAIT),
        )
        self._directory.cleanup()
        return outcome


def ledger_files(directory: Path) -> list[Path]:
    """The files that senders wrote there."""
    return sorted(path for path in directory.iterdir() if path.name.startswith("ledger-"))


def send(work: Work) -> Outcome:
    """Build, send, wait."""
    senders = Senders(work)
    try:
        senders.build()
        senders.warm_up()
        senders.start()
        return senders.wait()
    finally:
        senders.kill()
