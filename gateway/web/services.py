"""Services and their golden signals, read from the names of the series they send.

A service is what a series names as one (labels `service`, `service_name`, `service.name`, `job`, in this order). Its
signals are the metrics that by the conventions of OpenTelemetry and Prometheus carry traffic, errors, latency and
saturation; nothing is configured. What is shown of each is its history and its open anomalies, both from their own
interfaces.

Sources: "Monitoring Distributed Systems" (Site Reliability Engineering, 2016) for the four signals; OpenTelemetry
semantic conventions for HTTP, RPC, database and process metrics for the names.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.errors import NotFound
from gateway.telemetry.anomaly import SEVERITIES, Anomaly
from gateway.telemetry.call_edge import CallEdge
from gateway.telemetry.selector import format_matcher
from gateway.telemetry.service_labels import naming_label, service_of
from gateway.web.events import AnomalySource
from gateway.web.label_catalog import HOST_LABELS, Groups, LabelCatalog
from gateway.web.query_parameters import one_of, parse_time

RECENT_SECONDS: Final = 6 * 3600.0
MAX_ANOMALIES: Final = 10_000
STRIP_LENGTH: Final = 100
"""Anomalies of a service that its time strip shows, the newest."""
_SIGNALS: Final = (
    ("errors", re.compile(r"error|fail|exception|reject|timeouts?_total|dropped", re.IGNORECASE)),
    ("latency", re.compile(r"(duration|latency|response_time|lag)\b|duration_|latency_|_lag_", re.IGNORECASE)),
    (
        "saturation",
        re.compile(
            r"utili[sz]ation|usage|queue|pending|pool|connections|memory|cpu|backlog|threads|limit|saturation",
            re.IGNORECASE,
        ),
    ),
    ("traffic", re.compile(r"request|_total$|_count$|calls|messages|orders|operations|active", re.IGNORECASE)),
)
"""First match wins; a histogram of durations also tells traffic by its count."""


@lru_cache(maxsize=20_000)
def signal_of(metric: str) -> str:
    """traffic, errors, latency, saturation, or empty."""
    return next((signal for signal, names in _SIGNALS if names.search(metric)), "")


@dataclass(slots=True)
class _Service:
    series: int = 0
    metrics: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    named: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(int)))
    """How many series name it by which label and value."""
    hosts: set[str] = field(default_factory=set)


class Services:
    """Serves /api/v1/services and /api/v1/services/{name}."""

    def __init__(
        self,
        catalog: LabelCatalog,
        anomalies: AnomalySource,
        calls: Callable[[], Iterable[CallEdge]] = tuple,
    ) -> None:
        """calls: who calls whom, as far as traces have shown it."""
        self._catalog = catalog
        self._anomalies = anomalies
        self._calls = calls
        self._known: dict[str, _Service] = {}
        self._groups: Groups | None = None

    def routes(self) -> list[web.RouteDef]:
        """The two addresses."""
        return [
            web.get("/api/v1/services", self.overview),
            web.get("/api/v1/services/{name}", self.one),
        ]

    async def overview(self, request: web.Request) -> web.Response:
        """Every service: counts of series and anomalies, the worst open severity, metrics by signal, a time strip."""
        text = request.query.get("since", "")
        since = parse_time(text, "since") if text else time.time() - RECENT_SECONDS
        strips = one_of(request, "strip", ("yes", "no"), "yes") == "yes"
        services = await self._services()
        recent = self._anomalies.newest(since=since, limit=MAX_ANOMALIES)
        return web.Response(
            body=await asyncio.to_thread(_overview, services, recent, strips), content_type="application/json"
        )

    async def one(self, request: web.Request) -> web.Response:
        """One service: its summary, the matcher of its series, each metric with its number of series and signal, its
        recent anomalies, and its neighbours: who calls it and whom it calls, with their open anomalies."""
        name = request.match_info["name"]
        services = await self._services()
        service = services.get(name)
        if service is None:
            raise NotFound(f"no service {name!r} sends series now")
        recent = self._anomalies.newest(since=time.time() - RECENT_SECONDS, limit=MAX_ANOMALIES)
        by_service = await asyncio.to_thread(_by_service, recent)
        anomalies = by_service.get(name, [])
        body = _summary(name, service, anomalies) | {
            "match": _match(service),
            "metric_list": [
                {"metric": metric, "series": count, "signal": signal_of(metric)}
                for metric, count in sorted(service.metrics.items())
            ],
            "anomalies": anomalies[:200],
            "neighbours": [
                _neighbour(edge, name, services, by_service)
                for edge in sorted(self._calls(), key=lambda edge: (edge.caller, edge.callee))
                if name in (edge.caller, edge.callee)
            ],
        }
        return web.Response(body=msgspec.json.encode(body), content_type="application/json")

    async def _services(self) -> dict[str, _Service]:
        groups = await self._catalog.groups()
        if groups is not self._groups:
            self._known, self._groups = await asyncio.to_thread(collect, groups), groups
        return self._known


def _by_service(anomalies: Iterable[Anomaly]) -> dict[str, list[Anomaly]]:
    found: dict[str, list[Anomaly]] = defaultdict(list)
    for anomaly in anomalies:
        found[service_of(anomaly.series)].append(anomaly)
    return found


def _overview(services: Mapping[str, _Service], recent: list[Anomaly], strips: bool) -> bytes:
    by_service = _by_service(recent)
    found = []
    for name, service in services.items():
        anomalies = by_service.get(name, [])
        found.append(_summary(name, service, anomalies) | ({"strip": _strip(anomalies)} if strips else {}))
    found.sort(key=lambda s: (-s["open"], s["name"]))
    return msgspec.json.encode(found)


def collect(groups: Iterable[tuple[Mapping[str, str], int]]) -> dict[str, _Service]:
    """Services by name, of label sets and how many series have each; series that name none are left out."""
    services: dict[str, _Service] = {}
    for labels, count in groups:
        name = service_of(labels)
        if not name:
            continue
        service = services.setdefault(name, _Service())
        service.series += count
        service.metrics[labels.get("__name__", "")] += count
        label = naming_label(labels)
        service.named[label][labels[label]] += count
        host = next((labels[label] for label in HOST_LABELS if labels.get(label)), "")
        if host:
            service.hosts.add(host)
    return services


def _strip(anomalies: list[Anomaly]) -> list[tuple[float, float | None, str]]:
    """(begin, end, severity) of the newest, begin and end in Unix seconds, end None while open."""
    return [
        (
            a.time if a.ended is None else min(a.time, a.ended),
            None if a.ended is None else max(a.time, a.ended),
            a.severity,
        )
        for a in anomalies[:STRIP_LENGTH]
    ]


def _neighbour(
    edge: CallEdge, name: str, services: Mapping[str, _Service], by_service: Mapping[str, list[Anomaly]]
) -> dict[str, Any]:
    calls = edge.caller == name
    other = edge.callee if calls else edge.caller
    firing = [a.severity for a in by_service.get(other, ()) if a.state == "firing"]
    return {
        "name": other,
        "direction": "calls" if calls else "called by",
        "calls": edge.calls,
        "last_seen": edge.last_seen / 1e9,
        "sends": other in services,
        "open": len(firing),
        "worst": max(firing, key=SEVERITIES.index, default="none"),
    }


def _match(service: _Service) -> str:
    """A matcher of the service's series, by the label that names it in most of them."""
    label, values = max(service.named.items(), key=lambda item: sum(item[1].values()))
    return format_matcher(label, values)


def _summary(name: str, service: _Service, anomalies: list[Anomaly]) -> dict[str, Any]:
    signals: dict[str, list[str]] = defaultdict(list)
    for metric in sorted(service.metrics):
        if metric.endswith("_bucket"):
            continue
        signal = signal_of(metric)
        if signal:
            signals[signal].append(metric)
    firing = [a for a in anomalies if a.state == "firing"]
    return {
        "name": name,
        "series": service.series,
        "metrics": len(service.metrics),
        "hosts": sorted(service.hosts)[:20],
        "open": len(firing),
        "recent": len(anomalies),
        "worst": max((a.severity for a in firing), key=SEVERITIES.index, default="none"),
        "last": max((a.time for a in anomalies), default=None),
        "signals": signals,
    }
