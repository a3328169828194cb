"""Numbers every sample and says after a run which of the acknowledged ones VictoriaMetrics holds, exactly.

A request has a number q; its point i carries the number q · batch + i in the lowest 40 bits of its value, a whole
number that a float64 holds exactly, and the request's time, which no other request of the same template has. The
senders write what happened to each request into an append-only file of records; `verify` reads the target's export back
and compares sample by sample.

A sample is *lost* when its request was acknowledged and the target does not hold it, *repeated* for each further time
that it is held, and *wrong* when series, time and value do not belong together (the target made something up).
"""

from __future__ import annotations

import http.client
import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal
from urllib.parse import quote, urlsplit

import msgspec
import numpy as np
from numpy.typing import NDArray

from loadtest.generator.patch import LEVEL, NUMBER_BITS
from loadtest.generator.population import IDENTITY_LABEL, METRIC_PREFIX, number_of

EVENT: Final = np.dtype([("request", "<i8"), ("time_ms", "<i8"), ("template", "<i4"), ("event", "<i4")])
"""One record of a ledger file."""

SENT: Final = 1
"""Written before the first byte leaves."""
ACKNOWLEDGED: Final = 2
"""The target answered that it has taken every point."""
REFUSED: Final = 3
"""The target answered that it will never take it, or took a part."""
GIVEN_UP: Final = 4
"""No acknowledgement within the sender's patience; the target may hold it or not."""
Event = Literal[1, 2, 3, 4]


