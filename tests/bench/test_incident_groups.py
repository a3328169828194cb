"""Alerts put together as the alert router puts them together, and what that makes of true and false."""

from __future__ import annotations

import math

from bench.detection.incident_groups import IncidentCounts, Sent, grouped, incidents_of, service_of

AT = 1_500_000_000.0


def _sent(series: str, start: float, end: float, true: bool = False, service: str = "wsd") -> Sent:
    return Sent(service, series, AT + start, AT + end, true)


def test_what_begins_together_on_one_service_is_one_incident_and_what_is_hours_apart_is_not() -> None:
    sent = [_sent("a", 0, 600), _sent("b", 60, 700), _sent("c", 90, 90), _sent("a", 20_000, 20_600)]
    assert sorted(len(group) for group in grouped(sent)) == [1, 3]
    assert incidents_of(sent) == IncidentCounts(true=0, false=2)


def test_a_true_alert_makes_its_incident_true() -> None:
    sent = [_sent("a", 0, 600), _sent("b", 60, 700, true=True), _sent("c", 20_000, 20_600)]
    assert incidents_of(sent, unresolved=2) == IncidentCounts(true=1, false=3)
    assert incidents_of(sent, unresolved=2).false_share == 0.75


def test_services_are_apart() -> None:
    assert incidents_of([_sent("a", 0, 600), _sent("a", 0, 600, service="ett")]) == IncidentCounts(0, 2)
    assert service_of("smd", "m1/m07", "m1") == "smd/m1"
    assert service_of("wsd", "kpi00", "") == "wsd"
    assert service_of("m4_hourly", "H1", "") == "m4_hourly/H1"


def test_every_alert_is_in_one_incident() -> None:
    sent = [_sent(f"s{n % 7}", 400.0 * n, 400.0 * n + 300.0 * (n % 4)) for n in range(60)]
    groups = grouped(sent)
    assert sorted(alert.start for group in groups for alert in group) == sorted(alert.start for alert in sent)


def test_no_alerts_come_to_nothing() -> None:
    assert incidents_of([]) == IncidentCounts(0, 0)
    assert math.isnan(IncidentCounts(0, 0).false_share)
