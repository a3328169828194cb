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
        self._plain: dict[str, tuple[Alert, tuple[str, ...], bytes]] = {}
        self._order: list[str] = []
        self._order_of = -1

    def view(self, engine: Engine, now: int) -> View:
        """A consistent picture of the engine."""
        if len(self._parts) > 2 * len(engine.alerts) + 1000:
            self._parts, self._plain = {}, {}
        return View(self, engine, now)

    def order(self, alerts: Mapping[str, Alert], population: int) -> list[str]:
        """The fingerprints in order."""
        if self._order_of != population:
            self._order, self._order_of = sorted(alerts), population
        return self._order

    def plain(
        self, alerts: Mapping[str, Alert], receivers: Mapping[str, tuple[str, ...]], order: list[str], view: View
    ) -> list[bytes]:
        """The JSON of all alerts that are active at the view's moment, none of them silenced or inhibited."""
        known, now = self._plain, view.now
        shown: list[bytes] = []
        for fingerprint in order:
            alert = alerts[fingerprint]
            if alert.ends <= now:
                continue
            names = receivers.get(fingerprint, ())
            entry = known.get(fingerprint)
            if entry is not None and entry[0] is alert and entry[1] is names:
                shown.append(entry[2])
                continue
            end = view.open_end if alert.ends == NEVER else b""
            body = self.part(alert) + end + view.tail(names) + _FREE
            if not end:
                known[fingerprint] = alert, names, body
            shown.append(body)
        return shown

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
        self._listing, self.now = listing, now
        self._alerts = dict(engine.alerts)
        self._receivers = dict(engine.receivers_of)
        self._population = engine.population
        self._groups = [
            (group.route, group.labels, list(group.members.values()))
            for group in engine.groups.values()
            if group.members
        ]
        self._silences: list[Silence] = engine.silences.active(now)
        self._inhibitor = engine.inhibitor
        self._intervals = engine.configuration.intervals
        open_end = format_moment(now + engine.configuration.resolve_timeout)
        self.open_end = b',"endsAt":"' + open_end.encode() + b'"'
        self._tails: dict[tuple[str, ...], bytes] = {}

    def alerts(self, selection: Selection) -> bytes:
        """`GET /alerts`, sorted by fingerprint."""
        order = self._listing.order(self._alerts, self._population)
        everything = selection.active and not selection.matchers and selection.receiver is None
        if everything and not self._silences and not self._inhibitor.rules:
            chosen = self._listing.plain(self._alerts, self._receivers, order, self)
        else:
            shown = (self._shown(self._alerts[fingerprint], selection, "") for fingerprint in order)
            chosen = [body for body in shown if body is not None]
        return b"".join((b"[", b",".join(chosen), b"]"))

    def groups(self, selection: Selection) -> bytes:
        """`GET /alerts/groups`, sorted by labels and receiver."""
        shown: list[tuple[tuple[object, ...], bytes]] = []
        for route, labels, members in self._groups:
            if selection.receiver is not None and not selection.receiver.fullmatch(route.receiver):
                continue
            muted = muting_interval(route, self._intervals, self.now)
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
        if alert.ends <= self.now:
            return None
        if selection.matchers and not all_match(selection.matchers, alert.labels):
            return None
        names = self._receivers.get(alert.fingerprint, ())
        if selection.receiver is not None and not any(selection.receiver.fullmatch(name) for name in names):
            return None
        status = self._status(alert, selection, muted)
        if status is None:
            return None
        end = self.open_end if alert.ends == NEVER else b""
        return self._listing.part(alert) + end + self.tail(names) + status

    def tail(self, names: tuple[str, ...]) -> bytes:
        """The JSON of receivers."""
        tail = self._tails.get(names)
        if tail is None:
            tail = b',"receivers":' + _encode([{"name": name} for name in names]) + b","
            self._tails[names] = tail
        return tail

    def _status(self, alert: Alert, selection: Selection, muted: str) -> bytes | None:
        silenced = silenced_by(self._silences, alert.labels) if self._silences else []
        inhibited = (
            self._inhibitor.inhibitors(alert.labels, alert.fingerprint, self.now) if self._inhibitor.rules else []
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
