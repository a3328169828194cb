"""Reading the configuration again: a broken file changes nothing, and metrics say so."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import selfmetrics
from gateway.alerting.alert import made
from gateway.alerting.moments import NEVER
from gateway.alerting.router import AlertRouter
from gateway.alerting.settings import AlertingSettings
from gateway.clock import SystemClock
from gateway.errors import ConfigError
from tests.conformance.alertmanager.peers import Receiver, eventually, our_router

CONFIGURATION = """
route: {receiver: a, group_by: [alertname], group_wait: 0s, group_interval: 1s}
receivers: [{name: a, webhook_configs: [{url: 'BASE/a'}]}]
"""


def told_well() -> bool:
    found = [line for line in selfmetrics.exposition().decode().splitlines() if "last_reload_successful " in line]
    return found[-1].endswith(" 1.0")


async def test_a_broken_file_is_refused_and_what_was_loaded_goes_on(tmp_path: Path) -> None:
    async with Receiver().running() as receiver:
        text = CONFIGURATION.replace("BASE", receiver.url)
        async with our_router(tmp_path, text) as (_, router):
            assert told_well()
            path = tmp_path / "alertmanager.yml"
            for broken in ("route: {receiver: b}\nreceivers: [{name: a}]", "", "{", "a: b"):
                path.write_text(broken)
                with pytest.raises(ConfigError):
                    await router.reload()
                assert not told_well()
                assert router.configuration.original == text
            path.unlink()
            with pytest.raises(ConfigError):
                await router.reload()
            path.write_text(text.replace("/a'", "/other'"))
            await router.reload()
            assert told_well()
            await _fire(router)
            await eventually(lambda: receiver.told.get("other"))
            assert set(receiver.told) == {"other"}


async def _fire(router: AlertRouter) -> None:

    now = SystemClock().time_ns()
    await router.post_alerts([made({"alertname": "x"}, {}, starts=now, ends=NEVER, now=now)])


def test_settings_are_read_when_the_router_is_made(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        AlertRouter(AlertingSettings(config_file=str(tmp_path / "absent.yml")), tmp_path, SystemClock())
