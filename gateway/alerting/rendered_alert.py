"""An alert as API v2 shows it, kept in encoded parts, so that a change writes only what it changes: a repeated report
the moments, a silence the status."""

from __future__ import annotations

from typing import Final

import msgspec

from gateway.alerting.alert import Alert
from gateway.alerting.engine import Engine
from gateway.alerting.group import Group
from gateway.alerting.maintenance import Maintenance
from gateway.alerting.moments import NEVER, format_moment
from gateway.alerting.sieve import SieveIndex
from gateway.alerting.stages import muting_interval

_FREE: Final = b'"status":{"inhibitedBy":[],"mutedBy":[],"silencedBy":[],"state":"active"}}'
UNMUTED: Final[tuple[tuple[str, ...], ...]] = ((), (), ())
_KEPT_TEXTS: Final = 10_000
"""Moments and statuses whose texts are remembered."""
_encode = msgspec.json.Encoder().encode

Muting = tuple[tuple[str, ...], ...]
"""Ids of silences, fingerprints of inhibitors, and other reasons."""


class Entry(msgspec.Struct, gc=False):
    """One alert as it is shown, kept while the alert is known: what changes is changed in it. `body` is b"" while its
    end is open, as that is shown relative to now."""

    alert: Alert
    labels: dict[str, str]
    ends: int
    names: tuple[str, ...]
    fixed: bytes
    """Fields that a repeated report does not change; open ended."""
    head: bytes
    """All up to the end, which may be open."""
    tail: bytes
    """Receivers and status."""
    body: bytes
    muting: Muting

    @property
    def silenced(self) -> bool:
        """By a silence."""
        return bool(self.muting[0])

    @property
    def inhibited(self) -> bool:
        """By another alert."""
        return bool(self.muting[1])

    def write(self, alert: Alert, names: tuple[str, ...], muting: Muting, texts: Texts) -> None:
        """The alert, its receivers or what mutes it is another."""
        if not _same_fixed(self.alert, alert):
            self.fixed = _fixed(alert, texts)
        self.alert, self.labels, self.ends, self.names, self.muting = alert, alert.labels, alert.ends, names, muting
        self.head = b"".join((self.fixed, b',"updatedAt":"', texts.moment(alert.updated), b'"'))
        self.tail = texts.receivers(names) + texts.status(muting)
        self.body = b""
        if alert.ends != NEVER:
            self.body = b"".join((self.head, b',"endsAt":"', texts.moment(alert.ends), b'"', self.tail))

    def mute(self, muting: Muting, texts: Texts) -> None:
        """Only what mutes it is another."""
        tail = texts.receivers(self.names) + texts.status(muting)
        if self.body:
            self.body = self.body[: -len(self.tail)] + tail
        self.muting, self.tail = muting, tail


def new_entry(alert: Alert, names: tuple[str, ...], muting: Muting, texts: Texts) -> Entry:
    """Of an alert that was not shown before."""
    entry = Entry(alert, alert.labels, alert.ends, names, _fixed(alert, texts), b"", b"", b"", muting)
    entry.write(alert, names, muting, texts)
    return entry


class Texts:
    """Encoded pieces that many alerts have in common."""

    def __init__(self) -> None:
        self._moments: dict[int, bytes] = {}
        self._statuses: dict[Muting, bytes] = {}
        self._receivers: dict[tuple[str, ...], bytes] = {}

    def moment(self, moment: int) -> bytes:
        """As on the wire."""
        text = self._moments.get(moment)
        if text is None:
            if len(self._moments) > _KEPT_TEXTS:
                self._moments.clear()
            text = self._moments[moment] = format_moment(moment).encode()
        return text

    def status(self, muting: Muting) -> bytes:
        """By what mutes the alert."""
        if muting is UNMUTED:
            return _FREE
        text = self._statuses.get(muting)
        if text is None:
            if len(self._statuses) > _KEPT_TEXTS:
                self._statuses.clear()
            silenced, inhibited, muted = muting
            status = {"inhibitedBy": inhibited, "mutedBy": muted, "silencedBy": silenced, "state": "suppressed"}
            text = self._statuses[muting] = b'"status":' + _encode(status) + b"}"
        return text

    def receivers(self, names: tuple[str, ...]) -> bytes:
        """Of the groups that hold it."""
        text = self._receivers.get(names)
        if text is None:
            if len(self._receivers) > _KEPT_TEXTS:
                self._receivers.clear()
            text = b',"receivers":' + _encode([{"name": name} for name in names]) + b","
            self._receivers[names] = text
        return text


