"""The control plane's process: port 4319 with console, JSON API, Alertmanager API, and the alert router behind them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from functools import partial
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from aiohttp import web

from gateway import config_check
from gateway.access.renewal import CertificateRenewal
from gateway.access.tls import Certificates
from gateway.access.tokens import Authenticator, require_safe_address
from gateway.addresses import cannot_bind, join_address, parse_address
from gateway.alerting.freeze_publisher import FreezePublisher, past_of
from gateway.alerting.maintenance import RETENTION
from gateway.alerting.maintenance_events import MaintenanceEvents
from gateway.alerting.markers import marker_of_change
from gateway.alerting.router import AlertRouter
from gateway.clock import Clock
from gateway.config import Config, LoadedConfig, shown, socket_path
from gateway.data_directory import make_data_directory
from gateway.errors import RequestError
from gateway.forward.victoria_metrics import open_session, tls_context
from gateway.heartbeat import listener_of_parent
from gateway.log.segment import edges_of
from gateway.probes.prober import Prober
from gateway.telemetry.anomaly import Anomaly
from gateway.telemetry.change import Change
from gateway.telemetry.freeze_window import FILE_NAME
from gateway.telemetry.maintenance_event import MaintenanceEvent
from gateway.web import (
    alert_groups_api,
    alerting_api,
    alertmanager_api,
    analytics_api,
    callbacks_api,
    console,
    feedback_api,
    heartbeat_api,
    inbound_api,
    incident_api,
    maintenance_api,
    oncall_api,
)
from gateway.web.access_guard import access_guard
from gateway.web.anomaly_feed import AnomalyFeed
from gateway.web.anomaly_list import AnomalyList
from gateway.web.change_feed import ChangeFeed
from gateway.web.complete_status import CompleteStatus
from gateway.web.configuration_api import ConfigurationApi
from gateway.web.connection_guard import guard_connections, read_bodies
from gateway.web.data_plane_client import DataPlaneClient
from gateway.web.events import Events
from gateway.web.exemplars import Exemplars
from gateway.web.forecasts import Forecasts
from gateway.web.golden_signals import GoldenSignals
from gateway.web.history import HistorySource, LogHistory, VictoriaMetricsHistory
from gateway.web.hosts import Hosts
from gateway.web.json_api import MAX_LIMIT, JsonApi, declared_errors
from gateway.web.label_catalog import LabelCatalog
from gateway.web.openapi import add_document_route
from gateway.web.probes_api import ProbeAlerts, ProbesApi
from gateway.web.refusals import Refusals
from gateway.web.related_series import RelatedSeries
from gateway.web.self_watch import SelfWatch
from gateway.web.senders import Senders
from gateway.web.series_search import SeriesCatalog, SeriesSearch
from gateway.web.services import Services
from gateway.web.topology_watch import TopologyWatch

log = structlog.get_logger(__name__)

VERSION: Final = distribution_version("telemetry-gateway")
_GRACE_SECONDS: Final = 3.0
_MAX_API_BODY: Final = 16 * 2**20


class ControlRole:
    """Port 4319: console, JSON API, Alertmanager API, alert router."""

    def __init__(self, loaded: LoadedConfig, clock: Clock) -> None:
        self._loaded = loaded
        self._clock = clock
        self._data_dir = Path(loaded.config.server.data_dir).resolve()
        self._stack = contextlib.AsyncExitStack()

    async def start(self) -> None:
        """Raises ConfigError, StateError, DiskFailed."""
        config, server = self._loaded.config, self._loaded.config.server
        state_dir = await asyncio.to_thread(make_data_directory, server.data_dir)
        host, _ = parse_address(server.http)
        require_safe_address(host, config.access, key="server.http")
        certificates = Certificates(config.access)
        external_url = server.external_url or f"{'https' if certificates.enabled else 'http'}://{server.http}"
        await self._start_router(state_dir, external_url)
        freezes = self._start_freezes(state_dir)
        data_plane = DataPlaneClient(*(socket_path(config, worker) for worker in range(server.workers)))
        self._stack.push_async_callback(data_plane.close)
        status = CompleteStatus(data_plane, freezes)
        feed = self._start_anomaly_feed(state_dir)
        self._start_change_feeds(state_dir)
        history = await self._history(config, data_plane)
        watch = SelfWatch(config.self_watch, data_plane, self._router.post_alerts, self._clock)
        self._stack.push_async_callback(watch.stop)
        watch.start()
        prober = self._prober(config, certificates)
        self._stack.push_async_callback(prober.stop)
        prober.start()
        events = Events(status, feed, self._alert_counts, self._clock, version=VERSION)
        pages, authenticator = urlsplit(external_url.lower()), Authenticator(config.access)
        names = frozenset({host.lower(), pages.hostname or "", socket.gethostname().lower()})
        guard = access_guard(authenticator, names=names, place=pages.netloc)
        application = web.Application(middlewares=[guard, declared_errors, read_bodies], client_max_size=_MAX_API_BODY)
        self._add_data_routes(application, data_plane, feed, history, status)
        application.add_routes(self._configuration_api().routes())
        application.add_routes(events.routes())
        application.add_routes(ProbesApi(prober).routes())
        self._add_alerting_routes(application, authenticator, prefix=pages.path.rstrip("/"))
        application.add_routes(console.routes())
        add_document_route(application, VERSION)
        topology = TopologyWatch(data_plane, self._router.incidents.see_topology, self._clock)
        self._stack.push_async_callback(topology.stop)
        topology.start()
        await self._listen(application, certificates)
        events.start()
        # Open streams would keep the runner's clean-up waiting: they end first.
        self._stack.push_async_callback(events.stop)

    async def _start_router(self, state_dir: Path, external_url: str) -> None:
        config = self._loaded.config
        self._router = AlertRouter(
            config.alerting,
            state_dir,
            self._clock,
            external_url=external_url,
            context=config.context,
            maintenance_retention=max(RETENTION, past_of(config.ingest.max_age)),
        )
        self._stack.push_async_callback(self._router.stop)
        await self._router.start()
        self._maintenance_events = MaintenanceEvents(self._router.maintenance, config.victoriametrics.naming)

    def _start_freezes(self, state_dir: Path) -> FreezePublisher:
        freezes = FreezePublisher(
            lambda: self._router.maintenance,
            state_dir / FILE_NAME,
            self._clock,
            max_age_seconds=self._loaded.config.ingest.max_age,
        )
        self._stack.push_async_callback(freezes.stop)
        self._router.maintenance.change_watchers.append(freezes.changed)
        freezes.start()
        return freezes

    def _start_anomaly_feed(self, state_dir: Path) -> AnomalyFeed:
        feed = AnomalyFeed(
            self._data_dir / "anomalies",
            state_dir / "anomaly-feed.offset",
            self._router.submit_anomaly,
            self._loaded.config.server.workers,
        )
        self._stack.push_async_callback(feed.stop)
        self._router.open_anomalies = lambda: feed.newest(limit=MAX_LIMIT, state="firing")
        feed.start()
        return feed

    def _start_change_feeds(self, state_dir: Path) -> None:
        directory = self._data_dir / "changes"
        for edge in edges_of(directory, self._loaded.config.server.workers):
            offsets = state_dir / ("change-feed.offset" if edge == 0 else f"change-feed-{edge}.offset")
            changes = ChangeFeed(directory, offsets, self._take_change, edge)
            self._stack.push_async_callback(changes.stop)
            changes.start()

    def _add_data_routes(
        self,
        application: web.Application,
        data_plane: DataPlaneClient,
        feed: AnomalyFeed,
        history: HistorySource,
        status: CompleteStatus,
    ) -> None:
        """Anomalies, series and senders; and what the router shows beside an alert is read from the same sources."""
        searched, catalog = SeriesCatalog(data_plane), LabelCatalog(data_plane)
        self._stack.push_async_callback(searched.stop)
        self._stack.push_async_callback(catalog.stop)
        self._router.enrichment.related = RelatedSeries(history, catalog)
        api = JsonApi(data_plane, feed, history, status=status, version=VERSION, surroundings=self._surroundings)
        application.add_routes(AnomalyList(feed).routes())  # before /api/v1/anomalies/{id}
        application.add_routes(api.routes())
        application.add_routes(feedback_api.FeedbackApi(self._router, feed).routes())
        application.add_routes(Senders(data_plane).routes())
        application.add_routes(Refusals(data_plane).routes())
        application.add_routes(SeriesSearch(searched).routes())
        application.add_routes(GoldenSignals(catalog, history).routes())
        application.add_routes(Services(catalog, feed, lambda: self._router.incidents.topology.edges).routes())
        application.add_routes(Hosts(catalog, feed).routes())
        application.add_routes(Exemplars(data_plane).routes())
        application.add_routes(Forecasts(history).routes())

    def _add_alerting_routes(self, application: web.Application, authenticator: Authenticator, *, prefix: str) -> None:
        """prefix: of a proxy that passes the path on, "" without one."""
        alertmanager_api.register_routes(application, self._router)
        if prefix:
            alertmanager_api.register_routes(application, self._router, prefix)
        alert_groups_api.register_routes(application, self._router)
        oncall_api.register_routes(application, self._router)
        alerting_api.register_routes(application, self._router)
        maintenance_api.register_routes(application, self._router)
        analytics_api.register_routes(application, self._router)
        incident_api.register_routes(application, self._router)
        inbound_api.register_routes(application, self._router, authenticator)
        callbacks_api.register_routes(application, self._router)
        heartbeat_api.register_routes(application, self._router, authenticator)

    def _configuration_api(self) -> ConfigurationApi:
        return ConfigurationApi(
            lambda: shown(self._loaded.config, self._loaded.sources),
            partial(config_check.check, self._loaded),
            self._reload,
        )

    async def _listen(self, application: web.Application, certificates: Certificates) -> None:
        address = self._loaded.config.server.http
        host, port = parse_address(address)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=_GRACE_SECONDS)
        await runner.setup()
        assert runner.server is not None
        guard_connections(runner.server)
        self._stack.push_async_callback(runner.cleanup)
        try:
            listener, tls = listener_of_parent(), certificates.context
            site = (
                web.TCPSite(runner, host, port, ssl_context=tls)
                if listener is None
                else (web.SockSite(runner, listener, ssl_context=tls))
            )
            await site.start()
        except OSError as error:
            raise cannot_bind(error, "server.http", address) from error
        if certificates.enabled:
            self._stack.push_async_callback(CertificateRenewal(certificates.reload_if_changed).stop)
        self.addresses = {"http": runner.addresses[0][1]}

    async def stop(self) -> None:
        """Idempotent."""
        await self._stack.aclose()

    async def reload(self) -> None:
        """The alerting configuration. Raises ConfigError and keeps the old one."""
        await self._reload()

    def waits_for(self) -> int | None:
        """For the supervisor: the loop turns, as this is called from it."""
        return None

    def _prober(self, config: Config, certificates: Certificates) -> Prober:
        host, port = parse_address(config.server.otlp_http)
        # Its own address from inside: a listener on every address answers on the loopback.
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
        tls: ssl.SSLContext | bool = True
        if certificates.enabled:
            # The certificate names other hosts than a loopback address: it is known by itself instead.
            tls = ssl.create_default_context(cafile=config.access.tls_certificate)
            tls.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            tls.check_hostname = False
        return Prober(
            config.probes,
            self._clock,
            endpoint=f"{'https' if certificates.enabled else 'http'}://{join_address(host, port)}/v1/metrics",
            instance=socket.gethostname(),
            on_failing=ProbeAlerts(self._router.post_alerts, self._clock),
            tls=tls,
        )

    async def _history(self, config: Config, data_plane: DataPlaneClient) -> HistorySource:
        target = config.victoriametrics
        if not target.url:
            return LogHistory(data_plane, config.detection)
        session = open_session(target, tls_context(target))
        self._stack.push_async_callback(session.close)
        return VictoriaMetricsHistory(target.url, session, config.detection)

    def _surroundings(self, anomaly: Anomaly) -> dict[str, Any]:
        given = self._router.feedback.get(anomaly.id)
        return {
            "context": self._router.context_of(anomaly),
            "feedback": feedback_api.shown(given) if given is not None else None,
        }

    async def _take_change(self, change: Change | MaintenanceEvent) -> None:
        """A deploy or a maintenance window that an OTLP event told of. Raises DiskFailed, ShuttingDown."""
        if isinstance(change, MaintenanceEvent):
            self._maintenance_events.take(change, self._clock.time_ns())
            await self._router.settled()
            return
        try:
            await self._router.mark(marker_of_change(change))
        except RequestError as error:
            log.warning("a deploy event is left out", title=change.title, service=change.service, error=str(error))

    def _alert_counts(self) -> dict[str, int]:
        now = self._clock.time_ns()
        engine = self._router.engine
        return {
            "alerts": sum(alert.ends > now for alert in engine.alerts.values()),
            "groups": sum(bool(group.members) for group in engine.groups.values()),
            "silences": len(engine.silences.active(now)),
        }

    async def _reload(self) -> dict[str, Any]:
        await self._router.reload()
        return {"reloaded": ["alerting"]}
