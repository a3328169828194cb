"""The desk where other tools' events become changes of the router: triggered, acknowledged, resolved by their key."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from gateway.alerting.alert import Alert
from gateway.alerting.inbound import OPSGENIE, PAGERDUTY, Event
from gateway.alerting.router import AlertRouter
from gateway.errors import Conflict, NotFound

_KEYS: Final = {PAGERDUTY: "dedup_key", OPSGENIE: "alias"}


class InboundDesk:
    """Over a started router, on its loop. Everything is on disk when a method returns; raises DiskFailed otherwise."""

    def __init__(self, router: AlertRouter) -> None:
        self._router = router
        self._by_key: dict[tuple[str, str], str] = {}
        self._rebuild()

    def _rebuild(self) -> None:
        """The keys of open alerts, from the alerts themselves: they alone are durable."""
        self._by_key = {
            (alert.labels.get("inbound", ""), alert.labels[_KEYS[alert.origin]]): alert.fingerprint
            for alert in self._router.engine.alerts.values()
            if alert.origin in _KEYS and _KEYS[alert.origin] in alert.labels
            if alert.active(alert.updated)
        }

    def _find(self, event: Event, now: int) -> Alert | None:
        name = self._by_key.get((event.account, event.key))
        alert = None if name is None else self._router.engine.alerts.get(name)
        return alert if alert is not None and alert.active(now) else None

    async def take(self, event: Event) -> None:
        """Does what an event says. One about a key that is not open is taken and changes nothing."""
        now = self._router.clock.time_ns()
        found = self._find(event, now)
        if event.alert is not None:
            reports = [event.alert]
            if found is not None and found.fingerprint != event.alert.fingerprint:
                # The same alert with other labels, for instance a higher severity: the old one ends.
                reports.insert(0, msgspec.structs.replace(found, ends=now, updated=now))
            if len(self._by_key) > 1000 + 2 * len(self._router.engine.alerts):
                self._rebuild()
            self._by_key[event.account, event.key] = event.alert.fingerprint
            await self._router.post_alerts(reports, limited=found is None)  # another's successor needs no further room
        elif found is not None and event.action == "resolve":
            await self._router.post_alerts([msgspec.structs.replace(found, ends=now, updated=now)])
            if event.note:
                await self._router.acts.comment(found.fingerprint, event.who, event.note)
        elif found is not None:
            try:
                await self._router.acts.acknowledge(found.fingerprint, event.who, event.note)
            except (NotFound, Conflict):
                return  # it ended just now
        else:
            await self._router.commit()  # an answer promises that what came before is on disk

    async def webhook(self, alerts: Iterable[Alert]) -> None:
        """Alerts of a webhook message; an end keeps the start that is known."""
        known = self._router.engine.alerts
        reports: list[Alert] = []
        for alert in alerts:
            old = known.get(alert.fingerprint)
            if old is not None and old.active(alert.updated) and old.starts < alert.starts:
                alert = msgspec.structs.replace(alert, starts=old.starts)
            reports.append(alert)
        await self._router.post_alerts(reports, limited=True)
