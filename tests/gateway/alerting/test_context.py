"""Deploys and business impact around anomalies: what is lowered, muted, raised, and what never is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from gateway.alerting.alert import Alert
from gateway.alerting.context_settings import ContextSettings, ImpactRule
from gateway.alerting.inbound import Marker
from gateway.alerting.maintenance import Window
from gateway.alerting.matcher import parse_matcher
from gateway.alerting.moments import SECOND
from gateway.alerting.router import AlertRouter
from gateway.alerting.settings import AlertingSettings
from gateway.clock import ManualClock
from gateway.errors import ConfigError, RequestError
from gateway.telemetry.anomaly import Anomaly, Member

START = 1_700_000_000
PAYS = ImpactRule(match=('service="shop/cart"',), steps=1, name="takes payments")


def anomaly(
    *, at: float = START, severity: str = "high", kind: str = "sustained", service: str = "shop/cart"
) -> Anomaly:
    return Anomaly(
        id=f"{service}-{at}-{kind}",
        time=at,
        series={"__name__": "latency", "job": service},
        value=9.0,
        expected=1.0,
        lower=0.0,
        upper=2.0,
        score=0.8,
        severity=severity,
        reasons=["far away"],
        kind=kind,
        detected_ns=round(at * SECOND),
    )


def marker(*, at: float = START - 60, service: str = "cart", number: str = "m", environment: str = "") -> Marker:
    return Marker(
        id=number, time=round(at * SECOND), title="cart", version="1.4", service=service, environment=environment
    )


Act = Callable[[AlertRouter, ManualClock], Awaitable[None]]


def with_router(tmp_path: Path, act: Act, context: ContextSettings | None = None) -> None:
    async def run() -> None:
        clock = ManualClock(START * SECOND)
        router = AlertRouter(AlertingSettings(), tmp_path, clock, context=context)
        await router.start()
        try:
            await act(router, clock)
        finally:
            await router.stop()

    asyncio.run(run())


def the_alert(router: AlertRouter) -> Alert:
    now = router.clock.time_ns()
    (alert,) = [alert for alert in router.engine.alerts.values() if alert.active(now)]
    return alert


def muted(router: AlertRouter, alert: Alert, now: int) -> str:
    route = router.configuration.route
    return next((why for stage in router.engine.hooks.stages if (why := stage(route, alert, now))), "")


def test_after_a_deploy_one_step_lower_and_muted_for_a_while(tmp_path: Path) -> None:
    async def act(router: AlertRouter, clock: ManualClock) -> None:
        await router.mark(marker())
        await router.submit_anomaly(anomaly(severity="critical"))
        alert = the_alert(router)
        assert alert.labels["severity"] == "high"
        assert alert.annotations["severity_by_score"] == "critical"
        assert alert.annotations["after_deploy"] == "cart (1.4) at 2023-11-14T22:12:20Z"
        assert muted(router, alert, clock.time_ns()).startswith("deploy cart")
        assert muted(router, alert, clock.time_ns() + 3599 * SECOND)
        assert not muted(router, alert, clock.time_ns() + 3600 * SECOND), "what lasts is told"

    with_router(tmp_path, act)


@pytest.mark.parametrize(
    ("known", "found"),
    [
        (marker(at=START - 3600), anomaly()),  # long before
        (marker(at=START + 600), anomaly()),  # after it
        (marker(service="till"), anomaly()),  # another service's
        (marker(service=""), anomaly()),  # nobody's
        (marker(), anomaly(kind="stale")),  # silence is not what a deploy should end in
        (marker(), anomaly(kind="zero")),
        (marker(), anomaly(kind="exhaustion")),
    ],
)
def test_what_a_deploy_does_not_explain(tmp_path: Path, known: Marker, found: Anomaly) -> None:
    async def act(router: AlertRouter, clock: ManualClock) -> None:
        await router.mark(known)
        await router.submit_anomaly(found)
        assert the_alert(router).labels["severity"] == "high"
        assert not muted(router, the_alert(router), clock.time_ns())

    with_router(tmp_path, act)


def test_environments_that_differ_have_different_deploys(tmp_path: Path) -> None:
    async def act(router: AlertRouter, _clock: ManualClock) -> None:
        await router.mark(marker(environment="staging"))
        found = anomaly()
        found.series["deployment_environment_name"] = "production"
        await router.submit_anomaly(found)
        assert "after_deploy" not in the_alert(router).annotations

    with_router(tmp_path, act)


def test_a_marker_that_comes_late_judges_what_is_open(tmp_path: Path) -> None:
    async def act(router: AlertRouter, clock: ManualClock) -> None:
        found = anomaly()
        router.open_anomalies = lambda: [found]
        await router.submit_anomaly(found)
        assert not muted(router, the_alert(router), clock.time_ns())
        await router.mark(marker())
        alert = the_alert(router)
        assert alert.labels["severity"] == "medium"
        assert muted(router, alert, clock.time_ns())
        assert router.context_of(found)["alert_severity"] == "medium"
        found.state, found.ended = "resolved", START + 60.0
        clock.advance(60)
        await router.submit_anomaly(found)
        assert not [alert for alert in router.engine.alerts.values() if alert.active(clock.time_ns())]

    with_router(tmp_path, act)


def test_what_begins_in_maintenance_is_lower_and_says_so(tmp_path: Path) -> None:
    async def act(router: AlertRouter, clock: ManualClock) -> None:
        window = Window(
            id="",
            name="new disks",
            matchers=(parse_matcher('service=~"shop/.*"'),),
            starts=(START - 60) * SECOND,
            ends=(START + 600) * SECOND,
        )
        router.maintenance.put(window, clock.time_ns())
        await router.submit_anomaly(anomaly(severity="critical", kind="stale"))
        alert = the_alert(router)
        assert (alert.labels["severity"], alert.annotations["maintenance"]) == ("high", "new disks")
        assert muted(router, alert, clock.time_ns()).startswith("maintenance ")
        assert not muted(router, alert, clock.time_ns() + 600 * SECOND), "what outlives the window is told"

    with_router(tmp_path, act)


def test_impact_raises_after_the_deploy_has_lowered(tmp_path: Path) -> None:
    async def act(router: AlertRouter, clock: ManualClock) -> None:
        await router.submit_anomaly(anomaly())
        alert = the_alert(router)
        assert (alert.labels["severity"], alert.annotations["business_impact"]) == ("critical", "takes payments")
        await router.mark(marker(at=START + 1000))
        clock.advance(1000)
        other = anomaly(at=START + 1000, severity="critical", kind="spike")
        other.series["__name__"] = "errors"
        await router.submit_anomaly(other)
        (alert,) = [a for a in router.engine.alerts.values() if a.labels["metric"] == "errors"]
        assert alert.labels["severity"] == "critical", "one down, one up"
        assert not muted(router, alert, clock.time_ns()), "what is critical even so is told"

    with_router(tmp_path, act, ContextSettings(impact=(PAYS,)))


def test_one_alert_of_the_service_holds_those_of_its_series(tmp_path: Path) -> None:
    whole = anomaly(kind="group", severity="high", service="shop/cart")
    whole.series = {"service": "shop/cart"}
    whole.reasons = ["7 series of shop/cart deviate at the same time"]
    whole.members = [Member({"__name__": "latency", "job": "shop/cart"}, START, 0.4)]
    ended = msgspec.structs.replace(whole, state="resolved", ended=START + 60.0)

    def by_name(router: AlertRouter, name: str) -> Alert:
        (alert,) = [a for a in router.engine.alerts.values() if a.name == name]
        return alert

    async def act(router: AlertRouter, clock: ManualClock) -> None:
        await router.submit_anomaly(whole)
        await router.submit_anomaly(anomaly(severity="medium"))
        group, single = by_name(router, "ServiceAnomalyDetected"), by_name(router, "AnomalyDetected")
        assert group.annotations["members"] == 'latency{job="shop/cart"}'
        assert group.annotations["summary"].startswith("7 series")
        assert not muted(router, group, clock.time_ns())
        assert muted(router, single, clock.time_ns()).startswith(f"part of {group.fingerprint}")
        worse = msgspec.structs.replace(single, labels=single.labels | {"severity": "critical"})
        assert not muted(router, worse, clock.time_ns()), "what is worse than the whole is told by itself"
        elsewhere = msgspec.structs.replace(single, labels=single.labels | {"service": "till"})
        assert not muted(router, elsewhere, clock.time_ns())

    async def after(router: AlertRouter, clock: ManualClock) -> None:
        single = by_name(router, "AnomalyDetected")
        assert muted(router, single, clock.time_ns()), "known after a restart"
        clock.advance(60)
        await router.submit_anomaly(ended)
        assert not muted(router, single, clock.time_ns())

    with_router(tmp_path, act)
    with_router(tmp_path, after)


def test_markers_are_known_after_a_restart_and_each_once(tmp_path: Path) -> None:
    async def before(router: AlertRouter, _clock: ManualClock) -> None:
        await router.mark(marker())
        await router.mark(marker())
        with pytest.raises(RequestError):
            await router.mark(marker(at=START + 10 * 86400, number="future"))

    async def after(router: AlertRouter, _clock: ManualClock) -> None:
        assert len(router.store.history(kinds=("marker",))) == 1
        await router.submit_anomaly(anomaly())
        assert "after_deploy" in the_alert(router).annotations

    with_router(tmp_path, before)
    with_router(tmp_path, after)


@pytest.mark.parametrize("match", [(), ("service",)])
def test_a_rule_that_cannot_be_read_is_refused(tmp_path: Path, match: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match=r"context\.impact"):
        AlertRouter(
            AlertingSettings(),
            tmp_path,
            ManualClock(),
            context=ContextSettings(impact=(ImpactRule(match=match),)),
        )
