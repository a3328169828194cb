"""What a decoder makes of one request: points as columns, and a way to the labels of those not seen before.

All arrays of one PointColumns have the same length n, one entry a log row: a gauge is one row, a histogram with b
buckets is b + 2 (its count, its sum, its buckets; those rows stand next to each other, count first).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(slots=True)
class Definitions:
    """Label sets of m series, as one piece of memory.

    offsets: uint32[m + 1], the blob of series i is blobs[offsets[i]:offsets[i + 1]] (see telemetry.labels).
    kinds: uint8[m], see telemetry.kind.
    blobs: uint8[total].
    """

    kinds: NDArray[np.uint8]
    offsets: NDArray[np.uint32]
    blobs: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.kinds)

    def blob(self, index: int) -> bytes:
        """One label blob."""
        return self.blobs[int(self.offsets[index]) : int(self.offsets[index + 1])].tobytes()

    @classmethod
    def from_blobs(cls, blobs: list[bytes], kinds: NDArray[np.uint8]) -> Definitions:
        """From separate blobs, in order."""
        offsets = np.zeros(len(blobs) + 1, np.uint32)
        np.cumsum([len(b) for b in blobs], out=offsets[1:])
        return cls(kinds, offsets, np.frombuffer(b"".join(blobs), np.uint8))


@dataclass(slots=True)
class ExemplarColumns:
    """Exemplars of a request, k of them.

    rows: uint32[k], the row of the PointColumns (or Frame) each belongs to; times_ms: int64[k]; values: float64[k];
    trace_ids: uint8[k, 16] and span_ids: uint8[k, 8], zeros where absent.
    """

    rows: NDArray[np.uint32]
    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    trace_ids: NDArray[np.uint8]
    span_ids: NDArray[np.uint8]

    @classmethod
    def joined(cls, blocks: Iterable[tuple[ExemplarColumns | None, int]]) -> ExemplarColumns | None:
        """Those of several blocks of rows, each given with its number of rows, whose rows are put one after another;
        None where no block has any."""
        parts: list[tuple[ExemplarColumns, int]] = []
        first = 0
        for exemplars, rows in blocks:
            if exemplars is not None:
                parts.append((exemplars, first))
            first += rows
        if not parts:
            return None
        return cls(
            np.concatenate([e.rows + np.uint32(before) for e, before in parts]),
            np.concatenate([e.times_ms for e, _ in parts]),
            np.concatenate([e.values for e, _ in parts]),
            np.concatenate([e.trace_ids for e, _ in parts]),
            np.concatenate([e.span_ids for e, _ in parts]),
        )


class LabelSource(Protocol):
    """Reads the labels of rows whose series has not been seen; holds on to the request's bytes until dropped."""

    def definitions(self, rows: NDArray[np.int64]) -> Definitions:
        """Label blobs and kinds of the given rows, in that order. Runs off the event loop. Never raises for a row the
        decoder accepted."""
        ...


@dataclass(slots=True)
class PointColumns:
    """One decoded request.

    hash_hi, hash_lo: uint64[n], 128-bit keyed hash of the series' identity on this wire; (0, 0) never occurs.
    times_ms: int64[n], Unix milliseconds. values: float64[n]; a stale marker keeps its bits.
    starts_ms: int64[n], start of the interval of a delta or cumulative value, 0 where unknown; None if all unknown.
    kinds: uint8[n], telemetry.kind.
    """

    hash_hi: NDArray[np.uint64]
    hash_lo: NDArray[np.uint64]
    times_ms: NDArray[np.int64]
    values: NDArray[np.float64]
    starts_ms: NDArray[np.int64] | None
    kinds: NDArray[np.uint8]
    source: LabelSource
    exemplars: ExemplarColumns | None = None
    points: int = 0
    """Data points of the protocol that were accepted (a histogram is one)."""
    rejected: dict[str, int] = field(default_factory=dict)
    """Protocol points not accepted, by reason."""
    rejected_message: str = ""
    """For the sender: what was rejected and why, in one sentence; empty if nothing was."""
    row_points: NDArray[np.uint32] | None = None
    """uint32[n]: which protocol point (0-based) a row came from; None where rows and points are the same. A target_info
    row comes from none and has a number of its own, `points` or more."""
    exemplars_written: int = 0
    histograms_written: int = 0
    """For the Written headers of remote write 2.0."""

    def __len__(self) -> int:
        return len(self.times_ms)


@dataclass(slots=True)
class JoinedColumns:
    """Several requests, k of them, decoded as one, of which no point was refused.

    row_ends: int64[k], rows up to and including request i. points: int64[k], protocol points of request i.
    """

    columns: PointColumns
    row_ends: NDArray[np.int64]
    points: NDArray[np.int64]


@dataclass(slots=True)
class Receipt:
    """What became of an accepted request, once durable."""

    rows: int
    refused: dict[str, int] = field(default_factory=dict)
    """Protocol points refused after decoding (`series_limit`), by reason."""
    message: str = ""
    refused_rows: NDArray[np.bool_] | None = None
    """bool[n]: the rows of the refused points, for requests that were decoded as one; None where none was refused."""


class Sink(Protocol):
    """Where receivers hand decoded requests; wired by app."""

    async def accept(self, columns: PointColumns, *, received_ns: int, body_bytes: int, latest_ns: int = 0) -> Receipt:
        """Returns when the points are durable. Raises RetryLater (LogFull, Unavailable, ShuttingDown).

        latest_ns: when the last of several requests decoded as one was received; 0 = at received_ns, like the first.
        """
        ...


class BlockingSink(Protocol):
    """The same for receivers that run in threads of their own, where a hop over the event loop costs too much."""

    def accept_blocking(self, columns: PointColumns, *, received_ns: int, body_bytes: int) -> Receipt:
        """Returns when the points are durable; called from any thread but the event loop's. Raises as Sink does."""
        ...
