"""OTLP metrics requests, protobuf or JSON, to PointColumns.

What is refused and why, point by point (`PointColumns.rejected`): `too_old`, `too_new`, `nan` (an ordinary NaN; stale
markers and infinities are kept), `no_value`, `invalid_name`, `temporality` (unspecified), `not_utf8`,
`label_too_long`, `too_many_attributes`, `scale` (exponential, below -4), `buckets` (bounds and counts that do not fit,
or more than 1,024), `attribute_depth`. Malformed bytes refuse the request with DecodeError and their offset.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from gateway import selfmetrics
from gateway.decode.known_labels import KnownLabels
from gateway.decode.left_out import EXEMPLARS_REJECTED, NAN_SUMS
from gateway.decode.otlp_json import request_from_json
from gateway.decode.otlp_labels import OtlpLabels, SharedLabels
from gateway.decode.settings import DecodeSettings
from gateway.errors import BodyTooLarge, DecodeError
from gateway.telemetry.columns import ExemplarColumns, JoinedColumns, PointColumns
from kernels import otlp_count, otlp_points, otlp_rows
from kernels.label_hash import derive_secrets
from kernels.otlp_attributes import STACK, STAMP_BITS
from kernels.otlp_histograms import MOST_BOUNDS
from kernels.otlp_joined import requests_end_apart
from kernels.otlp_reasons import REASONS
from kernels.varint import FAULT_TEXTS, fault_code, fault_offset

OVERWRITTEN = selfmetrics.counter(
    "decode_overwritten_attributes", "Attributes of which a later one of the same set has the same key."
)

Body: TypeAlias = bytes | bytearray | memoryview

_LEAST_RANGE = 22
"""Bytes a number point with a time, a value and an attribute takes at least. Room for so many is asked for before they
are counted, so that the request is walked once; memory is used of it only as far as there are any."""
_LEAST_EXEMPLAR = 20
"""Bytes an exemplar with a trace id and its framing take at least."""


class _Filled(NamedTuple):
    """A request as the kernels left it."""

    data: NDArray[np.uint8]
    rows: otlp_rows.Rows
    exemplars: otlp_rows.Exemplars
    origins: otlp_rows.Origins
    state: NDArray[np.int64]
    rejected: NDArray[np.int64]


class OtlpMetricsDecoder:
    """Decodes requests; thread-safe, and the kernels run without the interpreter lock.

    hash_key: the 128-bit key of the data directory, as two 64-bit halves.
    """

    def __init__(self, hash_key: tuple[int, int], settings: DecodeSettings) -> None:
        self._secrets = derive_secrets(hash_key)
        self._settings = settings
        self._prometheus = settings.naming == "prometheus"
        self._shared = SharedLabels()
        self._known = KnownLabels()

    def decode_protobuf(self, body: bytes | bytearray | memoryview | NDArray[np.uint8], now_ms: int) -> PointColumns:
        """The columns of an ExportMetricsServiceRequest; the caller leaves `body` alone while they live.

        Raises DecodeError for malformed bytes, BodyTooLarge for a request of more than `max_rows` rows.
        """
        data = body if isinstance(body, np.ndarray) else np.frombuffer(body, np.uint8)
        return self._columns(self._fill(data, now_ms))

    def decode_joined(self, bodies: Sequence[Sequence[Body]], now_ms: int) -> JoinedColumns | None:
        """Several requests, each of one or more pieces, as one: what a request costs beside its points is spent once.

        None where that could say less than one by one, which the caller then does: any of them is malformed, a point
        is refused, exemplars are too many, all together have more than `max_rows` rows.
        """
        ends = np.cumsum([sum(map(len, pieces)) for pieces in bodies], dtype=np.int64)
        data = np.frombuffer(b"".join([piece for pieces in bodies for piece in pieces]), np.uint8)
        if not requests_end_apart(data, ends):
            return None
        try:
            filled = self._fill(data, now_ms)
        except (DecodeError, BodyTooLarge):
            return None
        state, rows = filled.state, filled.rows
        if filled.rejected.any() or state[otlp_rows.S_EXEMPLARS_LOST]:
            return None
        n = int(state[otlp_rows.S_ROWS])
        places, numbers = rows.points[:n].astype(np.int64), rows.numbers[:n]
        of_points = numbers != otlp_rows.NO_POINT
        if of_points.all():
            row_ends = np.searchsorted(places, ends)
            before = row_ends
        else:
            # A target_info row stands behind its resource's points.
            places[~of_points] = filled.origins.resource_end[rows.metrics[:n][~of_points]].astype(np.int64) - 1
            row_ends = np.searchsorted(places, ends)
            numbers, before = numbers[of_points], np.searchsorted(places[of_points], ends)
        point_ends = np.zeros(len(ends), np.int64)
        some = before > 0
        point_ends[some] = numbers[before[some] - 1].astype(np.int64) + 1
        return JoinedColumns(self._columns(filled), row_ends, np.diff(point_ends, prepend=0))

    def _fill(self, data: NDArray[np.uint8], now_ms: int) -> _Filled:
        """Both passes of the kernels. Raises as `decode_protobuf` does."""
        counts = np.zeros(otlp_count.C_LENGTH, np.int64)
        room = len(data) // _LEAST_RANGE + 1
        where, high, low = np.empty(room, np.uint32), np.empty(room, np.uint64), np.empty(room, np.uint64)
        noted = int(otlp_count.count_rows(data, self._secrets, where, high, low, counts))
        _check(noted)
        settings = self._settings
        expected = int(counts[otlp_count.C_ROWS])
        if expected > settings.max_rows:
            raise BodyTooLarge(
                f"the request may expand to {expected} rows; the limit is {settings.max_rows}", reason="too_many_rows"
            )
        rows = otlp_rows.Rows(
            np.empty(expected, np.uint64),
            np.empty(expected, np.uint64),
            np.empty(expected, np.int64),
            np.empty(expected, np.int64),
            np.empty(expected, np.float64),
            np.empty(expected, np.uint8),
            np.empty(expected, np.uint8),
            np.empty(expected, np.int32),
            np.empty(expected, np.uint32),
            np.empty(expected, np.uint32),
            np.empty(expected, np.uint32),
        )
        room = min(len(data) // _LEAST_EXEMPLAR, settings.max_exemplars)
        exemplars = otlp_rows.Exemplars(
            np.empty(room, np.uint32),
            np.empty(room, np.int64),
            np.empty(room, np.float64),
            np.empty(room * 16, np.uint8),
            np.empty(room * 8, np.uint8),
        )
        metrics, scopes, resources = (
            int(counts[i]) for i in (otlp_count.C_METRICS, otlp_count.C_SCOPES, otlp_count.C_RESOURCES)
        )
        origins = otlp_rows.Origins(
            np.empty(metrics, np.uint32),
            np.empty(metrics, np.uint32),
            np.empty(metrics, np.uint32),
            np.empty(scopes, np.uint32),
            np.empty(scopes, np.uint32),
            np.empty(scopes, np.uint32),
            np.empty(resources, np.uint32),
            np.empty(resources, np.uint32),
        )
        limits = np.zeros(otlp_rows.L_LENGTH, np.int64)
        limits[otlp_rows.L_EARLIEST_MS] = now_ms - round(settings.max_age * 1000)
        limits[otlp_rows.L_LATEST_MS] = now_ms + round(settings.max_future * 1000)
        limits[otlp_rows.L_ATTRIBUTES] = settings.max_attributes
        limits[otlp_rows.L_BYTES] = settings.max_label_bytes
        limits[otlp_rows.L_PROMETHEUS] = self._prometheus
        state = np.zeros(otlp_rows.S_LENGTH, np.int64)
        rejected = np.zeros(len(REASONS), np.int64)
        table, tally = self._known.for_request()
        _check(
            otlp_points.fill_rows(
                data,
                self._secrets,
                limits,
                np.zeros(1 << STAMP_BITS, np.uint32),
                np.empty(2 * STACK, np.int64),
                np.empty(MOST_BOUNDS + 1, np.uint64),
                np.empty(MOST_BOUNDS + 1, np.float64),
                rows,
                exemplars,
                origins,
                table,
                tally,
                where[:noted],
                high[:noted],
                low[:noted],
                state,
                rejected,
            )
        )
        self._known.after_request(tally, int(state[otlp_rows.S_POINTS]))
        return _Filled(data, rows, exemplars, origins, state, rejected)

    def decode_json(self, body: bytes, now_ms: int) -> PointColumns:
        """The columns of a request in OTLP/JSON; raises as `decode_protobuf` does."""
        return self.decode_protobuf(request_from_json(body), now_ms)

    def _columns(self, filled: _Filled) -> PointColumns:
        data, rows, exemplars, origins, state, rejected = filled
        n, kept = int(state[otlp_rows.S_ROWS]), int(state[otlp_rows.S_EXEMPLARS])
        points = int(state[otlp_rows.S_POINTS])
        if state[otlp_rows.S_OVERWRITTEN]:
            OVERWRITTEN.inc(int(state[otlp_rows.S_OVERWRITTEN]))
        if state[otlp_rows.S_EXEMPLARS_LOST]:
            EXEMPLARS_REJECTED.labels("limit").inc(int(state[otlp_rows.S_EXEMPLARS_LOST]))
        if state[otlp_rows.S_NAN_SUMS]:
            NAN_SUMS.inc(int(state[otlp_rows.S_NAN_SUMS]))
        if n != points:
            # target_info belongs to no point: it gets numbers of its own behind those of the points.
            numbers = rows.numbers[:n]
            without = np.flatnonzero(numbers == otlp_rows.NO_POINT)
            numbers[without] = np.arange(points, points + len(without))
        refused: dict[str, int] = {}
        if rejected.any():
            refused = {name: int(count) for name, count in zip(REASONS, rejected, strict=True) if count}
        return PointColumns(
            hash_hi=rows.high[:n],
            hash_lo=rows.low[:n],
            times_ms=rows.times[:n],
            values=rows.values[:n],
            starts_ms=rows.starts[:n] if state[otlp_rows.S_STARTS] else None,
            kinds=rows.kinds[:n],
            source=OtlpLabels(data, rows, origins, self._prometheus, self._shared),
            exemplars=ExemplarColumns(
                exemplars.rows[:kept],
                exemplars.times[:kept],
                exemplars.values[:kept],
                exemplars.traces[: kept * 16].reshape(kept, 16),
                exemplars.spans[: kept * 8].reshape(kept, 8),
            )
            if kept
            else None,
            points=points,
            rejected=refused,
            rejected_message=_message(refused),
            row_points=rows.numbers[:n] if n != points else None,
        )


def _check(position: int) -> None:
    if position < 0:
        raise DecodeError(
            f"malformed OTLP protobuf: {FAULT_TEXTS[fault_code(position)]}", offset=fault_offset(position)
        )


def _message(refused: dict[str, int]) -> str:
    """One sentence for the sender."""
    if not refused:
        return ""
    parts = ", ".join(f"{count} {_EXPLAINED[reason]} ({reason})" for reason, count in refused.items())
    return f"{sum(refused.values())} data points were not accepted: {parts}"


_EXPLAINED = {
    "too_old": "older than the gateway accepts",
    "too_new": "too far in the future",
    "nan": "with the value NaN",
    "no_value": "without a value",
    "invalid_name": "of metrics without a usable name",
    "temporality": "of unspecified aggregation temporality",
    "not_utf8": "with text that is not UTF-8",
    "label_too_long": "with an attribute or name that is too long",
    "too_many_attributes": "with too many attributes",
    "scale": "of exponential histograms that are too coarse",
    "buckets": "with buckets that do not fit together",
    "attribute_depth": "with attributes nested too deep",
}
