"""Lists of alerts as API v2 shows them, fast enough for a hundred thousand.

The JSON of an alert that does not depend on the moment is kept per alert object, and alerts are immutable, so a list is
mostly joining bytes. `Listing.view` is made on the loop and is cheap; `View.alerts` and `View.groups` may run in a
thread.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from gateway.alerting.alert import Alert, sort_key
from gateway.alerting.engine import Engine
from gateway.alerting.matcher import Matcher, all_match
from gateway.alerting.moments import NEVER, format_moment
from gateway.alerting.silence import Silence
from gateway.alerting.stages import muting_interval
from gateway.telemetry.regular_expression import RegularExpression

_encode = msgspec.json.Encoder().encode
_FREE = b'"status":{"inhibitedBy":[],"mutedBy":[],"silencedBy":[],"state":"active"}}'


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for."""

    matchers: tuple[Matcher, ...] = ()
    receiver: RegularExpression | None = None
    active: bool = True
    silenced: bool = True
    inhibited: bool = True
    unprocessed: bool = True
    muted: bool = True


class Listing:
    """Keeps the rendered parts."""

    def __init__(self) -> None:
        self._parts: dict[str, tuple[Alert, bytes]] = {}

    def view(self, engine: Engine, now: int) -> View:
        """A consistent picture of the engine."""
        if len(self._parts) > 2 * len(engine.alerts) + 1000:
            self._parts = {}
        return View(self, engine, now)

    def part(self, alert: Alert) -> bytes:
        """The JSON of an alert up to and without its receivers and status; open ended."""
        known = self._parts.get(alert.fingerprint)
        if known is not None and known[0] is alert:
            return known[1]
        body: dict[str, object] = {
            "annotations": alert.annotations,
            "fingerprint": alert.fingerprint,
            "labels": alert.labels,
            "startsAt": format_moment(alert.starts),
            "updatedAt": format_moment(alert.updated),
        }
        if alert.generator_url:
            body["generatorURL"] = alert.generator_url
        if alert.ends != NEVER:
            body["endsAt"] = format_moment(alert.ends)
        part = bytes(_encode(body)[:-1])
        self._parts[alert.fingerprint] = (alert, part)
        return part


class View:
    """The alerts of one moment."""

    def __init__(self, listing: Listing, engine: Engine, now: int) -> None:
        self._listing, self._now = listing, now
        self._alerts = list(engine.alerts.values())
        self._holders = dict(engine.membership)
        self._receiver_of = {group.id: group.route.receiver for group in engine.groups.values()}
        self._groups = [
            (group.route, group.labels, list(group.members.values()))
            for group in engine.groups.values()
            if group.members
        ]
        self._silences: list[Silence] = engine.silences.active(now)
        self._inhibitor = engine.inhibitor
        self._intervals = engine.configuration.intervals
        open_end = format_moment(now + engine.configuration.resolve_timeout)
        self._open_end = b',"endsAt":"' + open_end.encode() + b'"'
        self._tails: dict[frozenset[str], bytes] = {}

    def alerts(self, selection: Selection) -> bytes:
        """`GET /alerts`, sorted by fingerprint."""
        chosen = sorted(
            (alert.fingerprint, body)
            for alert in self._alerts
            if (body := self._shown(alert, selection, "")) is not None
        )
        return b"[" + b",".join(body for _, body in chosen) + b"]"

    def groups(self, selection: Selection) -> bytes:
        """`GET /alerts/groups`, sorted by labels and receiver."""
        shown: list[tuple[tuple[object, ...], bytes]] = []
        for route, labels, members in self._groups:
            if selection.receiver is not None and not selection.receiver.fullmatch(route.receiver):
                continue
            muted = muting_interval(route, self._intervals, self._now)
            if muted and not selection.muted:
                continue
            bodies = [
                body
                for alert in sorted(members, key=sort_key)
                if (body := self._shown(alert, selection, muted)) is not None
            ]
            if bodies:
                head = b'{"alerts":[' + b",".join(bodies) + b'],"labels":' + _encode(labels)
                tail = b',"receiver":' + _encode({"name": route.receiver}) + b"}"
                shown.append(((tuple(sorted(labels.items())), route.receiver), head + tail))
        shown.sort(key=lambda entry: entry[0])
        return b"[" + b",".join(body for _, body in shown) + b"]"

    def _shown(self, alert: Alert, selection: Selection, muted: str) -> bytes | None:
        if alert.ends <= self._now:
            return None
        if selection.matchers and not all_match(selection.matchers, alert.labels):
            return None
        names = frozenset(
            self._receiver_of[holder]
            for holder in self._holders.get(alert.fingerprint, ())
            if holder in self._receiver_of
        )
        if selection.receiver is not None and not any(selection.receiver.fullmatch(name) for name in names):
            return None
        status = self._status(alert, selection, muted)
        if status is None:
            return None
        tail = self._tails.get(names)
        if tail is None:
            tail = b',"receivers":' + _encode([{"name": name} for name in sorted(names)]) + b","
            self._tails[names] = tail
        end = self._open_end if alert.ends == NEVER else b""
        return self._listing.part(alert) + end + tail + status

    def _status(self, alert: Alert, selection: Selection, muted: str) -> bytes | None:
        silenced = silenced_by(self._silences, alert.labels) if self._silences else []
        inhibited = (
            self._inhibitor.inhibitors(alert.labels, alert.fingerprint, self._now) if self._inhibitor.rules else []
        )
        if (silenced and not selection.silenced) or (inhibited and not selection.inhibited):
            return None
        if not silenced and not inhibited:
            if not selection.active:
                return None
            if not muted:
                return _FREE
        state = "suppressed" if silenced or inhibited or muted else "active"
        status = {
            "inhibitedBy": inhibited,
            "mutedBy": [muted] if muted else [],
            "silencedBy": silenced,
            "state": state,
        }
        return b'"status":' + _encode(status) + b"}"


def silenced_by(silences: Iterable[Silence], labels: Mapping[str, str]) -> list[str]:
    """Sorted ids of those among `silences` that match."""
    return sorted(silence.id for silence in silences if all_match(silence.matchers, labels))