class LedgerFile:
    """What one sender process writes."""

    def __init__(self, path: Path) -> None:
        self._file: io.BufferedWriter = path.open("ab")

    def write(self, request: int, time_ms: int, template: int, event: Event) -> None:
        """Append a record."""
        self._file.write(np.array([(request, time_ms, template, event)], EVENT).tobytes())

    def close(self) -> None:
        """Hand the rest to the operating system."""
        self._file.close()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the ledger found; counts are points."""

    sent: int
    acknowledged: int
    held: int
    """Acknowledged points that the target holds."""
    lost: int
    repeated: int
    unacknowledged_held: int
    wrong: int
    first_lost: tuple[str, ...] = ()
    """A few of the lost ones: series number, time and value."""

    @property
    def passed(self) -> bool:
        """Nothing acknowledged is missing and nothing was made up."""
        return self.lost == 0 and self.wrong == 0

    def line(self) -> str:
        """One line for people."""
        word = "KEPT" if self.passed else "LOST"
        return (
            f"{word}: acknowledged {self.acknowledged:,}, held {self.held:,}, lost {self.lost:,}, "
            f"repeated {self.repeated:,}, held without acknowledgement {self.unacknowledged_held:,}, "
            f"wrong {self.wrong:,}"
        )

    def figures(self) -> dict[str, int]:
        """For a JSON line."""
        names = ("sent", "acknowledged", "held", "lost", "repeated", "unacknowledged_held", "wrong")
        return {name: getattr(self, name) for name in names}


class Ledger:
    """Every record of a run, by request."""

    def __init__(self, files: Iterable[Path], batch: int) -> None:
        records = [np.fromfile(path, EVENT) for path in files]
        events = np.concatenate(records) if records else np.zeros(0, EVENT)
        self.batch = batch
        self.requests = int(events["request"].max()) + 1 if len(events) else 0
        self.template = np.full(self.requests, -1, np.int64)
        self.time_ms = np.zeros(self.requests, np.int64)
        self.acknowledged = np.zeros(self.requests, bool)
        sent = events[events["event"] == SENT]
        self.template[sent["request"]] = sent["template"]
        self.time_ms[sent["request"]] = sent["time_ms"]
        self.acknowledged[events["request"][events["event"] == ACKNOWLEDGED]] = True
        self.sent_requests = len(sent)
        self.first_ms = int(sent["time_ms"].min()) if len(sent) else 1
        """Time of the earliest sample sent."""

    @property
    def acknowledged_points(self) -> int:
        """Points that must be held."""
        return int(self.acknowledged.sum()) * self.batch

    def verify(
        self, url: str, progress: Callable[[int], None] = lambda samples: None, *, alone: bool = True
    ) -> Verdict:
        """Compare with what the VictoriaMetrics at `url` holds. Raises OSError.

        alone: no samples but those of this ledger are held; otherwise samples before its first one are not looked at.
        """
        held = np.zeros(self.requests * self.batch, np.uint8)
        wrong = 0
        seen = 0
        for numbers, times, values in export(url, 1 if alone else self.first_ms):
            wrong += self._count(held, numbers, times, values)
            seen += len(values)
            progress(seen)
        expected = np.repeat(self.acknowledged, self.batch)
        missing = np.flatnonzero(expected & (held == 0))
        return Verdict(
            sent=self.sent_requests * self.batch,
            acknowledged=self.acknowledged_points,
            held=int(np.count_nonzero(held[expected])),
            lost=len(missing),
            repeated=int(np.maximum(held.astype(np.int64) - 1, 0).sum()),
            unacknowledged_held=int(np.count_nonzero(held[~expected])),
            wrong=wrong,
            first_lost=tuple(self._describe(int(value)) for value in missing[:5]),
        )

    def _count(
        self,
        held: NDArray[np.uint8],
        numbers: NDArray[np.int64],
        times: NDArray[np.int64],
        values: NDArray[np.float64],
    ) -> int:
        """Mark samples; returns how many do not belong where they were found."""
        whole = np.nan_to_num(values, nan=-1.0).astype(np.int64)
        known = (whole >= 0) & (whole == values) & ((whole >> NUMBER_BITS) < 2 * LEVEL)
        whole &= (1 << NUMBER_BITS) - 1
        known &= whole < len(held)
        request = np.where(known, whole, 0) // self.batch
        row = np.where(known, whole, 0) % self.batch
        known &= (self.template[request] * self.batch + row == numbers) & (self.time_ms[request] == times)
        found, counts = np.unique(whole[known], return_counts=True)
        held[found] = np.minimum(held[found].astype(np.int64) + counts, 255)
        return int(len(values) - known.sum())

    def _describe(self, value: int) -> str:
        request, row = divmod(value, self.batch)
        return (
            f"series {int(self.template[request]) * self.batch + row} time {int(self.time_ms[request])} value {value}"
        )


class _Exported(msgspec.Struct):
    metric: dict[str, str]
    values: list[float | None]
    timestamps: list[int]


_CHUNK: Final = 200_000
"""Samples handled at one time."""

Samples = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]
"""Series numbers, int64 ms, float64 values; one entry a sample."""


def export(url: str, start_ms: int = 1) -> Iterable[Samples]:
    """Every stored sample of the sent series from start_ms on, in chunks. Raises OSError."""
    match = quote(f'{{__name__=~"{METRIC_PREFIX}.*"}}')
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=600)
    decoder = msgspec.json.Decoder(_Exported)
    try:
        connection.request("GET", "/internal/force_flush")
        connection.getresponse().read()
        # The sent times can be two days old, or a little ahead.
        connection.request(
            "GET", f"/api/v1/export?match[]={match}&start={start_ms / 1e3:.3f}&end=2000000000000&reduce_mem_usage=1"
        )
        answer: Any = connection.getresponse()
        if answer.status != 200:
            raise OSError(f"export answered {answer.status}: {answer.read(500)!r}")
        chunk: list[_Exported] = []
        gathered = 0
        for line in io.BufferedReader(answer, 1 << 20):
            series = decoder.decode(line)
            chunk.append(series)
            gathered += len(series.values)
            if gathered >= _CHUNK:
                yield _samples(chunk)
                chunk, gathered = [], 0
        yield _samples(chunk)
    finally:
        connection.close()


def _samples(chunk: list[_Exported]) -> Samples:
    numbers = np.array([number_of(series.metric[IDENTITY_LABEL]) for series in chunk], np.int64)
    times = np.array([time for series in chunk for time in series.timestamps], np.int64)
    values = np.array([v for series in chunk for v in series.values], np.float64)  # None becomes NaN
    return np.repeat(numbers, [len(series.values) for series in chunk]), times, values
