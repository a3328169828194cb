"""Machines that report on themselves, found by the names of their series.

    GET /api/v1/hosts    [{"name", "kind", "match": {label: value}, "series", "open", "worst", "last"}]

kind is `node_exporter` (metrics node_…, a host is a value of `instance`) or `opentelemetry` (semantic conventions for
system metrics: system_…, a host is a value of `host_name`, else of `instance`). `match` selects a host's series. What
is drawn of a host is the history of those series, from its own interface.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from aiohttp import web

from gateway.telemetry.anomaly import SEVERITIES, Anomaly
from gateway.web.events import AnomalySource
from gateway.web.label_catalog import Groups, LabelCatalog

MAX_HOSTS: Final = 5000
_RECENT_SECONDS: Final = 6 * 3600.0
_KINDS: Final = (("node_", "node_exporter", ("instance",)), ("system_", "opentelemetry", ("host_name", "instance")))


@dataclass(slots=True)
class Host:
    """One machine as one source tells of it."""

    name: str
    kind: str
    label: str
    series: int = 0


def host_of(labels: Mapping[str, str]) -> tuple[str, str, str] | None:
    """(kind, label, value) of the host that a series is about."""
    metric = labels.get("__name__", "")
    for prefix, kind, names in _KINDS:
        if metric.startswith(prefix):
            label = next((name for name in names if labels.get(name)), "")
            return (kind, label, labels[label]) if label else None
    return None


def collect(groups: Iterable[tuple[Mapping[str, str], int]]) -> dict[tuple[str, str, str], Host]:
    """Hosts by (kind, label, value), of label sets and how many series have each."""
    hosts: dict[tuple[str, str, str], Host] = {}
    for labels, count in groups:
        key = host_of(labels)
        if key is None:
            continue
        host = hosts.get(key)
        if host is None:
            if len(hosts) >= MAX_HOSTS:
                continue
            host = hosts[key] = Host(key[2], key[0], key[1])
        host.series += count
    return hosts


class Hosts:
    """Serves /api/v1/hosts."""

    def __init__(self, catalog: LabelCatalog, anomalies: AnomalySource) -> None:
        self._catalog = catalog
        self._anomalies = anomalies
        self._known: dict[tuple[str, str, str], Host] = {}
        self._groups: Groups | None = None

    def routes(self) -> list[web.RouteDef]:
        """The one address."""
        return [web.get("/api/v1/hosts", self.hosts)]

    async def hosts(self, _: web.Request) -> web.Response:
        """Every machine that reports on itself, those with open anomalies first."""
        groups = await self._catalog.groups()
        if groups is not self._groups:
            self._known, self._groups = await asyncio.to_thread(collect, groups), groups
        recent = self._anomalies.newest(since=time.time() - _RECENT_SECONDS, limit=10_000)
        return web.Response(body=await asyncio.to_thread(_listed, self._known, recent), content_type="application/json")


def _listed(known: Mapping[tuple[str, str, str], Host], recent: Iterable[Anomaly]) -> bytes:
    anomalies: dict[tuple[str, str, str], list[Anomaly]] = {}
    for anomaly in recent:
        key = host_of(anomaly.series)
        if key is not None:
            anomalies.setdefault(key, []).append(anomaly)
    found = [_shown(host, anomalies.get(key, [])) for key, host in known.items()]
    found.sort(key=lambda host: (-host["open"], host["name"], host["kind"]))
    return msgspec.json.encode(found)


def _shown(host: Host, anomalies: list[Anomaly]) -> dict[str, Any]:
    firing = [anomaly for anomaly in anomalies if anomaly.state == "firing"]
    return {
        "name": host.name,
        "kind": host.kind,
        "match": {host.label: host.name},
        "series": host.series,
        "open": len(firing),
        "worst": max((anomaly.severity for anomaly in firing), key=SEVERITIES.index, default="none"),
        "last": max((anomaly.time for anomaly in anomalies), default=None),
    }
