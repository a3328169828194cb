"""Everything that is not told now although it fires, why, since when, and how a person takes it back."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final

from gateway.alerting.alert import Alert
from gateway.alerting.digest import digest_key
from gateway.alerting.engine import Engine
from gateway.alerting.fatigue import Fatigue, lowered_id
from gateway.alerting.group import Group
from gateway.alerting.moments import format_moment
from gateway.alerting.stages import kind_of

_RELEASE = {
    "silence": "DELETE /api/v2/silence/{}",
    "maintenance": "DELETE /api/v1/maintenance/{}",
}


STEP: Final = 256
"""Alerts looked at before a piece is given."""


class Tally:
    """Counts by kind, and the first `limit` suppressions in full."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.counts: Counter[str] = Counter()
        self.shown: list[dict[str, Any]] = []

    def add(self, kind: str, show: Callable[[], dict[str, Any]]) -> None:
        """One more."""
        self.counts[kind] += 1
        if len(self.shown) < self._limit:
            self.shown.append(show())


def walk(engine: Engine, fatigue: Fatigue, now: int, tally: Tally) -> Iterator[None]:
    """Counts everything that is suppressed, in steps of `STEP` between which the loop may run. Reads the engine: call
    it on the loop. A group that changes meanwhile is shown as it is when its turn comes."""
    steps = 0
    for one in itertools.chain(_held(engine, fatigue, now), _lowered(fatigue)):
        tally.add(one["kind"], partial(dict, one))
        steps += 1
        if steps % STEP == 0:
            yield
    kinds: dict[str, str] = {}
    for number, name in enumerate(list(engine.groups)):
        if number % STEP == STEP - 1:
            yield
        group = engine.groups.get(name)
        if group is None or not group.muted:
            continue
        # A flush puts another dictionary in this one's place and does not change it.
        for fingerprint, reason in group.muted.items():
            steps += 1
            if steps % STEP == 0:
                yield
            alert = group.members.get(fingerprint)
            if alert is None or alert.ends <= now:
                continue
            kind = kinds.get(reason)
            if kind is None:
                kind = kinds[reason] = kind_of(reason)
            tally.add(kind, partial(_muted, group, alert, kind, reason))


async def present_suppressions(engine: Engine, fatigue: Fatigue, now: int, limit: int) -> dict[str, Any]:
    """Counts by kind, and at most `limit` suppressions."""
    tally = Tally(limit)
    for _ in walk(engine, fatigue, now, tally):
        await asyncio.sleep(0)
    storm = fatigue.storm.state
    return {
        "counts": dict(sorted(tally.counts.items())),
        "storm": {
            "active": bool(storm.since),
            "since": format_moment(storm.since) if storm.since else None,
            "newGroupsLastMinute": fatigue.storm.rate(now),
            "usualPerMinute": round(storm.usual, 2),
        },
        "suppressions": tally.shown,
    }


def _held(engine: Engine, fatigue: Fatigue, now: int) -> Iterator[dict[str, Any]]:
    for held in list(fatigue.digests):
        group = engine.groups.get(held.group_id)
        if held.released_by or group is None:
            continue
        digest = engine.log.get(digest_key(held.kind, held.integration), held.integration)
        told = digest.believed if digest is not None else set()
        firing = [alert.fingerprint for alert in group.members.values() if alert.active(now)]
        yield {
            "id": held.id,
            "kind": held.kind,
            "reason": held.reason,
            "since": format_moment(held.since),
            "integration": held.integration,
            "groupKey": held.group_key,
            "alerts": len(firing),
            "toldInDigest": any(fingerprint in told for fingerprint in firing),
            "release": f"POST /api/v1/suppressions/{held.id}/release",
        }


def _lowered(fatigue: Fatigue) -> Iterator[dict[str, Any]]:
    for one in list(fatigue.ignored):
        yield {
            "id": lowered_id(one.fingerprint),
            "kind": "lowered",
            "reason": f"told {one.times} times and nobody acted on it",
            "since": format_moment(one.since),
            "fingerprint": one.fingerprint,
            "alertname": one.name,
            "release": f"POST /api/v1/suppressions/{lowered_id(one.fingerprint)}/release",
        }


def _muted(group: Group, alert: Alert, kind: str, reason: str) -> dict[str, Any]:
    name = reason.partition(" ")[2]
    release = _RELEASE[kind].format(name) if kind in _RELEASE else None
    if kind == "snooze":
        release = f"POST /api/v1/alerts/{alert.fingerprint}/unsnooze"
    return {
        "kind": kind,
        "reason": reason,
        "since": None,
        "fingerprint": alert.fingerprint,
        "alertname": alert.name,
        "groupKey": group.key,
        "receiver": group.route.receiver,
        "release": release,
    }
