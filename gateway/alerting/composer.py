"""Makes the notification of a decision: the members it lists, and what hooks know of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import msgspec

from gateway.alerting.alert import Alert
from gateway.alerting.configuration import Integration
from gateway.alerting.group import Group
from gateway.alerting.hooks import Hooks
from gateway.alerting.notification import Notification
from gateway.alerting.notification_log import LogEntry
from gateway.alerting.passing import Passing

MAX_ANNOTATED: Final = 50
"""Alerts of one notification that get more annotations than their own."""


class Composer:
    """Keeps nothing of what it makes. new_id: of a notification, another at each call."""

    def __init__(self, hooks: Hooks, external_url: str, new_id: Callable[[], str]) -> None:
        self._hooks, self._external_url, self._new_id = hooks, external_url, new_id

    def notification(
        self,
        group: Group,
        integration: Integration,
        entry: LogEntry | None,
        passing: Passing,
        now: int,
        *,
        reminder: bool,
    ) -> Notification:
        """For one integration. entry: what it was told last; now: ns; reminder: see Notification."""
        firing = passing.firing
        tell = passing.alerts if integration.send_resolved else firing
        listed = tell[: group.most] if group.most else tell
        return Notification(
            id=self._new_id(),
            group_key=group.key,
            receiver=integration.receiver,
            group_labels=group.labels,
            alerts=self._annotated(listed, now),
            left_out=len(tell) - len(listed),
            lowered=self._hooks.lowered(firing),
            at=now,
            external_url=self._external_url,
            memory=entry.memory if entry is not None else {},
            note=self._hooks.note(group, firing, now),
            context=self._hooks.describe(group, firing, now),
            group_id=group.id,
            reminder=reminder,
        )

    def _annotated(self, alerts: list[Alert], now: int) -> tuple[Alert, ...]:
        """The first of those that fire get what hooks know of them, as far as they have no annotation of that name."""
        annotated = list(alerts)
        for number, alert in enumerate(alerts[:MAX_ANNOTATED] if self._hooks.annotators else ()):
            added = self._hooks.annotate(alert, now) if alert.active(now) else {}
            if added:
                annotated[number] = msgspec.structs.replace(alert, annotations={**added, **alert.annotations})
        return tuple(annotated)
