"""Everything that is not told now although it fires, why, since when, and how a person takes it back."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from typing import Any

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


def present_suppressions(engine: Engine, fatigue: Fatigue, now: int, limit: int) -> dict[str, Any]:
    """Counts by kind, and at most `limit` suppressions. Reads the engine: call it on the loop."""
    counts: Counter[str] = Counter()
    shown: list[dict[str, Any]] = []
    for one in itertools.chain(_held(engine, fatigue, now), _lowered(fatigue)):
        counts[one["kind"]] += 1
        if len(shown) < limit:
            shown.append(one)
    kinds: dict[str, str] = {}
    for group in engine.groups.values():
        for fingerprint, reason in group.muted.items():
            alert = group.members.get(fingerprint)
            if alert is None or alert.ends <= now:
                continue
            kind = kinds.get(reason)
            if kind is None:
                kind = kinds[reason] = kind_of(reason)
            counts[kind] += 1
            if len(shown) < limit:
                shown.append(_muted(group, alert, kind, reason))
    storm = fatigue.storm.state
    return {
        "counts": dict(sorted(counts.items())),
        "storm": {
            "active": bool(storm.since),
            "since": format_moment(storm.since) if storm.since else None,
            "newGroupsLastMinute": fatigue.storm.rate(now),
            "usualPerMinute": round(storm.usual, 2),
        },
        "suppressions": shown,
    }


def _held(engine: Engine, fatigue: Fatigue, now: int) -> Iterator[dict[str, Any]]:
    for held in fatigue.digests:
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
    for one in fatigue.ignored:
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
