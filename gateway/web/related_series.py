"""What the series around an alert do now: those it names, then the golden signals of its service.

One question to the history for all of them, over the last MINUTES, and no bands: the answer is for a glance.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from gateway.alerting.enrichment import RelatedValue
from gateway.alerting.topology import place_of
from gateway.telemetry.history_samples import HistorySamples
from gateway.telemetry.service_labels import naming_label
from gateway.web.label_catalog import Groups
from gateway.web.services import signal_of

MINUTES: Final = 10
MAX_METRICS: Final = 12
MAX_ASKED: Final = 100
_SIGNALS: Final = ("errors", "latency", "saturation", "traffic", "")


class SampleSource(Protocol):
    """The history."""

    name: str
    """log or victoriametrics."""

    async def samples(self, match: str, start_ms: int, end_ms: int, limit: int) -> list[HistorySamples]:
        """Raises Unavailable, RequestError."""
        ...


class LabelSource(Protocol):
    """What series there are, by their names and services; see LabelCatalog."""

    async def groups(self) -> Groups:
        """Raises Unavailable."""
        ...


class RelatedSeries:
    """See `gateway.alerting.enrichment.RelatedSeries`."""

    def __init__(self, history: SampleSource, catalog: LabelSource) -> None:
        self._history, self._catalog = history, catalog

    async def values(self, labels: Mapping[str, str], metrics: Sequence[str], limit: int) -> list[RelatedValue]:
        """See the protocol."""
        place = place_of(labels)
        if not place.service:
            return []
        groups = await self._catalog.groups()
        own = await asyncio.to_thread(
            lambda: [labels for labels, _ in groups if place_of(labels).service == place.service]
        )
        wanted = choose(own, metrics)[:MAX_METRICS]
        if not wanted:
            return []
        name = naming_label(own[0])
        values = "|".join(sorted({re.escape(one[name]) for one in own if one.get(name)}))
        names = "|".join(re.escape(metric) for metric in wanted)
        label = _quoted(name) if "." in name else name
        match = f"{{__name__=~{_quoted(names)},{label}=~{_quoted(values)}}}"
        now = round(time.time() * 1000.0)
        found = await self._history.samples(match, now - MINUTES * 60_000, now, MAX_ASKED)
        rank = {metric: number for number, metric in enumerate(wanted)}

        def order(one: HistorySamples) -> tuple[int, int]:
            shared = sum(one.labels.get(label) == value for label, value in labels.items())
            return rank.get(one.labels.get("__name__", ""), len(rank)), -shared

        shown = [_value(one, self._history.name) for one in sorted(found, key=order)]
        return [value for value in shown if value is not None][:limit]


def choose(series: Iterable[Mapping[str, str]], metrics: Sequence[str]) -> list[str]:
    """The metrics to show: those named first, then the service's by signal; parts of histograms are left out."""
    there = {labels.get("__name__", "") for labels in series}
    named = [metric for metric in metrics if metric in there]
    others = sorted(
        (metric for metric in there - set(named) if metric and not metric.endswith(("_bucket", "_sum"))),
        key=lambda metric: (_SIGNALS.index(signal_of(metric)), metric),
    )
    return [*named, *others]


def _value(one: HistorySamples, source: str) -> RelatedValue | None:
    samples = [(t, v) for t, v in zip(one.times, one.values, strict=True) if v is not None]
    if not samples:
        return None
    values = [v for _, v in samples]
    return RelatedValue(
        series=one.labels,
        last=values[-1],
        at=samples[-1][0],
        minimum=min(values),
        maximum=max(values),
        samples=len(values),
        source=source,
    )


def _quoted(text: str) -> str:
    return msgspec.json.encode(text).decode()
