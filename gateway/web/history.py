"""Samples with their expected band, from VictoriaMetrics where there is one, else from the embedded log.

VictoriaMetrics holds the scores that were written back (`anomaly_expected{for="…"}` and its siblings), by default only
around exceedances. The log holds samples alone; there the band is computed again by the same detector over the samples
from a day before the range on, which is what `gateway detect` would say of them. A reader may ask for the same with
VictoriaMetrics, to see a band over the whole range; the answer names which it was.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal, Protocol

import aiohttp
import msgspec
import numpy as np

from gateway.baseline.offline import run_series
from gateway.baseline.settings import DetectionSettings
from gateway.errors import Unavailable
from gateway.telemetry import kind
from gateway.telemetry.history_samples import HistorySamples
from gateway.web.data_plane_client import DataPlaneClient

Bands = Literal["recorded", "recomputed", "none"]
WARM_UP_MS = 24 * 3600 * 1000
MAX_SERIES = 100
_BAND = ("expected", "lower", "upper", "score")
_COUNTER_ENDINGS = ("_total", "_count", "_sum", "_bucket")
"""VictoriaMetrics keeps no kinds: by the naming rules these count."""
_MAX_LINE = 64 * 2**20
_VALUES = re.compile(rb'"values"\s*:\s*\[[^\]]*\]')
"""The array itself, never a label that says the same: inside a JSON string the quotes are escaped."""
_NOT_FINITE = re.compile(rb'"?[+-]?(?:inf(?:inity)?|nan)"?', re.IGNORECASE)


class _Exported(msgspec.Struct):
    """One line of VictoriaMetrics' export."""

    metric: dict[str, str]
    timestamps: list[int]
    values: list[float | None]


_exported = msgspec.json.Decoder(_Exported)


class HistorySource(Protocol):
    """Answers /api/v1/history."""

    name: str
    """log or victoriametrics."""

    async def samples(self, match: str, start_ms: int, end_ms: int, limit: int) -> list[HistorySamples]:
        """Samples alone, without bands; the kind is 0 where it is not known."""
        ...

    async def history(
        self, match: str, start_ms: int, end_ms: int, limit: int, bands: Bands = "recorded"
    ) -> dict[str, Any]:
        """`{"source", "bands", "series": [{"labels", "times", "values", "expected", "lower", "upper", "score"}]}`.

        bands: which are wished; the answer names those that it has.
        """
        ...


def is_counter(samples: HistorySamples) -> bool:
    """Whether a series is scored on its rate; its band is one of rates then."""
    if samples.kind == 0:
        return samples.labels.get("__name__", "").endswith(_COUNTER_ENDINGS)
    return samples.kind & kind.CLASS_MASK in kind.COUNTING and not samples.kind & (kind.NON_MONOTONIC | kind.DELTA)


def finite_or_none(values: np.ndarray[Any, np.dtype[np.float64]]) -> list[float | None]:
    """float64[n] for JSON, which has neither infinity nor NaN."""
    return [float(v) if math.isfinite(v) else None for v in values]


def _finite(values: re.Match[bytes]) -> bytes:
    """VictoriaMetrics writes +Inf, -Inf and NaN, which JSON does not have."""
    return _NOT_FINITE.sub(b"null", values[0])


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """One series a line, however long: aiohttp's own lines end at 512 KiB. Raises Unavailable."""
    parts: list[bytes] = []
    size = 0
    async for chunk in content.iter_any():
        first, *others = chunk.split(b"\n")
        parts.append(first)
        size += len(first)
        if size > _MAX_LINE:
            raise Unavailable(f"VictoriaMetrics' answer holds a series of more than {_MAX_LINE} bytes")
        for other in others:
            if size:
                yield b"".join(parts)
            parts, size = [other], len(other)
    if size:
        yield b"".join(parts)


class LogHistory:
    """The embedded log, through the data plane."""

    name = "log"

    def __init__(self, data_plane: DataPlaneClient, settings: DetectionSettings) -> None:
        self._data_plane = data_plane
        self._settings = settings

    async def samples(self, match: str, start_ms: int, end_ms: int, limit: int) -> list[HistorySamples]:
        """See HistorySource."""
        return await self._data_plane.history(match, start_ms, end_ms, limit)

    async def history(
        self, match: str, start_ms: int, end_ms: int, limit: int, bands: Bands = "recorded"
    ) -> dict[str, Any]:
        """See HistorySource; there are no recorded bands, those are computed again."""
        if bands == "none":
            plain = await self._data_plane.history(match, start_ms, end_ms, limit)
            return {"source": "log", "bands": "none", "series": [without_band(h) for h in plain]}
        found = await self._data_plane.history(match, start_ms - WARM_UP_MS, end_ms, limit)
        return {
            "source": "log",
            "bands": "recomputed",
            "series": await asyncio.to_thread(
                lambda: [
                    with_band(
                        h.labels,
                        h.times,
                        h.values,
                        counter=is_counter(h),
                        start=start_ms / 1000.0,
                        settings=self._settings,
                    )
                    for h in found
                ]
            ),
        }


