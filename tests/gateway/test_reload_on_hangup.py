"""SIGHUP to a role whose reload fails: the next one is answered all the same."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from gateway import selfmetrics
from gateway.app import RoleProcess, _reload_on
from gateway.errors import ConfigError
from gateway.owned_tasks import end_tasks


class Role:
    """Fails at its first reload."""

    def __init__(self, error: Exception) -> None:
        self._errors = [error]
        self.called, self.reloaded = asyncio.Event(), asyncio.Event()

    async def reload(self) -> None:
        self.called.set()
        if self._errors:
            raise self._errors.pop()
        self.reloaded.set()


@pytest.mark.parametrize(("error", "counted"), [(ConfigError("no"), 0), (ValueError("unexpected"), 1)])
async def test_a_reload_that_fails_leaves_the_next_one_possible(error: Exception, counted: int) -> None:
    role, hangup = Role(error), asyncio.Event()
    before = selfmetrics.TASK_FAILURES.labels("reload")._value.get()
    task = asyncio.create_task(_reload_on(hangup, cast(RoleProcess, role)), name="reload-on-hangup")
    async with asyncio.timeout(10):
        hangup.set()
        await role.called.wait()
        hangup.set()
        await role.reloaded.wait()
    assert selfmetrics.TASK_FAILURES.labels("reload")._value.get() == before + counted
    await end_tasks(task)
