"""What people do to alerts, silences, windows and incident groups: each act is on disk when its call returns.

All of them raise NotFound for what is not there, DiskFailed where the store could not write, ShuttingDown; what else is
said at each. They run on the loop that owns the engine.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Final

from gateway.alerting.callbacks import SNOOZE_SECONDS, Press
from gateway.alerting.engine import Engine
from gateway.alerting.fatigue import Fatigue
from gateway.alerting.incident_group import Act
from gateway.alerting.incidents import Incidents
from gateway.alerting.maintenance import Maintenance, Window
from gateway.alerting.moments import SECOND
from gateway.alerting.people import People
from gateway.alerting.silence import Silence
from gateway.clock import Clock
from gateway.errors import Conflict, NotFound

AT_ONCE: Final = 64
"""Alerts handled before the loop has its turn."""


class Acts:
    """See the head of the file. `commit` returns when everything changed is on disk; `wake` lets the timers and the
    channels look at what is due now."""

    def __init__(
        self,
        engine: Engine,
        people: People,
        maintenance: Maintenance,
        incidents: Incidents,
        fatigue: Fatigue,
        clock: Clock,
        *,
        commit: Callable[[], Awaitable[None]],
        wake: Callable[[], None],
    ) -> None:
        self._engine, self._people, self._maintenance = engine, people, maintenance
        self._incidents, self._fatigue, self._clock = incidents, fatigue, clock
        self._commit, self._wake = commit, wake

    # Muting

    async def set_silence(self, silence: Silence) -> str:
        """Creates (empty id) or edits a silence; gives its id. Raises NotFound, RequestError, DiskFailed."""
        silence_id = self._engine.silencing.set(silence, self._clock.time_ns())
        await self._commit()
        self._wake()
        return silence_id

    async def expire_silence(self, silence_id: str) -> None:
        """Ends a silence; idempotent. Raises NotFound, DiskFailed."""
        self._engine.silencing.expire(silence_id, self._clock.time_ns())
        await self._commit()
        self._wake()

    async def set_maintenance(self, window: Window) -> str:
        """Creates (empty id) or replaces a window; gives its id. Raises NotFound, RequestError, DiskFailed."""
        window_id = self._maintenance.put(window, self._clock.time_ns())
        await self._commit()
        self._wake()
        return window_id

    async def expire_maintenance(self, window_id: str) -> None:
        """Ends a maintenance window; idempotent. Raises NotFound, DiskFailed."""
        self._maintenance.expire(window_id, self._clock.time_ns())
        await self._commit()
        self._wake()

    async def release(self, suppression: str, who: str) -> int:
        """Takes back a suppression, see `Fatigue.release`. Raises NotFound, DiskFailed."""
        released = self._fatigue.release(suppression, who, self._clock.time_ns())
        await self._commit()
        self._wake()
        return released

    # Alerts

    async def acknowledge(self, fingerprint: str, who: str, note: str = "") -> None:
        """Raises NotFound, Conflict, DiskFailed; as do the following."""
        now = self._clock.time_ns()
        self._people.acknowledge(fingerprint, who, now, note)
        self._show(fingerprint, now)
        await self._commit()
        self._wake()

    async def unacknowledge(self, fingerprint: str, who: str) -> None:
        """Takes an acknowledgement back."""
        now = self._clock.time_ns()
        self._people.unacknowledge(fingerprint, who, now)
        self._show(fingerprint, now)
        await self._commit()
        self._wake()

    def _show(self, fingerprint: str, now: int) -> None:
        for name in self._engine.membership.get(fingerprint, ()):
            self._engine.dispatcher.renew(self._engine.groups[name], now)

    async def press(self, press: Press) -> int:
        """Does to all that fires in a group what somebody pressed a button for; gives the number of alerts."""
        group = self._engine.groups.get(press.group_id)
        if group is None:
            raise NotFound("nothing fires there any more")
        now, done = self._clock.time_ns(), 0
        for number, fingerprint in enumerate(list(group.members), 1):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            with contextlib.suppress(NotFound, Conflict):  # it has ended
                if press.action == "acknowledge":
                    self._people.acknowledge(fingerprint, press.who, now)
                elif press.action == "snooze":
                    self._people.snooze(fingerprint, press.who, now + round(SNOOZE_SECONDS * SECOND), now)
                else:
                    self._people.resolve(fingerprint, press.who, now)
                done += 1
        if press.action == "acknowledge":
            self._engine.dispatcher.renew(group, now)
        await self._commit()
        self._wake()
        return done

    async def snooze(self, fingerprint: str, who: str, seconds: float, note: str = "") -> None:
        """Mutes one alert for a while."""
        now = self._clock.time_ns()
        self._people.snooze(fingerprint, who, now + round(seconds * SECOND), now, note)
        await self._commit()

    async def unsnooze(self, fingerprint: str, who: str) -> None:
        """Ends a snooze."""
        self._people.unsnooze(fingerprint, who, self._clock.time_ns())
        await self._commit()

    async def resolve(self, fingerprint: str, who: str, note: str = "") -> None:
        """Ends an alert by hand."""
        self._people.resolve(fingerprint, who, self._clock.time_ns(), note)
        await self._commit()
        self._wake()

    async def comment(self, fingerprint: str, who: str, text: str) -> None:
        """Adds a line to the alert's history."""
        self._people.comment(fingerprint, who, text, self._clock.time_ns())
        await self._commit()

    # Incident groups

    async def merge_incidents(self, target: str, sources: list[str], who: str, note: str = "") -> Act:
        """A person says that these are one incident. Raises NotFound, Conflict, RequestError, DiskFailed."""
        act = self._incidents.regrouping.merge(target, sources, who, self._clock.time_ns(), note)
        await self._commit()
        return act

    async def split_incident(self, source: str, fingerprints: list[str], who: str, note: str = "") -> Act:
        """A person says that these alerts are another incident; `target` of the act names it."""
        act = self._incidents.regrouping.split(source, fingerprints, who, self._clock.time_ns(), note)
        await self._commit()
        return act

    async def undo_incident(self, group: str, who: str) -> Act:
        """Takes back what a person last did to a group."""
        act = self._incidents.regrouping.undo(group, who, self._clock.time_ns())
        await self._commit()
        return act
