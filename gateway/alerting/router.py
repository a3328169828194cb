"""The alert router: the engine with a store below, couriers beside, and the clock running.

Life cycle: new → started → stopped. `start` reads the store and makes up for the time away; `stop` is idempotent and
bounded. Everything the router promises (`await post_alerts`, `set_silence`, …) is on disk when the call returns.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Final

import structlog

from gateway.alerting.acts import Acts
from gateway.alerting.address_guard import AddressGuard
from gateway.alerting.alert import Alert, in_pieces
from gateway.alerting.anomaly_reports import AnomalyReports
from gateway.alerting.channels import make_channels, with_extra_receivers
from gateway.alerting.clock_watch import ClockWatch
from gateway.alerting.configuration import Configuration, built_in_configuration, load_configuration
from gateway.alerting.context import AnomalyContext, ServiceAlerts, deploy_stage, feedback_stage
from gateway.alerting.context_settings import ContextSettings
from gateway.alerting.courier import Courier
from gateway.alerting.couriers import Couriers
from gateway.alerting.engine import Engine
from gateway.alerting.enrichment import Enrichment, recorded_alert
from gateway.alerting.escalation import Escalation, Escalations
from gateway.alerting.explain import past, present
from gateway.alerting.fatigue import Fatigue
from gateway.alerting.feedback import Feedback
from gateway.alerting.heartbeat import Heartbeat, Heartbeats
from gateway.alerting.http_delivery import HttpDelivery
from gateway.alerting.inbound import Marker
from gateway.alerting.incidents import Incidents
from gateway.alerting.listing import Listing
from gateway.alerting.maintenance import RETENTION, Maintenance, Window
from gateway.alerting.markers import Markers
from gateway.alerting.moments import SECOND
from gateway.alerting.notification import Channel
from gateway.alerting.oncall import OnCall, load_oncall
from gateway.alerting.people import Handling, People
from gateway.alerting.recorded import STORE_NAME
from gateway.alerting.recovery import ALIVE, restore
from gateway.alerting.room import fitting
from gateway.alerting.settings import AlertingSettings
from gateway.alerting.sqlite_store import SqliteStore
from gateway.alerting.store import ESCALATION, HEARTBEAT, MAINTENANCE, PEOPLE, RUNTIME, Store, decoded
from gateway.clock import Clock
from gateway.errors import GatewayError, NotFound
from gateway.owned_tasks import end_tasks
from gateway.selfmetrics import TASK_FAILURES, counter, gauge
from gateway.telemetry.anomaly import Anomaly

CHUNK: Final = 32
"""Alerts taken in one go; then the loop gets its turn."""
CHUNK_TEXT: Final = 64 * 1024
"""Characters of labels and annotations taken in one go, unless one alert has more."""
ALIVE_SECONDS: Final = 10
PRUNE_SECONDS: Final = 3600
LONGEST_WAIT: Final = 1.0
RENEWAL_SECONDS: Final = 0.1
RENEWAL_PAUSE: Final = 0.002
"""Between two slices of renewing lists, so that it takes a small share of the loop."""
STOP_SECONDS: Final = 10.0
"""Longest wait for the last commit when stopping."""
_RECEIVED = counter("alerting_alerts_received", "Alert reports taken.", ["origin"])
_SUPPRESSED = counter(
    "alerting_suppressed",
    "Notifications held back or not repeated (budget, storm, lowered) and alerts that began to be muted (silence, "
    "inhibition, interval, snooze, maintenance), by kind.",
    ["kind"],
)
_ACTIVE = gauge("alerting_alerts", "Alerts known, by state.", ["state"])
_RELOADED = gauge(
    "alerting_config_last_reload_successful", "Whether the last reading of the alerting configuration succeeded."
)
_RELOADED_AT = gauge(
    "alerting_config_last_reload_success_timestamp_seconds", "When the alerting configuration was last read well."
)
_log = structlog.get_logger(__name__)

ChannelFactory = Callable[[Configuration, HttpDelivery], dict[str, Channel]]


class AlertRouter:
    """See the head of the file. All methods run on the loop that called `start`."""

    def __init__(
        self,
        settings: AlertingSettings,
        state_dir: Path,
        clock: Clock,
        *,
        external_url: str = "",
        context: ContextSettings | None = None,
        store: Store | None = None,
        channels: ChannelFactory | None = None,
        maintenance_retention: int = RETENTION,
    ) -> None:
        """maintenance_retention: nanoseconds for which maintenance windows that are over are kept.
        Raises ConfigError if the configuration cannot be used."""
        self.settings, self.clock, self.external_url = settings, clock, external_url
        self._guard = AddressGuard(settings.internal_receivers)
        self.configuration = self._load_configuration()
        self.engine = Engine(self.configuration, external_url=external_url, max_silences=settings.max_silences)
        self.people = People(self.engine)
        self.escalations = Escalations(self.engine, self.people, self._load_oncall(self.configuration))
        self.maintenance = Maintenance(self.engine, retention=maintenance_retention)
        self.heartbeats = Heartbeats(self.engine)
        self.listing = Listing(self.engine, self.maintenance)
        self.engine.hooks.suppression_watchers.append(lambda kind: _SUPPRESSED.labels(kind).inc())
        self.markers = Markers(self.engine.journal, round(settings.history_retention * SECOND))
        self.feedback = Feedback(self.engine.journal)
        self.context = AnomalyContext(
            context or ContextSettings(), self.markers, self.maintenance.muting, self.feedback.shift
        )
        self.service_alerts = ServiceAlerts(self.engine.alerts)
        self.engine.hooks.stages += [deploy_stage, feedback_stage, self.service_alerts.stage]
        self.anomalies = AnomalyReports(self.engine, self.context, self.service_alerts, external_url)
        self.open_anomalies: Callable[[], Iterable[Anomaly]] = tuple
        """The anomalies that are open now, for a marker that comes after them."""
        self.incidents = Incidents(self.engine, settings, self.markers)
        # After all others that hold notifications: what they hold takes nothing from a budget.
        self.fatigue = Fatigue(self.engine, self.people, settings)
        self.enrichment = Enrichment(self.engine, self.incidents, settings)
        self.store: Store = store or SqliteStore(state_dir / STORE_NAME)
        self.started_at = 0
        self._make_channels: ChannelFactory = channels or (
            lambda configuration, delivery: make_channels(configuration, settings, delivery, clock)
        )
        self._delivery: HttpDelivery | None = None
        self._couriers = Couriers()
        self.acts = Acts(
            self.engine,
            self.people,
            self.maintenance,
            self.incidents,
            self.fatigue,
            clock,
            commit=self.commit,
            wake=self._look_now,
        )
        """What people do."""
        self._timers: asyncio.Task[None] | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._last_alive = 0
        self._next_prune = 0
        self._clock_watch = ClockWatch(clock)
        self._stopped = False

    def _load_configuration(self) -> Configuration:
        if self.settings.config_file:
            configuration = load_configuration(Path(self.settings.config_file))
        else:
            configuration = built_in_configuration(self.settings.webhook_url.reveal())
        return with_extra_receivers(configuration, self.settings)

    def _load_oncall(self, configuration: Configuration) -> OnCall:
        if not self.settings.oncall_file:
            return OnCall()
        return load_oncall(Path(self.settings.oncall_file), set(configuration.receivers))

    # Life cycle

    async def start(self) -> None:
        """Raises StateError if the store cannot be read."""
        await asyncio.to_thread(self.store.open)
        now = self.clock.time_ns()
        self.started_at = now
        await asyncio.to_thread(self._restore, now)
        await self.commit()
        self._loaded_well()
        self._delivery = HttpDelivery(self._guard, timeout=self.settings.delivery_timeout)
        self._start_couriers()
        self._timers = asyncio.create_task(self._run_timers(), name="alerting timers")
        self._renewal = asyncio.create_task(self._run_renewal(), name="alerting lists")

    def _restore(self, now: int) -> None:
        self.anomalies.load(self.store)
        self.markers.load(self.store, now)
        self.feedback.load(self.store, now)
        for _, handling in decoded(self.store, PEOPLE, Handling):
            self.people.load(handling)
        for _, escalation in decoded(self.store, ESCALATION, Escalation):
            self.escalations.load(escalation)
        for _, window in decoded(self.store, MAINTENANCE, Window):
            self.maintenance.load(window, now)
        grace = round(self.settings.restart_grace * SECOND)
        for _, heartbeat in decoded(self.store, HEARTBEAT, Heartbeat):
            self.heartbeats.load(heartbeat, now + grace)
        self.fatigue.load(self.store, now)
        self.incidents.load(self.store, now)
        self.enrichment.past.load(self.store, now)
        restore(self.engine, self.store, now, grace=grace)
        for alert in self.engine.alerts.values():
            self.service_alerts.take(alert)
        self.incidents.after_load(now)

    async def stop(self) -> None:
        """Ends every task, writes what is left and closes the store; idempotent."""
        if self._stopped:
            return
        self._stopped = True
        await end_tasks(self._timers, self._renewal)
        await self._couriers.stop()
        if self._delivery is not None:
            await self._delivery.close()
        if self.started_at:
            self._mark_alive(self.clock.time_ns())
        try:
            if self.started_at:
                await asyncio.wait_for(self.commit(), STOP_SECONDS)
        except (GatewayError, TimeoutError) as error:
            _log.warning("the last changes of alerting may not be on disk", error=repr(error))
        finally:
            await asyncio.to_thread(self.store.close)

    def _start_couriers(self) -> None:
        assert self._delivery is not None
        channels = self._make_channels(self.configuration, self._delivery)
        timeout = self.settings.delivery_timeout
        self._couriers.start(
            {
                key: Courier(
                    key, channel, self.engine, self.clock, timeout, commit=self.commit, done=self._after_attempt
                )
                for key, channel in channels.items()
            }
        )

    async def reload(self) -> None:
        """Reads the configuration again; raises ConfigError and changes nothing if it cannot be used."""
        try:
            configuration = await asyncio.to_thread(self._load_configuration)
            oncall = await asyncio.to_thread(self._load_oncall, configuration)
        except GatewayError:
            _RELOADED.set(0)
            raise
        await self._couriers.stop()
        self.configuration = configuration
        self.escalations.oncall = oncall
        self.engine.reload(configuration, self.clock.time_ns())
        self._loaded_well()
        self._start_couriers()
        await self.commit()
        self._wake.set()

    def _loaded_well(self) -> None:
        _RELOADED.set(1)
        _RELOADED_AT.set(self.clock.time_ns() / SECOND)

    # Time

    async def _run_timers(self) -> None:
        while True:
            try:
                wait = self._run_due()
            except Exception as error:  # noqa: BLE001 - outermost edge of the task
                TASK_FAILURES.labels("alerting timers").inc()
                _log.error("an alerting timer failed", error=repr(error), exc_info=True)
                wait = LONGEST_WAIT
            if wait <= 0:
                await asyncio.sleep(0)
                continue
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            self._wake.clear()

    async def _run_renewal(self) -> None:
        """Renews what lists show of alerts ahead of being asked, in small slices."""
        while True:
            left, touches = False, self.listing.touches
            try:
                left = self.listing.refresh(self.clock.time_ns())
            except Exception as error:  # noqa: BLE001 - outermost edge of the task
                TASK_FAILURES.labels("alerting lists").inc()
                _log.error("renewing the lists of alerts failed", error=repr(error), exc_info=True)
            await asyncio.sleep(0 if left else RENEWAL_SECONDS)
            if left and touches != self.listing.touches:
                await asyncio.sleep(RENEWAL_PAUSE)  # alerts are coming in: they go first

    def _run_due(self) -> float:
        """Runs a bounded share of what is due; gives the seconds until there is more."""
        now, set_back = self._clock_watch.look()
        if set_back:
            self.engine.clock_went_back(now, set_back)
            self._last_alive = self._next_prune = 0
            self._couriers.wake()
        ran = self.engine.tick(now, limit=1)
        if ran:
            self._couriers.wake()
        if now >= self._last_alive + ALIVE_SECONDS * SECOND:
            self._mark_alive(now)
            _ACTIVE.labels("active").set(len(self.engine.alerts))
            _ACTIVE.labels("groups").set(len(self.engine.groups))
        if now >= self._next_prune:
            self._next_prune = now + PRUNE_SECONDS * SECOND
            self.fatigue.ignored.prune(now)
            self.store.forget(now - round(self.settings.history_retention * SECOND))
            self.anomalies.prune(now)
        self._commit_soon()
        return min((self.engine.next_due() - now) / SECOND, LONGEST_WAIT)

    def _mark_alive(self, now: int) -> None:
        self._last_alive = now
        self.engine.journal.put(RUNTIME, ALIVE, now)

    def _look_now(self) -> None:
        self._couriers.wake()
        self._wake.set()

    def _after_attempt(self) -> None:
        self._commit_soon()
        self._wake.set()

    def _commit_soon(self) -> None:
        if self.engine.journal:
            self.store.commit(self.engine.journal.take())

    async def commit(self) -> None:
        """Everything changed until now is on disk when this returns. Raises DiskFailed, ShuttingDown."""
        await asyncio.wrap_future(self.store.commit(self.engine.journal.take()))

    # What others say

    async def post_alerts(self, alerts: Sequence[Alert], *, limited: bool = False) -> None:
        """Takes checked alerts; durable when this returns. Raises DiskFailed, ShuttingDown and, where `limited`,
        TooManyAlerts once those that fit are durable."""
        problem = None
        if limited:
            alerts, problem = fitting(alerts, self.engine.alerts, self.settings.max_alerts, self.clock.time_ns())
        waiting = []
        for chunk in in_pieces(alerts, CHUNK, CHUNK_TEXT):
            self.engine.receive(chunk, self.clock.time_ns())
            waiting.append(asyncio.wrap_future(self.store.commit(self.engine.journal.take())))
            if len(chunk) < len(alerts):
                await asyncio.sleep(0)
        for alert in alerts[:1]:
            _RECEIVED.labels(alert.origin).inc(len(alerts))
        self._wake.set()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        if problem is not None:
            raise problem

    async def submit_anomaly(self, anomaly: Anomaly) -> None:
        """An anomaly opened, changed or ended; durable when this returns. Raises DiskFailed, ShuttingDown.

        Submitting the same record again changes nothing, so a reader of the anomalies log may start again anywhere.
        """
        reports = self.anomalies.reports(anomaly, self.clock.time_ns())
        if reports:
            await self.post_alerts(reports)

    def context_of(self, anomaly: Anomaly) -> dict[str, str]:
        """What surrounds an anomaly: `severity` and `muted` of its alert, and why; for people to see."""
        return self.anomalies.context_of(anomaly)

    async def mark(self, marker: Marker) -> None:
        """Keeps a deploy marker, and judges the open anomalies again; durable when this returns.

        Raises RequestError for a time that no history holds, DiskFailed, ShuttingDown.
        """
        self.markers.mark(marker, self.clock.time_ns())
        await self.commit()
        for anomaly in list(self.open_anomalies()):
            if anomaly.id in self.anomalies:
                await self.submit_anomaly(anomaly)

    async def settled(self) -> None:
        """What was just changed is on disk, and what follows from it is looked at. Raises DiskFailed, ShuttingDown."""
        await self.commit()
        self._wake.set()

    async def alert_context(self, fingerprint: str) -> dict[str, Any]:
        """What helps with an alert, also with one that has ended; raises NotFound."""
        alert = self.engine.alerts.get(fingerprint)
        if alert is None:
            found = await asyncio.to_thread(self.store.history, fingerprint=fingerprint, kinds=("firing",), limit=1)
            if not found:
                raise NotFound(f"no alert {fingerprint}")
            alert = recorded_alert(found[0])
        return await self.enrichment.context(alert, self.clock.time_ns())

    async def explain(self, fingerprint: str) -> dict[str, Any]:
        """The way of an alert through the router, also of one that has ended; raises NotFound."""
        await self.commit()
        now = present(
            self.engine,
            self.people,
            fingerprint,
            self.clock.time_ns(),
            maintenance=self.maintenance,
            digests=self.fatigue.digests,
        )
        history = await asyncio.to_thread(past, self.store, fingerprint)
        if now is None and not history:
            raise NotFound(f"no alert {fingerprint}")
        if now is not None:
            now["incidentGroup"] = self.incidents.of_alert(fingerprint)
            now["heldBack"] = self.incidents.notices.held(fingerprint)
        return {"fingerprint": fingerprint, "now": now, "history": history}