class Moment:
    """What mutes at one moment, and the texts that depend on it."""

    def __init__(self, engine: Engine, maintenance: Maintenance | None, now: int, texts: Texts) -> None:
        self.now, self._texts = now, texts
        self._silences = engine.silences.index(now)
        self._windows = maintenance.index(now) if maintenance is not None else SieveIndex(())
        self.seal = (
            engine.silences.seal(now),
            maintenance.seal(now) if maintenance is not None else (),
            engine.inhibitor.version,
            id(engine.inhibitor),
        )
        """Equal as long as the same mutes. Of when this was made, as its answers are: it is used over several turns of
        the loop, in which what mutes may change."""
        self._inhibitor, self._intervals = engine.inhibitor, engine.configuration.intervals
        self.good_until = engine.inhibitor.next_end(now)
        end = format_moment(now + engine.configuration.resolve_timeout).encode()
        self._open_end = b',"endsAt":"' + end + b'"'
        self._free = not (self._silences or self._windows or self._inhibitor.rules)
        self._muted_routes: dict[tuple[tuple[str, ...], tuple[str, ...]], str] = {}

    def muting(self, alert: Alert) -> Muting:
        """What mutes an alert now."""
        if self._free:
            return UNMUTED
        labels = alert.labels
        silenced = self._silences.matching(labels) if self._silences else ()
        inhibited: list[str] | tuple[str, ...] = ()
        if self._inhibitor.rules:
            inhibited = self._inhibitor.inhibitors(labels, alert.fingerprint, self.now)
        muted = [f"maintenance {name}" for name in self._windows.matching(labels)] if self._windows else ()
        return (tuple(silenced), tuple(inhibited), tuple(muted)) if silenced or inhibited or muted else UNMUTED

    def body(self, entry: Entry) -> bytes:
        """With the end that an alert without one is shown with."""
        return entry.head + self._open_end + entry.tail

    def muted_body(self, entry: Entry, interval: str) -> bytes:
        """In a group whose route is mute."""
        end = self._open_end
        if entry.alert.ends != NEVER:
            end = b',"endsAt":"' + format_moment(entry.alert.ends).encode() + b'"'
        receivers = entry.tail[: entry.tail.index(b'"status":')]
        return entry.head + end + receivers + self._texts.status((*entry.muting[:2], (interval, *entry.muting[2])))

    def interval(self, group: Group) -> str:
        """Why the group's route is mute, or ""."""
        key = group.route.mute_intervals, group.route.active_intervals
        if key == ((), ()):
            return ""
        known = self._muted_routes.get(key)
        if known is None:
            known = self._muted_routes[key] = muting_interval(group.route, self._intervals, self.now)
        return known


def _fixed(alert: Alert, texts: Texts) -> bytes:
    parts = [
        b'{"annotations":',
        _encode(alert.annotations),
        b',"fingerprint":"',
        alert.fingerprint.encode(),
        b'","labels":',
        _encode(alert.labels),
        b',"startsAt":"',
        texts.moment(alert.starts),
        b'"',
    ]
    if alert.generator_url:
        parts += (b',"generatorURL":', _encode(alert.generator_url))
    return b"".join(parts)


def _same_fixed(old: Alert, new: Alert) -> bool:
    return old.starts == new.starts and old.generator_url == new.generator_url and old.annotations == new.annotations
