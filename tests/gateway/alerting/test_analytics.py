"""Analytics of histories made by the real engine, counted by hand."""

from __future__ import annotations

from pathlib import Path
from zoneinfo import ZoneInfo

import aiohttp
import msgspec
import pytest
from aiohttp import web

from gateway.alerting import analytics, recorded
from gateway.alerting.analytics import Analytics, analyse, nearest_rank
from gateway.alerting.analytics_report import markdown, page
from gateway.alerting.moments import SECOND
from gateway.alerting.notification import Again, Delivered
from gateway.alerting.people import People
from gateway.alerting.recorded import events_between
from gateway.alerting.router import AlertRouter
from gateway.alerting.settings import AlertingSettings
from gateway.alerting.sqlite_store import SqliteStore
from gateway.alerting.store import Batch, Event
from gateway.clock import SystemClock
from gateway.errors import RequestError
from gateway.web import analytics_api
from gateway.web.json_api import declared_errors
from tests.conformance.alertmanager.peers import served
from tests.gateway.alerting.test_properties import ONE
from tests.gateway.alerting.virtual import EPOCH, World

START = EPOCH * SECOND
HOUR = 3600


def history() -> World:
    """Four alerts: one acknowledged, one that ended unseen, one silenced, one that still fires."""
    world = World(ONE)
    people = People(world.engine)
    seen = world.fire(alertname="Slow", service="shop", team="web")
    world.fire(alertname="Brief", service="shop", team="web")
    world.silence('{alertname="Planned"}', 0, 5000)
    world.fire(alertname="Planned", job="backup")
    world.advance(70)
    people.acknowledge(seen, "ana", world.now)
    world.advance(30)
    world.end(alertname="Brief", service="shop", team="web")
    world.advance(900)
    world.end(alertname="Slow", service="shop", team="web")
    world.advance(2 * HOUR)
    world.fire(alertname="Slow", service="shop", team="web")
    world.advance(60)
    return world


def of(world: World, since: int = START) -> Analytics:
    return analyse(world.store, since, world.now + 1)


def test_counts_and_times() -> None:
    found = of(history())
    total = found.total
    assert (total.alerts, total.told, total.suppressed, total.ended) == (4, 4, 0, 2)
    assert (total.acknowledged, total.acted_on, total.brief) == (1, 1, 1)
    assert total.to_acknowledge is not None
    assert (total.to_acknowledge.count, total.to_acknowledge.p50) == (1, 70.0)
    assert total.to_resolve is not None
    assert (total.to_resolve.p50, total.to_resolve.longest) == (100.0, 1000.0)
    assert (total.noise.told_and_ended, total.noise.nobody_acted, total.noise.share) == (2, 1, 0.5)


def test_breakdowns() -> None:
    found = of(history())
    assert [(row.name, row.tally.alerts) for row in found.teams] == [("web", 3), ("", 1)]
    assert [(row.name, row.tally.alerts) for row in found.services] == [("shop", 3), ("backup", 1)]
    rules = {row.name: row for row in found.rules}
    assert {name: row.tally.alerts for name, row in rules.items()} == {"Slow": 2, "Brief": 1, "Planned": 1}
    assert rules["Brief"].tally.noise.share == 1.0
    assert rules["Slow"].tally.noise.share == 0.0
    (receiver,) = found.receivers
    assert receiver.delivered == found.notifications == sum(receiver.reasons.values())
    assert receiver.reasons["first"] == 3
    assert sum(row.notifications for row in found.rules) == found.notifications
    assert found.loudest[0].labels["alertname"] == "Slow"
    assert found.loudest[0].alerts == 2


def test_what_was_silenced_and_never_told_is_suppressed() -> None:
    world = World(ONE)
    world.silence('{alertname="Planned"}', 0, 50_000)
    world.fire(alertname="Planned")
    world.advance(500)
    world.end(alertname="Planned")
    world.advance(100)
    found = of(world)
    assert (found.total.alerts, found.total.told, found.total.suppressed) == (1, 0, 1)
    assert found.suppressed_by == {"silence": 1}
    assert found.total.noise.told_and_ended == 0


def test_noise_is_not_known_where_nobody_acts_on_anything() -> None:
    world = World(ONE)
    world.fire(alertname="x")
    world.advance(100)
    world.end(alertname="x")
    world.advance(100)
    found = of(world)
    assert (found.total.noise.told_and_ended, found.total.noise.share) == (1, None)
    assert "not known" in markdown(found)


