"""One notification: what a receiver is to be told about one group now; and what became of telling it.

A notification never carries a decision: whether it is due was decided before, from the notification log.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from typing import Final, Protocol, TypeVar

import msgspec

from gateway.alerting.alert import Alert
from gateway.alerting.moments import ABSENT, GO_ZERO, format_moment_nano
from gateway.alerting.template import Alerts, LabelSet, Moment, Record, common

LARGE: Final = 20
"""Notifications with more alerts than this are composed in a thread."""
T = TypeVar("T")


class Notification(msgspec.Struct, frozen=True, kw_only=True):
    """Alerts of one group for one receiver's integration, in notification order."""

    id: str
    group_key: str
    receiver: str
    group_labels: dict[str, str]
    alerts: tuple[Alert, ...]
    at: int
    """The moment of the flush: an alert is firing if it was active then."""
    external_url: str = ""
    memory: dict[str, str] = {}
    """What the channel kept from the last delivery about this group, for instance the Slack message to update."""
    note: str = ""
    """Lines for people, for instance that the service is flapping."""
    lowered: bool = False
    """The severity is to be taken one lower: what fires was told often and nobody acted on it."""
    left_out: int = 0
    """Alerts that the notification is about and does not list."""
    context: dict[str, str] = {}
    """Short facts by name: the incident group, its likely cause, a runbook."""
    group_id: str = ""
    """By which the router knows the group, for what a receiver says back."""
    reminder: bool = False
    """It is to be noticed, although nothing in it may be new: a repetition, a step of an escalation."""

    @property
    def firing(self) -> tuple[Alert, ...]:
        """Alerts active at the flush."""
        return tuple(alert for alert in self.alerts if alert.active(self.at))

    @property
    def resolved(self) -> tuple[Alert, ...]:
        """Alerts that had ended at the flush."""
        return tuple(alert for alert in self.alerts if not alert.active(self.at))

    @property
    def status(self) -> str:
        """firing while one alert is, else resolved."""
        return "firing" if any(alert.active(self.at) for alert in self.alerts) else "resolved"

    @property
    def dedup_key(self) -> str:
        """64 hexadecimal digits by which PagerDuty and Opsgenie know the group."""
        return hashlib.sha256(self.group_key.encode("utf-8", "surrogatepass")).hexdigest()

    @property
    def remarks(self) -> str:
        """Note and context as lines of text; "" if there are none."""
        lines = [self.note] if self.note else []
        return "\n".join([*lines, *(f"{name.replace('_', ' ')}: {fact}" for name, fact in self.context.items())])

    def data(self) -> Record:
        """The data that texts are evaluated over."""
        return Record(
            Receiver=self.receiver,
            Status=self.status,
            Alerts=Alerts(self._alert_data(alert) for alert in self.alerts),
            GroupLabels=LabelSet(self.group_labels),
            CommonLabels=common(alert.labels for alert in self.alerts),
            CommonAnnotations=common(alert.annotations for alert in self.alerts),
            ExternalURL=self.external_url,
        )

    def _alert_data(self, alert: Alert) -> Record:
        firing = alert.active(self.at)
        return Record(
            Status="firing" if firing else "resolved",
            Labels=LabelSet(alert.labels),
            Annotations=LabelSet(alert.annotations),
            StartsAt=Moment(alert.starts),
            EndsAt=Moment(ABSENT if firing else alert.ends),
            GeneratorURL=alert.generator_url,
            Fingerprint=alert.fingerprint,
        )

    def webhook_body(self, max_alerts: int = 0) -> dict[str, object]:
        """The webhook message, version 4."""
        if max_alerts and len(self.alerts) > max_alerts:
            shorter = msgspec.structs.replace(self, alerts=self.alerts[:max_alerts])
            return {**shorter.webhook_body(), "truncatedAlerts": self.left_out + len(self.alerts) - max_alerts}
        body: dict[str, object] = {
            "receiver": self.receiver,
            "status": self.status,
            "alerts": [
                {
                    "status": "firing" if alert.active(self.at) else "resolved",
                    "labels": alert.labels,
                    "annotations": alert.annotations,
                    "startsAt": format_moment_nano(alert.starts),
                    "endsAt": GO_ZERO if alert.active(self.at) else format_moment_nano(alert.ends),
                    "generatorURL": alert.generator_url,
                    "fingerprint": alert.fingerprint,
                }
                for alert in self.alerts
            ],
            "groupLabels": self.group_labels,
            "commonLabels": common(alert.labels for alert in self.alerts),
            "commonAnnotations": common(alert.annotations for alert in self.alerts),
            "externalURL": self.external_url,
            "version": "4",
            "groupKey": self.group_key,
            "truncatedAlerts": self.left_out,
        }
        if self.note:
            body["note"] = self.note
        if self.context:
            body["context"] = self.context
        return body


IN_PLACE: Final = "in_place"
"""A key of a channel's memory: the next notification about the group changes the message that is there, so that one
more disturbs nobody."""


class Delivered(msgspec.Struct, frozen=True):
    """The receiver has it. `memory` is handed to the next notification about the group."""

    memory: dict[str, str] = {}
    detail: str = ""


class Again(msgspec.Struct, frozen=True):
    """It may work later: connection failed, 5xx, 429. `after` is what the receiver asked to wait, in seconds."""

    reason: str
    after: float | None = None
    uncertain: bool = False
    """The request may have arrived all the same: the answer was lost or came too late."""


class Refused(msgspec.Struct, frozen=True):
    """It cannot work unchanged: 4xx, a broken address, a refused recipient."""

    reason: str


Outcome = Delivered | Again | Refused


async def composed(notification: Notification, compose: Callable[[Notification], T]) -> T:
    """What a channel makes of a notification; of a large one in a thread, as texts over it take their time."""
    if len(notification.alerts) > LARGE:
        return await asyncio.to_thread(compose, notification)
    return compose(notification)


class Channel(Protocol):
    """One way out: one integration of one receiver."""

    concurrency: int
    """Notifications under way at once."""

    async def send(self, notification: Notification) -> Outcome:
        """Tells the receiver. Gives an outcome for every condition it knows; its caller bounds the time."""
        ...
