"""Maintenance windows: muting, recurrence on the wall clock, ends, restarts; the interface, and suppressions' list."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from aiohttp import web

from gateway.alerting.explain import present
from gateway.alerting.maintenance import Maintenance, Window
from gateway.alerting.matcher import Matcher, parse_matchers
from gateway.alerting.moments import NEVER, SECOND
from gateway.alerting.mute_interval import IntervalPart
from gateway.alerting.people import People
from gateway.alerting.recovery import restore
from gateway.alerting.router import AlertRouter
from gateway.alerting.settings import AlertingSettings, NotificationBudget
from gateway.alerting.store import MAINTENANCE
from gateway.clock import SystemClock
from gateway.errors import NotFound, RequestError
from gateway.selfmetrics import REGISTRY
from gateway.web import alerting_api, alertmanager_api, maintenance_api
from gateway.web.json_api import declared_errors
from tests.conformance.alertmanager.peers import Receiver, eventually, served
from tests.gateway.alerting.test_overflow import EACH
from tests.gateway.alerting.test_properties import ONE
from tests.gateway.alerting.virtual import EPOCH, World


def window(starts: float, ends: float | None, matchers: str = '{alertname="x"}', **more: Any) -> Window:
    return Window(
        id=more.pop("id", ""),
        name="upgrade",
        matchers=parse_matchers(matchers),
        starts=round((EPOCH + starts) * SECOND),
        ends=NEVER if ends is None else round((EPOCH + ends) * SECOND),
        **more,
    )


def test_a_window_mutes_from_its_start_to_its_end_and_then_what_fires_is_told() -> None:
    world = World(ONE)
    maintenance = Maintenance(world.engine)
    made = maintenance.put(window(0, 600), world.now)
    one = world.fire(alertname="x")
    world.fire(alertname="y")
    world.advance(500)
    assert [told.notification.alerts[0].name for told in world.told] == ["y"]
    shown = present(world.engine, People(world.engine), one, world.now, maintenance=maintenance)
    assert shown is not None
    assert shown["routes"][0]["verdict"] == f"muted: maintenance {made}"
    assert [found["name"] for found in shown["maintenance"]] == ["upgrade"]
    world.advance(200)
    assert [told.at >= 600 for told in world.told if told.firing == {one}] == [True]


def test_what_was_told_before_a_window_and_still_fires_is_told_again_after_it() -> None:
    world = World(ONE)
    maintenance = Maintenance(world.engine)
    one = world.fire(alertname="x")
    world.advance(100)
    made = maintenance.put(window(100, 100_000), world.now)
    world.advance(400)
    assert len(world.told) == 1
    maintenance.expire(made, world.now)
    maintenance.expire(made, world.now)
    world.advance(70)
    assert [told.firing for told in world.told] == [{one}, {one}]


def test_recurring_windows_follow_the_wall_clock_of_their_place() -> None:
    start = datetime(2026, 3, 27, tzinfo=UTC)
    nightly = Window(
        id="w",
        name="backup",
        matchers=parse_matchers('{alertname="x"}'),
        starts=round(start.timestamp()) * SECOND,
        recurring=(IntervalPart(times=((120, 240),), location="Europe/Rome"),),
    )
    held = [
        moment for moment in (start + timedelta(minutes=n) for n in range(4 * 1440))
        if nightly.holds(round(moment.timestamp()) * SECOND)
    ]  # fmt: skip
    by_day: dict[int, list[datetime]] = {}
    for moment in held:
        by_day.setdefault(moment.day, []).append(moment)
    # 29 March is the night of the clock change: 02:00 to 03:00 does not occur in Rome.
    assert {day: len(moments) for day, moments in by_day.items()} == {27: 120, 28: 120, 29: 60, 30: 120}
    assert (by_day[28][0].hour, by_day[30][0].hour) == (1, 0)


def test_a_recurring_window_ends_by_itself_and_survives_a_crash() -> None:
    world = World(EACH)
    maintenance = Maintenance(world.engine)
    at = datetime.fromtimestamp(EPOCH, UTC)
    minute = at.hour * 60 + at.minute
    parts = (IntervalPart(times=((minute, minute + 20),)),)
    maintenance.put(window(0, None, recurring=parts), world.now)
    one = world.fire(alertname="x")
    world.advance(300)
    world.engine = world._engine()
    maintenance = Maintenance(world.engine)
    for _, body in world.store.records(MAINTENANCE):
        maintenance.load(msgspec.json.decode(body, type=Window), world.now)
    restore(world.engine, world.store, world.now, grace=0)
    world.advance(600)
    assert not world.told
    world.advance(400)
    assert [told.firing for told in world.told] == [{one}]
    world.advance(24 * 3600 - 1000)
    assert next(iter(maintenance)).state(world.now) == "active"


def test_windows_that_are_over_are_kept_as_long_as_rows_of_their_time_may_come() -> None:
    day = 86_400
    for retention_days in (5, 40):
        world = World(ONE)
        maintenance = Maintenance(world.engine, retention=retention_days * day * SECOND)
        maintenance.put(window(0, 600), world.now)
        maintenance.tick(round((EPOCH + (retention_days - 1) * day) * SECOND))
        assert len(list(maintenance)) == 1
        maintenance.tick(round((EPOCH + (retention_days + 1) * day) * SECOND))
        assert list(maintenance) == []


@pytest.mark.parametrize(
    "wanted",
    [
        window(0, None),
        window(0, -5),
        window(10, 5),
        window(0, 10, '{alertname=~".*"}'),
        msgspec.structs.replace(window(0, 10), name=" "),
        msgspec.structs.replace(window(0, 10), name="\u200b\u2060\u3164"),
        msgspec.structs.replace(window(0, 10), name="x" * 1025),
        msgspec.structs.replace(window(0, 10), matchers=()),
        window(0, 10, comment="x" * 20_000),
        window(0, 10, created_by="x" * 20_000),
        window(0, None, recurring=(IntervalPart(),) * 201),
        window(0, None, recurring=(IntervalPart(times=((0, 60),) * 201),)),
    ],
)
def test_windows_that_nobody_can_mean_are_refused(wanted: Window) -> None:
    world = World(ONE)
    with pytest.raises(RequestError):
        Maintenance(world.engine).put(wanted, world.now)
    with pytest.raises(NotFound):
        Maintenance(world.engine).expire("none", world.now)


def test_many_windows_are_not_asked_again_for_every_alert(monkeypatch: pytest.MonkeyPatch) -> None:
    maintenance = Maintenance(World(ONE).engine)
    now = round(EPOCH * SECOND)
    for number in range(50):
        maintenance.put(window(0, 600, f'{{service=~"shop-{number}|x{number}"}}'), now)
    asked = 0
    matches = Matcher.matches

    def counting(matcher: Matcher, labels: Mapping[str, str]) -> bool:
        nonlocal asked
        asked += 1
        return matches(matcher, labels)

    monkeypatch.setattr(Matcher, "matches", counting)
    for number in range(100):
        assert len(maintenance.muting({"service": "shop-7", "instance": f"{number}"}, now)) == 1
    assert asked <= 50
    assert maintenance.index(now) is maintenance.index(now + SECOND), "lists ask for it in every slice of their work"


def test_what_mutes_follows_every_change_and_a_clock_that_steps_back() -> None:
    world = World(ONE)
    maintenance, labels = Maintenance(world.engine), {"alertname": "x"}
    first = maintenance.put(window(0, 600), world.now)

    def muting(seconds: float) -> list[str]:
        return [found.id for found in maintenance.muting(labels, round((EPOCH + seconds) * SECOND))]

    assert muting(700) == []
    assert muting(0) == [first], "the clock went back"
    second = maintenance.put(window(0, 900, '{alertname=~"x|y"}'), world.now)
    assert muting(1) == sorted([first, second])
    maintenance.put(window(0, 600, '{alertname="z"}', id=first), world.now)
    assert muting(1) == [second]
    maintenance.expire(second, world.now)
    assert muting(1) == []
    maintenance.load(window(0, 50, id="kept"), world.now)
    assert muting(1) == ["kept"]


def test_the_number_of_windows_is_bounded_and_those_that_are_over_make_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.alerting.maintenance.MOST", 3)
    world = World(ONE)
    maintenance = Maintenance(world.engine)
    ids = [maintenance.put(window(0, 600 - number), world.now) for number in range(3)]
    with pytest.raises(RequestError, match="3 maintenance windows already"):
        maintenance.put(window(0, 600), world.now)
    maintenance.put(window(0, 700, id=ids[0]), world.now)
    maintenance.expire(ids[1], world.now)
    world.advance(1)
    made = maintenance.put(window(0, 600), world.now)
    assert {found.id for found in maintenance} == {ids[0], ids[2], made}


async def test_interface(tmp_path: Path) -> None:
    async with Receiver().running() as receiver:
        path = tmp_path / "alertmanager.yml"
        path.write_text(EACH.replace("http://one/", f"{receiver.url}/hook").replace("10s", "0s"))
        settings = AlertingSettings(
            config_file=str(path), budgets=(NotificationBudget(receiver="one", notifications=1),)
        )
        router = AlertRouter(settings, tmp_path / "state", SystemClock())
        await router.start()
        app = web.Application(middlewares=[declared_errors])
        for api in (alertmanager_api, alerting_api, maintenance_api):
            api.register_routes(app, router)
        try:
            async with served(app) as url, aiohttp.ClientSession() as session:

                async def call(method: str, path: str, body: Any = None) -> tuple[int, Any]:
                    async with session.request(method, f"{url}/api/{path}", json=body) as answer:
                        text = await answer.text()
                        return answer.status, msgspec.json.decode(text) if text else None

                body = {"name": "db", "by": "ana", "matchers": ['alertname="muted"']}
                assert (await call("POST", "v1/maintenance", body))[0] == 400
                assert (await call("POST", "v1/maintenance", {**body, "recurring": [{"times": 5}]}))[0] == 400
                status, answer = await call("POST", "v1/maintenance", {**body, "recurring": [{}] * 10_000})
                assert (status, answer["error"]) == (400, '"recurring" has more than 16384 bytes')
                for name, said in (("x" * 100_000, "1024 is the limit"), ("\u200b", "can be seen")):
                    status, refusal = await call(
                        "POST", "v1/maintenance", {**body, "name": name, "end": "2099-01-01T00:00:00Z"}
                    )
                    assert (status, said in str(refusal)) == (400, True)
                night = {"times": [{"start_time": "00:00", "end_time": "24:00"}], "location": "Europe/Rome"}
                status, made = await call("POST", "v1/maintenance", {**body, "recurring": [night]})
                assert (status, made["state"], made["recurring"]) == (201, "active", [night])
                posted = [{"labels": {"alertname": name}} for name in ("muted", "a", "b")]
                assert (await call("POST", "v2/alerts", posted))[0] == 200
                await eventually(lambda: receiver.told.get("hook"))
                await eventually(lambda: len(list(router.fatigue.digests)) == 1)
                _, alerts = await call("GET", "v2/alerts")
                muted = {one["labels"]["alertname"]: one["status"] for one in alerts}
                assert muted["muted"]["state"] == "suppressed"
                assert muted["muted"]["mutedBy"] == [f"maintenance {made['id']}"]
                _, shown = await call("GET", "v1/suppressions")
                assert shown["counts"] == {"budget": 1, "maintenance": 1}
                (held,) = [one for one in shown["suppressions"] if one["kind"] == "budget"]
                _, explained = await call("GET", f"v1/alerts/{alerts[0]['fingerprint']}/explain")
                assert explained["now"]["routes"][0]["verdict"]
                assert (await call("POST", f"v1/suppressions/{held['id']}/release", {"by": ""}))[0] == 400
                assert (await call("POST", f"v1/suppressions/{held['id']}/release", {"by": "ana"}))[0] == 200
                assert (await call("POST", f"v1/suppressions/{held['id']}/release", {"by": "ana"}))[0] == 404
                await eventually(lambda: len(receiver.told["hook"]) == 2)
                put = {**body, "end": "2999-01-01T00:00:00Z", "comment": "longer"}
                assert (await call("PUT", f"v1/maintenance/{made['id']}", put))[1]["comment"] == "longer"
                assert (await call("DELETE", f"v1/maintenance/{made['id']}"))[1]["state"] == "expired"
                assert (await call("DELETE", "v1/maintenance/none"))[0] == 404
                assert [one["id"] for one in (await call("GET", "v1/maintenance"))[1]] == [made["id"]]
            assert REGISTRY.get_sample_value("gateway_alerting_suppressed_total", {"kind": "budget"})
        finally:
            await router.stop()
