"""How services do now, in four figures each: traffic, errors, latency, saturation, over the last minutes.

  traffic      requests a second: the counts of the service's histograms of durations, else its counters of requests
  errors       share of these that a label of theirs tells as failed, else its counters of errors divided by its traffic
  latency      seconds: what the histograms' sums grew by, divided by what their counts grew by
  saturation   the highest of the service's utilizations, as a share

What serves comes before what calls: where one of the histograms is a server's, only servers' count. A figure that the
service's series do not tell is null, which is not 0.

Sources: "Monitoring Distributed Systems" (Site Reliability Engineering, 2016); OpenTelemetry semantic conventions for
HTTP and RPC (`http.response.status_code`, `rpc.grpc.status_code`, `error.type`).
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Final, Protocol

import msgspec
from aiohttp import web

from gateway.errors import RequestError
from gateway.telemetry import kind
from gateway.telemetry.history_samples import HistorySamples
from gateway.telemetry.selector import format_matcher
from gateway.telemetry.service_labels import naming_label, service_of
from gateway.web.label_catalog import Groups

SECONDS: Final = 180
"""Three samples of the slowest usual interval."""
MAX_SERVICES: Final = 50
MAX_SERIES: Final = 2000
"""Of one question; the figures are of these where there are more."""

_DURATIONS: Final = re.compile(r"(duration|latency).*_count$", re.IGNORECASE)
_SERVER: Final = re.compile(r"server", re.IGNORECASE)
_CLIENT: Final = re.compile(r"client|outgoing|\bdb_|dns_|tls_", re.IGNORECASE)
_REQUESTS: Final = re.compile(r"(requests?|calls)(_[a-z]+)*_total$", re.IGNORECASE)
_ERRORS: Final = re.compile(r"(errors?|failures?|exceptions?)(_[a-z]+)*_total$", re.IGNORECASE)
_UTILIZATION: Final = re.compile(r"utili[sz]ation(_ratio)?$", re.IGNORECASE)
_UNITS: Final = (("_seconds", 1.0), ("_milliseconds", 1e-3), ("_microseconds", 1e-6))
_OUTCOMES: Final = ("outcome", "status", "result", "state")
_CODES: Final = ("http_response_status_code", "http_status_code", "status_code", "code", "status")
_FAILED: Final = re.compile(r"err(or)?s?|fail(ed|ure)?|exception|timeout", re.IGNORECASE)
_IDLE: Final = frozenset({"idle", "free", "cached", "buffered", "available", "iowait", "wait"})


class Source(Protocol):
    """Where the samples come from."""

    async def samples(self, match: str, start_ms: int, end_ms: int, limit: int) -> list[HistorySamples]:
        """Raises Unavailable."""
        ...


class Catalog(Protocol):
    """What series there are."""

    async def groups(self) -> Groups:
        """Raises Unavailable."""
        ...


class Signals(msgspec.Struct, frozen=True):
    """traffic: requests a second; errors, saturation: shares; latency: seconds. None is not known."""

    traffic: float | None = None
    errors: float | None = None
    latency: float | None = None
    saturation: float | None = None


class GoldenSignals:
    """Serves /api/v1/services/signals?name=…&name=…: `{service: Signals}`."""

    def __init__(self, catalog: Catalog, history: Source) -> None:
        self._catalog, self._history = catalog, history

    def routes(self) -> list[web.RouteDef]:
        """The one address; to be added before that of one service."""
        return [web.get("/api/v1/services/signals", self.signals)]

    async def signals(self, request: web.Request) -> web.Response:
        """Raises RequestError for more than MAX_SERVICES names, Unavailable."""
        names = set(request.query.getall("name", []))
        if len(names) > MAX_SERVICES:
            raise RequestError(f"{len(names)} names; expected at most {MAX_SERVICES}", reason="parameter")
        groups = await self._catalog.groups()
        matches = await asyncio.to_thread(selectors, groups, names)
        now = round(time.time() * 1000.0)
        asked = [self._history.samples(match, now - SECONDS * 1000, now, MAX_SERIES) for match in matches]
        found = [samples for answer in await asyncio.gather(*asked) for samples in answer]
        body = await asyncio.to_thread(lambda: msgspec.json.encode(signals_of(names, found)))
        return web.Response(body=body, content_type="application/json")


def selectors(groups: Groups, names: set[str]) -> list[str]:
    """Of every series that tells a figure of one of the services: one for each label that names them."""
    own: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for labels, _ in groups:
        if service_of(labels) in names:
            label = naming_label(labels)
            own[label][labels.get("__name__", "")].add(labels[label])
    found = []
    for label, metrics in own.items():
        asked = {metric for metric in metrics if _tells(metric)}
        asked |= {other for metric in asked if _DURATIONS.search(metric) and (other := _sum_of(metric)) in metrics}
        values = {value for metric in asked for value in metrics[metric]}
        if asked:
            found.append(f"{{{format_matcher('__name__', asked)},{format_matcher(label, values)}}}")
    return found


def _tells(metric: str) -> bool:
    return any(pattern.search(metric) for pattern in (_DURATIONS, _REQUESTS, _ERRORS, _UTILIZATION))


def _sum_of(count: str) -> str:
    return count.removesuffix("_count") + "_sum"


def signals_of(names: Iterable[str], series: Iterable[HistorySamples]) -> dict[str, Signals]:
    """The figures of each service, of what its series did in the time that they cover."""
    by_service: dict[str, dict[str, list[HistorySamples]]] = {name: defaultdict(list) for name in names}
    for one in series:
        own = by_service.get(service_of(one.labels))
        if own is not None:
            own[one.labels.get("__name__", "")].append(one)
    return {name: _signals(own) for name, own in by_service.items()}


def _signals(own: Mapping[str, Sequence[HistorySamples]]) -> Signals:
    durations = [metric for metric in own if _DURATIONS.search(metric)]
    counts = [m for m in durations if _SERVER.search(m)] or [m for m in durations if not _CLIENT.search(m)]
    requests = counts or [metric for metric in own if _REQUESTS.search(metric)]
    traffic = _rate(own, requests)
    return Signals(
        traffic=traffic,
        errors=_errors(own, requests, traffic),
        latency=_latency(own, counts),
        saturation=_saturation(own),
    )


def _rate(own: Mapping[str, Sequence[HistorySamples]], metrics: Iterable[str], failed: bool = False) -> float | None:
    rates = [growth(one) for metric in metrics for one in own[metric] if not failed or _has_failed(one.labels)]
    known = [rate for rate in rates if rate is not None]
    return sum(known) if known else None


def growth(series: HistorySamples) -> float | None:
    """What a counter grows by in a second, after a reset from 0; None for less than two samples."""
    samples = [(t, v) for t, v in zip(series.times, series.values, strict=True) if v is not None]
    if len(samples) < 2 or samples[-1][0] <= samples[0][0]:
        return None
    values = [value for _, value in samples]
    if series.kind & kind.DELTA:
        grown = sum(values[1:])
    else:
        grown = sum(later - earlier if later >= earlier else later for earlier, later in pairwise(values))
    return grown / (samples[-1][0] - samples[0][0])


def _errors(
    own: Mapping[str, Sequence[HistorySamples]], requests: Sequence[str], traffic: float | None
) -> float | None:
    if not traffic:
        return None
    # A count of requests that says how each ended, be it beside a histogram that does not.
    for metrics in (requests, [metric for metric in own if _REQUESTS.search(metric)]):
        if any(_tells_outcome(one.labels) for metric in metrics for one in own[metric]):
            whole = _rate(own, metrics)
            return min(1.0, (_rate(own, metrics, failed=True) or 0.0) / whole) if whole else None
    counted = _rate(own, [metric for metric in own if _ERRORS.search(metric)])
    return None if counted is None else min(1.0, counted / traffic)


def _tells_outcome(labels: Mapping[str, str]) -> bool:
    return any(labels.get(name) for name in (*_OUTCOMES, *_CODES, "rpc_grpc_status_code", "error_type"))


def _has_failed(labels: Mapping[str, str]) -> bool:
    if labels.get("error_type") or labels.get("rpc_grpc_status_code", "0") != "0":
        return True
    if any(_FAILED.fullmatch(labels.get(name, "")) for name in _OUTCOMES):
        return True
    return any(re.fullmatch(r"5\d\d|5xx", labels.get(name, "")) for name in _CODES)


def _latency(own: Mapping[str, Sequence[HistorySamples]], counts: Iterable[str]) -> float | None:
    spent, served = 0.0, 0.0
    for metric in counts:
        sums = _sum_of(metric)
        unit = next((factor for ending, factor in _UNITS if sums.removesuffix("_sum").endswith(ending)), None)
        total, count = _rate(own, [sums] if sums in own else []), _rate(own, [metric])
        if unit is not None and total is not None and count:
            spent, served = spent + unit * total, served + count
    return spent / served if served else None


def _saturation(own: Mapping[str, Sequence[HistorySamples]]) -> float | None:
    last = [
        next((value for value in reversed(one.values) if value is not None), None)
        for metric, series in own.items()
        if _UTILIZATION.search(metric)
        for one in series
        if not _IDLE & {value.lower() for value in one.labels.values()}
    ]
    return max((value for value in last if value is not None), default=None)
