"""How many alerts others may have kept: what they send beyond it is refused, the gateway's own are always taken."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from gateway.alerting.alert import Alert
from gateway.errors import Overloaded
from gateway.selfmetrics import counter

_REFUSED = counter("alerting_alerts_refused", "Alert reports refused because of alerting.max_alerts.", ["origin"])


class TooManyAlerts(Overloaded):
    """New alerts that do not fit beside those that are kept."""

    reason = "too_many_alerts"


def fitting(
    alerts: Sequence[Alert], known: Collection[str], most: int, now: int
) -> tuple[list[Alert], TooManyAlerts | None]:
    """The alerts there is room for, in their order, and what to tell the sender of the others.

    known: fingerprints of the alerts that are kept; most: `alerting.max_alerts`, 0 for no limit. A report of an alert
    that is known, and an end, take no room.
    """
    taken: list[Alert] = []
    new: set[str] = set()
    refused = 0
    for alert in alerts:
        name = alert.fingerprint
        if name not in known and name not in new and alert.active(now):
            if 0 < most <= len(known) + len(new):
                refused += 1
                _REFUSED.labels(alert.origin).inc()
                continue
            new.add(name)
        taken.append(alert)
    if not refused:
        return taken, None
    told = f"{refused} new alerts were not taken: alerting.max_alerts is {most}; let others end, or raise it"
    return taken, TooManyAlerts(told, retry_after=30.0)
