"""What couriers promise, over a real router and a real store."""

from __future__ import annotations

import asyncio
from pathlib import Path

from gateway.alerting.alert import made
from gateway.alerting.moments import NEVER, SECOND
from gateway.alerting.notification import Delivered, Notification, Outcome
from gateway.alerting.outbox import SlotRecord
from gateway.alerting.router import AlertRouter
from gateway.alerting.settings import AlertingSettings
from gateway.alerting.store import OUTBOX, decoded
from gateway.clock import Clock, SystemClock
from tests.conformance.alertmanager.peers import eventually

ROUTE = """
route: {receiver: r, group_by: [alertname], group_wait: 1ms}
receivers: [{name: r, webhook_configs: [{url: 'http://127.0.0.1:9/'}]}]
"""


class Looking:
    """A channel that looks into the store while it tells."""

    concurrency = 1

    def __init__(self) -> None:
        self.router: AlertRouter | None = None
        self.seen: list[list[str]] = []
        self.raises = 0

    async def send(self, _notification: Notification) -> Outcome:
        if self.raises:
            self.raises -= 1
            raise RuntimeError("a mistake of the channel")
        assert self.router is not None
        records = await asyncio.to_thread(lambda store: dict(decoded(store, OUTBOX, SlotRecord)), self.router.store)
        self.seen += [record.firing for record in records.values()]
        return Delivered()


async def run(directory: Path, channel: Looking, clock: Clock | None = None, group_wait: str = "1ms") -> AlertRouter:
    path = directory / "alertmanager.yml"
    path.write_text(ROUTE.replace("1ms", group_wait))
    settings = AlertingSettings(config_file=str(path))
    router = AlertRouter(settings, directory, clock or SystemClock(), channels=lambda *_: {"r/webhook/0": channel})
    channel.router = router
    await router.start()
    now = router.clock.time_ns()
    await router.post_alerts([made({"alertname": "x"}, {}, starts=now, ends=NEVER, now=now)])
    return router


async def test_what_is_told_is_on_disk_before_it_is_sent(tmp_path: Path) -> None:
    # Otherwise a crash right after the sending would leave nobody who knows that an end is owed.
    channel = Looking()
    router = await run(tmp_path, channel)
    await eventually(lambda: channel.seen or not len(router.engine.outbox))
    await eventually(lambda: not len(router.engine.outbox))
    assert channel.seen == [[name] for name in router.engine.alerts]
    await router.stop()


async def test_a_channel_that_fails_unexpectedly_is_tried_again(tmp_path: Path) -> None:
    channel = Looking()
    channel.raises = 1
    router = await run(tmp_path, channel)
    await eventually(lambda: channel.seen and not len(router.engine.outbox))
    await router.commit()
    kinds = [event.kind for event in router.store.history(kinds=("retry", "delivered"), newest_first=False)]
    assert kinds == ["retry", "delivered"]
    await router.stop()


class PutBack(SystemClock):
    """A wall clock that somebody puts back."""

    behind = 0

    def time_ns(self) -> int:
        return super().time_ns() - self.behind


async def test_a_clock_that_is_put_back_under_way_delays_no_page(tmp_path: Path) -> None:
    channel, clock = Looking(), PutBack()
    router = await run(tmp_path, channel, clock, group_wait="500ms")
    clock.behind = 3600 * SECOND
    await eventually(lambda: channel.seen)
    await router.stop()