def test_hours_are_of_the_zone_and_buckets_cover_the_span() -> None:
    world = history()
    found = analyse(world.store, START, world.now + 1, zone=ZoneInfo("Asia/Kolkata"), zone_name="Asia/Kolkata")
    # 1 700 000 000 is Tuesday, 2023-11-14 22:13:20 UTC: Wednesday 03:43 in Kolkata.
    assert found.by_weekday_and_hour[2][3] == 3
    assert found.by_hour[3] == 3
    assert sum(found.by_hour) == 4
    assert found.step_seconds == HOUR
    assert [bucket.start[11:16] for bucket in found.over_time] == ["22:00", "23:00", "00:00"]
    assert [bucket.tally.alerts for bucket in found.over_time] == [3, 0, 1]
    assert sum(bucket.notifications for bucket in found.over_time) == found.notifications


def test_a_notification_of_an_alert_from_before_the_span_has_its_names() -> None:
    world = World(ONE)
    world.fire(alertname="Old", service="shop")
    world.advance(20)
    since = world.now
    world.advance(700)
    found = of(world, since)
    assert (found.total.alerts, found.notifications) == (0, 1)
    assert [(row.name, row.notifications) for row in found.services] == [("shop", 1)]


def test_failed_attempts_and_lag() -> None:
    world = World(ONE)
    world.answer = lambda _key, _notification: Again("HTTP 503")
    world.fire(alertname="x")
    world.advance(15)
    world.answer = lambda _key, _notification: Delivered()
    world.advance(30)
    (receiver,) = of(world).receivers
    assert receiver.delivered == 1
    assert receiver.failed_attempts >= 1
    assert receiver.lag is not None
    assert receiver.lag.p50 > 4


def test_an_empty_history_and_an_empty_span() -> None:
    world = World(ONE)
    found = of(world)
    assert found.total.alerts == 0
    assert found.total.to_resolve is None
    assert page(found)
    with pytest.raises(RequestError):
        analyse(world.store, 5, 5)


def test_a_span_with_too_many_events_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analytics, "MAX_EVENTS", 3)
    with pytest.raises(RequestError, match="ask for less"):
        of(history())


@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_paging_gives_every_event_once_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr(recorded, "PAGE", size)
    store = SqliteStore(tmp_path / "alerting.sqlite")
    store.open()
    times = [1, 1, 1, 1, 2, 3, 3, 3, 4, 9, 9]
    events = [Event(time=at, kind="k", detail=str(n).encode()) for n, at in enumerate(times)]
    store.commit(Batch(events=events)).result(10)
    assert list(events_between(store, 0, 100)) == events
    assert list(events_between(store, 2, 9)) == events[4:9]
    store.close()


def test_nearest_rank() -> None:
    assert [nearest_rank([1.0, 2.0, 3.0, 4.0], share) for share in (0.0, 0.25, 0.5, 0.51, 0.9, 1.0)] == [
        1,
        1,
        2,
        3,
        4,
        4,
    ]


def test_labels_of_others_are_text_in_the_reports() -> None:
    world = World(ONE)
    world.fire(alertname="<script>alert(1)</script>|`x`\n# heading", service="[a](http://b)")
    world.advance(20)
    found = of(world)
    assert "<script>" not in page(found)
    text = markdown(found)
    assert "<script>" not in text.replace("\\<script\\>", "")
    assert "\n# heading" not in text
    assert "[a](http://b)" not in text


async def test_the_interface(tmp_path: Path) -> None:
    router = AlertRouter(AlertingSettings(), tmp_path, SystemClock())
    await router.start()
    try:
        app = web.Application(middlewares=[declared_errors])
        analytics_api.register_routes(app, router)
        async with served(app) as url, aiohttp.ClientSession() as session:
            async with session.get(f"{url}/api/v1/alerting/analytics?from=-1d&timezone=Europe/Berlin") as answer:
                assert answer.status == 200
                found = msgspec.json.decode(await answer.read(), type=Analytics)
                assert found.total.alerts == 0
                assert found.timezone == "Europe/Berlin"
            for form, kind in (("html", "text/html"), ("markdown", "text/markdown")):
                async with session.get(f"{url}/api/v1/alerting/report?format={form}") as answer:
                    assert (answer.status, answer.content_type) == (200, kind)
                    assert "Alerting from" in await answer.text()
            for bad in ("from=yesterday", "from=5&to=4", "to=1e30", "timezone=Nowhere/X", "timezone=../../etc/passwd"):
                async with session.get(f"{url}/api/v1/alerting/analytics?{bad}") as answer:
                    assert answer.status == 400, bad
                    assert set(await answer.json()) == {"error", "reason"}
            async with session.get(f"{url}/api/v1/alerting/report?format=pdf") as answer:
                assert answer.status == 400
    finally:
        await router.stop()
