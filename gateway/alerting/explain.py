"""Why somebody was, or was not, told of an alert: its whole way through the router, from state and history.

The answer has the alert, each route it took with its group, what mutes it now, what each receiver was last told, what
is on its way, and the history in the order it happened.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from gateway.alerting.digest import Digests, digest_key
from gateway.alerting.engine import Engine
from gateway.alerting.group import Group
from gateway.alerting.maintenance import Maintenance
from gateway.alerting.moments import NEVER, format_moment
from gateway.alerting.people import People
from gateway.alerting.store import Event, Store

MAX_EVENTS: Final = 500
_MOMENTS: Final = frozenset({"starts", "ends", "due", "next_flush", "until"})


def present(
    engine: Engine,
    people: People,
    fingerprint: str,
    now: int,
    *,
    maintenance: Maintenance | None = None,
    digests: Digests | None = None,
) -> dict[str, Any] | None:
    """What holds now; None if the alert is not known. Reads the engine: call it on the loop."""
    alert = engine.alerts.get(fingerprint)
    if alert is None:
        return None
    handling = people.get(fingerprint)
    groups = [engine.groups[name] for name in sorted(engine.membership.get(fingerprint, ())) if name in engine.groups]
    return {
        "labels": alert.labels,
        "annotations": alert.annotations,
        "state": "firing" if alert.active(now) else "resolved",
        "startsAt": format_moment(alert.starts),
        "endsAt": None if alert.ends == NEVER else format_moment(alert.ends),
        "endAssumed": alert.assumed_end,
        "origin": alert.origin,
        "acknowledgedBy": handling.acknowledged_by if handling else "",
        "snoozedUntil": format_moment(handling.snoozed_until) if handling and handling.snoozed_until else None,
        "silencedBy": engine.silences.muting(alert.labels, now),
        "inhibitedBy": engine.inhibitor.inhibitors(alert.labels, fingerprint, now),
        "maintenance": [
            {"id": window.id, "name": window.name, "end": None if window.ends == NEVER else format_moment(window.ends)}
            for window in (maintenance.muting(alert.labels, now) if maintenance is not None else ())
        ],
        "routes": [_route(engine, digests, group, fingerprint, now) for group in groups],
    }


def _route(engine: Engine, digests: Digests | None, group: Group, fingerprint: str, now: int) -> dict[str, Any]:
    receivers = []
    for integration in engine.configuration.receivers[group.route.receiver]:
        entry = engine.log.get(group.key, integration.key)
        slot = engine.outbox.get(group.key, integration.key)
        held = digests.get(group, integration.key) if digests is not None else None
        digest = engine.log.get(digest_key(held.kind, held.integration), held.integration) if held else None
        receivers.append(
            {
                "integration": integration.key,
                "toldFiring": entry is not None and fingerprint in entry.firing,
                "toldResolved": entry is not None and fingerprint in entry.resolved,
                "perhapsTold": entry is not None and fingerprint in entry.doubtful,
                "lastToldAt": format_moment(entry.at) if entry is not None else None,
                "heldBack": None
                if held is None or held.released_by
                else {
                    "kind": held.kind,
                    "reason": held.reason,
                    "since": format_moment(held.since),
                    "toldInDigest": digest is not None and fingerprint in digest.believed,
                    "release": f"POST /api/v1/suppressions/{held.id}/release",
                },
                "onItsWay": None
                if slot is None
                else {
                    "attempts": slot.attempts,
                    "nextAttempt": format_moment(slot.due),
                    "lastError": slot.last_error,
                    "lagSeconds": (now - slot.created) / 1e9,
                },
            }
        )
    return {
        "route": group.route.key,
        "receiver": group.route.receiver,
        "groupKey": group.key,
        "groupLabels": group.labels,
        "members": len(group.members),
        "mutedAtLastFlush": group.muted.get(fingerprint),
        "lastFlush": format_moment(group.last_flush) if group.last_flush else None,
        "nextFlush": format_moment(group.next_flush),
        "receivers": receivers,
        "verdict": _verdict(group, fingerprint, receivers),
    }


def _verdict(group: Group, fingerprint: str, receivers: list[dict[str, Any]]) -> str:
    if not receivers:
        return "the receiver has no channels: nobody is told"
    if fingerprint in group.muted:
        return f"muted: {group.muted[fingerprint]}"
    if not group.flushed:
        return f"waits for the end of the group wait at {format_moment(group.next_flush)}"
    if all(receiver["toldFiring"] or receiver["toldResolved"] for receiver in receivers):
        return "told"
    held = [receiver for receiver in receivers if receiver["heldBack"]]
    if held:
        digested = all(receiver["heldBack"]["toldInDigest"] for receiver in held)
        return (
            f"held back, {'told in a digest' if digested else 'waits for the digest'}: {held[0]['heldBack']['reason']}"
        )
    waiting = [receiver for receiver in receivers if receiver["onItsWay"]]
    if waiting:
        return f"on its way to {', '.join(receiver['integration'] for receiver in waiting)}"
    return f"decided anew at {format_moment(group.next_flush)}"


def past(store: Store, fingerprint: str) -> list[dict[str, Any]]:
    """The history of an alert and of the notifications that told of it, oldest first. Waits for the disk."""
    own = store.history(fingerprint=fingerprint, limit=MAX_EVENTS)[::-1]
    shown = {(event.time, event.kind, event.detail): _shown(event) for event in own}
    notified: set[str] = set()
    for group in sorted({event.group for event in own if event.group}):
        since = min(event.time for event in own if event.group == group)
        events = store.history(group=group, since=since, limit=MAX_EVENTS, newest_first=False)
        for event in events:
            detail = msgspec.json.decode(event.detail)
            if event.kind == "notifying" and fingerprint in (*detail["firing"], *detail["resolved"]):
                notified.add(detail["id"])
            if detail.get("id") in notified and not event.fingerprint:
                line = _shown(event)
                for key in ("firing", "resolved"):
                    if key in line:
                        line[f"{key}_count"] = len(line.pop(key))
                line["told_as"] = "firing" if fingerprint in detail.get("firing", ()) else "resolved"
                if event.kind != "notifying":
                    del line["told_as"]
                shown[event.time, event.kind, event.detail] = line
    return [line for _, line in sorted(shown.items(), key=lambda item: item[0][0])]


def _shown(event: Event) -> dict[str, Any]:
    detail = msgspec.json.decode(event.detail)
    for name in _MOMENTS & set(detail):
        detail[name] = None if detail[name] == NEVER else format_moment(detail[name])
    line = {"time": format_moment(event.time), "event": event.kind, **detail}
    if event.group:
        line["group"] = event.group
    return line
