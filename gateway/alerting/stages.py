"""The stages between a flush and a receiver: each takes alerts and gives back those it lets pass, with a reason for
the rest.

Order as in Alertmanager's `notify`: inhibition, the route's active intervals, its mute intervals, silences, and after
them what people said (snooze). All are asked at the moment of the flush, with everything known, so nothing suppressed
is told after a start or a reload.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from gateway.alerting.alert import Alert
from gateway.alerting.inhibition import Inhibitor
from gateway.alerting.mute_interval import IntervalPart, any_holds
from gateway.alerting.route import Route
from gateway.alerting.silence import Silences

Reason = str
Stage = Callable[[Route, Alert, int], Reason]
"""Why an alert is muted at a moment on a route, or "" to let it pass."""


class Verdict(msgspec.Struct):
    """What the stages say about the members of a group."""

    passing: list[Alert]
    muted: dict[str, str]
    """Fingerprint → reason."""


def judge(stages: Sequence[Stage], route: Route, alerts: Sequence[Alert], now: int) -> Verdict:
    """Each alert through the stages in order; the first that mutes it gives the reason."""
    verdict = Verdict([], {})
    for alert in alerts:
        for stage in stages:
            reason = stage(route, alert, now)
            if reason:
                verdict.muted[alert.fingerprint] = reason
                break
        else:
            verdict.passing.append(alert)
    return verdict


def inhibition_stage(inhibitor: Inhibitor) -> Stage:
    """Muted by an active source alert."""

    def stage(_route: Route, alert: Alert, now: int) -> Reason:
        found = inhibitor.inhibitors(alert.labels, alert.fingerprint, now)
        return f"inhibition {found[0]}" if found else ""

    return stage


def silence_stage(silences: Silences) -> Stage:
    """Muted by a silence that holds now."""

    def stage(_route: Route, alert: Alert, now: int) -> Reason:
        found = silences.muting(alert.labels, now)
        return f"silence {found[0]}" if found else ""

    return stage


def interval_stage(intervals: Mapping[str, tuple[IntervalPart, ...]]) -> Stage:
    """Muted outside of the route's active intervals and inside of its mute intervals."""

    def stage(route: Route, _alert: Alert, now: int) -> Reason:
        return muting_interval(route, intervals, now)

    return stage


def kind_of(reason: Reason) -> str:
    """The kind of a reason: silence, inhibition, interval, snooze, maintenance, …"""
    kind = reason.split(" ", 1)[0]
    return {"outside": "interval", "snoozed": "snooze"}.get(kind, kind)


def muting_interval(route: Route, intervals: Mapping[str, tuple[IntervalPart, ...]], now: int) -> Reason:
    """Why a route is mute at a moment, or ""."""
    if route.active_intervals and not any(any_holds(intervals[name], now) for name in route.active_intervals):
        return f"outside interval {', '.join(route.active_intervals)}"
    for name in route.mute_intervals:
        if any_holds(intervals[name], now):
            return f"interval {name}"
    return ""