def with_band(
    labels: dict[str, str],
    times: Sequence[float],
    values: Sequence[float | None],
    *,
    counter: bool,
    start: float,
    settings: DetectionSettings,
) -> dict[str, Any]:
    """One series of the answer from `start` on (Unix seconds), its band computed over all the samples given."""
    given = np.array([math.nan if v is None else v for v in values], np.float64)
    result = run_series(np.array(times, np.float64), given, kind="counter" if counter else "gauge", settings=settings)
    wanted = (result.times_s >= start) & ~result.extra
    out: dict[str, Any] = {"labels": labels, "times": result.times_s[wanted].tolist()}
    out["values"] = finite_or_none(result.values[wanted])
    for part in _BAND:
        out[part] = finite_or_none(getattr(result, part)[wanted])
    out["scored_as"] = "rate" if counter else "value"
    return out


def without_band(samples: HistorySamples) -> dict[str, Any]:
    """One series of the answer, samples alone."""
    nothing = [None] * len(samples.times)
    return {
        "labels": samples.labels,
        "times": samples.times,
        "values": samples.values,
        **dict.fromkeys(_BAND, nothing),
        "scored_as": "rate" if is_counter(samples) else "value",
    }


class VictoriaMetricsHistory:
    """VictoriaMetrics' export API (`/api/v1/export`, one JSON object a series)."""

    name = "victoriametrics"

    def __init__(
        self,
        url: str,
        session: aiohttp.ClientSession,
        settings: DetectionSettings | None = None,
    ) -> None:
        """The session carries the target's credentials. `settings` are those that a band is computed again with."""
        self._settings = settings or DetectionSettings()
        self._url = url.rstrip("/")
        self._session = session

    async def samples(self, match: str, start_ms: int, end_ms: int, limit: int) -> list[HistorySamples]:
        """See HistorySource."""
        found = await self._export(match, start_ms, end_ms, limit)
        return [HistorySamples(labels, 0, [t / 1000.0 for t in times], values) for labels, times, values in found]

    async def history(
        self, match: str, start_ms: int, end_ms: int, limit: int, bands: Bands = "recorded"
    ) -> dict[str, Any]:
        """See HistorySource."""
        if bands == "none":
            found = await self.samples(match or '{__name__!=""}', start_ms, end_ms, limit)
            return {"source": "victoriametrics", "bands": "none", "series": [without_band(h) for h in found]}
        begin = start_ms - WARM_UP_MS if bands == "recomputed" else start_ms
        samples = await self._export(match or '{__name__!=""}', begin, end_ms, limit)
        if bands == "recomputed":
            return {
                "source": "victoriametrics",
                "bands": "recomputed",
                "series": await asyncio.to_thread(
                    lambda: [
                        with_band(
                            labels,
                            [t / 1000.0 for t in times],
                            values,
                            counter=labels.get("__name__", "").endswith(_COUNTER_ENDINGS),
                            start=start_ms / 1000.0,
                            settings=self._settings,
                        )
                        for labels, times, values in samples
                    ]
                ),
            }
        series = []
        for labels, times, values in samples:
            entry: dict[str, Any] = {"labels": labels, "times": [t / 1000.0 for t in times], "values": values}
            recorded = await self._bands(labels, start_ms, end_ms)
            for part in _BAND:
                by_time = recorded.get(part, {})
                entry[part] = [by_time.get(t) for t in times]
            series.append(entry)
        return {"source": "victoriametrics", "bands": "recorded", "series": series}

    async def _bands(self, labels: dict[str, str], start_ms: int, end_ms: int) -> dict[str, dict[int, float | None]]:
        wanted = {k: v for k, v in labels.items() if k != "__name__"} | {"for": labels.get("__name__", "")}
        inner = ",".join(f"{k}={msgspec.json.encode(v).decode()}" for k, v in wanted.items())
        found = await self._export(f'{{__name__=~"anomaly_(score|expected|lower|upper)",{inner}}}', start_ms, end_ms, 4)
        return {
            band["__name__"].removeprefix("anomaly_"): dict(zip(times, values, strict=True))
            for band, times, values in found
            if set(band) - {"__name__"} == set(wanted)
        }

    async def _export(
        self, match: str, start_ms: int, end_ms: int, limit: int
    ) -> list[tuple[dict[str, str], list[int], list[float | None]]]:
        form = {"match[]": match, "start": f"{start_ms / 1000:.3f}", "end": f"{end_ms / 1000:.3f}"}
        try:
            async with self._session.post(
                f"{self._url}/api/v1/export", data=form, timeout=aiohttp.ClientTimeout(30), allow_redirects=False
            ) as response:
                if response.status != 200:
                    said = (await response.text())[:300]
                    raise Unavailable(f"VictoriaMetrics answered {response.status}: {said}")
                out = []
                async for line in _lines(response.content):
                    row = _exported.decode(_VALUES.sub(_finite, line, count=1))
                    out.append((row.metric, row.timestamps, row.values))
                    if len(out) >= limit:
                        break
                return out
        except msgspec.DecodeError as error:
            raise Unavailable(f"VictoriaMetrics' answer cannot be read: {error}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Unavailable(f"VictoriaMetrics does not answer ({type(error).__name__})") from error
