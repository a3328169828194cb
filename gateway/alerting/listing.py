"""Lists of alerts as API v2 shows them, fast enough for a hundred thousand and never long on the loop.

What an alert looks like is encoded once and kept until the alert, its receivers or what mutes it changes. Alerts stand
on shelves by the first digits of their fingerprint, and the shelves in order are the list in order; a changed alert is
written anew in its place, and only a change of what mutes asks about every alert of a shelf again. Likewise the members
of each group stand in a row. `alerts` and `groups` give the list in pieces, after at most `SLICE` of work each; their
caller lets the loop run in between. `refresh` renews shelves and rows ahead of being asked.

Pieces of one list may be some milliseconds apart; each alert is shown as it was at one moment.
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Iterator
from time import perf_counter
from typing import Final

import msgspec

from gateway.alerting.alert import Alert, sort_key
from gateway.alerting.engine import Engine
from gateway.alerting.group import Group
from gateway.alerting.maintenance import Maintenance
from gateway.alerting.matcher import Matcher
from gateway.alerting.moments import NEVER, SECOND
from gateway.alerting.rendered_alert import Entry, Moment, Texts, new_entry
from gateway.alerting.sieve import Sieve
from gateway.telemetry.regular_expression import RegularExpression

SLICE: Final = 0.0003
"""Seconds of work after which a piece is given."""
SHELVES: Final = 4096
BATCH: Final = 128
"""Members of a group handled before the clock is looked at."""
_DIGITS: Final = 3
_encode = msgspec.json.Encoder().encode


class Selection(msgspec.Struct, frozen=True, kw_only=True):
    """What a client asks for."""

    matchers: tuple[Matcher, ...] = ()
    receiver: RegularExpression | None = None
    active: bool = True
    silenced: bool = True
    inhibited: bool = True
    unprocessed: bool = True
    muted: bool = True

    @property
    def everything(self) -> bool:
        """Whether nothing is left out."""
        return self.active and self.silenced and self.inhibited and not self.matchers and self.receiver is None


class Shelf(msgspec.Struct):
    """Alerts whose fingerprints begin alike."""

    known: set[str] = set()
    fresh: set[str] = set()
    """Those that came, changed or went since the last renewal."""
    entries: list[Entry] = []
    """Those that fire, by fingerprint."""
    seal: object = None
    """What mutes, as of the last renewal of all."""
    good_until: int = NEVER


class Listing:
    """Keeps the rendered parts of an engine's alerts."""

    def __init__(self, engine: Engine, maintenance: Maintenance | None = None) -> None:
        self._engine, self._maintenance = engine, maintenance
        self._shelves: list[Shelf | None] = [None] * SHELVES
        """None: no alert has come yet."""
        self._spoiled: set[int] = set()
        self._entries: dict[str, Entry] = {}
        self._rows: dict[str, tuple[int, list[Entry]]] = {}
        """Group id → its roster's version and its members in order."""
        self._stale_rows: dict[str, None] = {}
        """Groups that others joined since their row was made."""
        self._sorting: Iterator[list[Entry] | None] | None = None
        """A row that the renewal is at."""
        self._texts = Texts()
        self._seal: object = None
        """What mutes, when all shelves were last given to the renewal."""
        self._sealed: tuple[object, int] = (None, 0)
        self.touches = 0
        """How often an alert changed."""
        engine.hooks.touch_watchers.append(self._touch)
        for fingerprint in engine.alerts:
            self._touch(fingerprint)

    def _touch(self, fingerprint: str) -> None:
        number = int(fingerprint[:_DIGITS], 16)
        self.touches += 1
        shelf = self._shelves[number]
        if shelf is None:
            shelf = self._shelves[number] = Shelf()
        shelf.fresh.add(fingerprint)
        self._spoiled.add(number)

    def refresh(self, now: int) -> bool:
        """Renews spoiled shelves, all of them if what mutes has changed, and then rows, for at most `SLICE`; gives
        whether some are left."""
        mutes = (self._engine.silences.index(now), self._engine.inhibitor.version, id(self._engine.inhibitor))
        if self._sealed[0] != mutes or self._sealed[1] + SECOND <= now:
            self._sealed = (mutes, now)
            seal = Moment(self._engine, self._maintenance, now, self._texts).seal
            if seal != self._seal:
                self._seal = seal
                self._spoiled.update(number for number, shelf in enumerate(self._shelves) if shelf and shelf.known)
        stop = perf_counter() + SLICE
        if self._spoiled:
            moment = Moment(self._engine, self._maintenance, now, self._texts)
            while self._spoiled and perf_counter() < stop:
                shelf = self._shelves[self._spoiled.pop()]
                if shelf is not None:
                    self._check(shelf, moment)
        while not self._spoiled and (self._stale_rows or self._sorting is not None) and perf_counter() < stop:
            if self._sorting is None:
                group = self._engine.groups.get(self._stale_rows.popitem()[0])
                self._sorting = None if group is None else self._row(group)
            elif next(self._sorting, ()) is not None:
                self._sorting = None
        return bool(self._spoiled or self._stale_rows or self._sorting is not None)

    def alerts(self, selection: Selection, now: int) -> Iterator[bytes]:
        """`GET /alerts`, sorted by fingerprint, in pieces."""
        moment = Moment(self._engine, self._maintenance, now, self._texts)
        chosen = None if selection.everything else _Choice(selection)
        pieces: list[bytes] = []
        separator, stop = b"[", perf_counter() + SLICE
        for shelf in self._shelves:
            if shelf is None or not (shelf.known or shelf.fresh):
                continue
            self._check(shelf, moment)
            entries = shelf.entries if chosen is None else chosen.among(shelf.entries)
            pieces += [entry.body or moment.body(entry) for entry in entries]  # all active: see `_check`
            if perf_counter() > stop:
                if pieces:
                    yield separator + b",".join(pieces)
                    separator, pieces = b",", []
                else:
                    yield b""
                stop = perf_counter() + SLICE
        yield (separator if pieces or separator == b"[" else b"") + b",".join(pieces) + b"]"

    def groups(self, selection: Selection, now: int) -> Iterator[bytes]:
        """`GET /alerts/groups`, sorted by labels and receiver, in pieces."""
        moment = Moment(self._engine, self._maintenance, now, self._texts)
        chosen = None if selection.everything else _Choice(selection)
        stop = perf_counter() + SLICE
        for shelf in self._shelves:
            if shelf is not None and (shelf.known or shelf.fresh):
                self._check(shelf, moment)
                if perf_counter() > stop:
                    yield b""
                    stop = perf_counter() + SLICE
        pieces: list[bytes] = []
        separator = b"["
        for name in list(self._engine.grouping.order):
            group = self._engine.groups.get(name[-1])
            if group is None or not group.members:
                continue
            if selection.receiver is not None and not selection.receiver.fullmatch(group.route.receiver):
                continue
            muted = moment.interval(group)
            if muted and not selection.muted:
                continue
            row: list[Entry] = []
            for ready in self._row(group):
                if ready is not None:
                    row = ready
                elif perf_counter() > stop:
                    yield b"".join(pieces)
                    pieces, stop = [], perf_counter() + SLICE
            begun = False
            for start in range(0, len(row), BATCH):
                entries = [entry for entry in row[start : start + BATCH] if entry.ends > now]
                if chosen is not None:
                    entries = chosen.among(entries)
                if muted:
                    bodies = [moment.muted_body(entry, muted) for entry in entries]
                else:
                    bodies = [entry.body or moment.body(entry) for entry in entries]
                if bodies:
                    pieces += (b"," if begun else separator + b'{"alerts":[', b",".join(bodies))
                    separator, begun = b",", True
                if perf_counter() > stop:
                    yield b"".join(pieces)
                    pieces, stop = [], perf_counter() + SLICE
            if begun:
                receiver = _encode({"name": group.route.receiver})
                pieces.append(b'],"labels":' + _encode(group.labels) + b',"receiver":' + receiver + b"}")
        yield b"".join(pieces) + (b"[]" if separator == b"[" else b"]")

    def _row(self, group: Group) -> Iterator[list[Entry] | None]:
        """The group's members in order; None between two steps on the way there."""
        version, row = self._rows.get(group.id, (-1, []))
        if version != group.roster:
            version, entries, members = group.roster, self._entries, group.members
            row = [entry for entry in row if entries.get(entry.alert.fingerprint) is entry]
            row = [entry for entry in row if entry.alert.fingerprint in members]
            if len(row) != len(members):
                runs: list[list[Alert]] = []
                alerts = list(members.values())
                for start in range(0, len(alerts), BATCH):
                    if start:
                        yield None
                    runs.append(sorted(alerts[start : start + BATCH], key=sort_key))
                row = []
                for number, alert in enumerate(runs[0] if len(runs) == 1 else heapq.merge(*runs, key=sort_key)):
                    if number % BATCH == BATCH - 1:
                        yield None
                    entry = entries.get(alert.fingerprint)
                    if entry is not None:
                        row.append(entry)
            if len(self._rows) > 2 * len(self._engine.groups) + 1000:
                self._rows.clear()
            if group.roster == version and len(row) == len(members):
                self._rows[group.id] = (version, row)
        yield row

    def _check(self, shelf: Shelf, moment: Moment) -> None:
        if shelf.seal != moment.seal or shelf.good_until <= moment.now:
            self._renew(shelf, moment)
        elif shelf.fresh:
            self._patch(shelf, moment)

    def _patch(self, shelf: Shelf, moment: Moment) -> None:
        """What is fresh on a shelf is put into its place or taken away."""
        while shelf.fresh:
            fingerprint = shelf.fresh.pop()
            place = bisect.bisect_left(shelf.entries, fingerprint, key=_fingerprint_of)
            stands = place < len(shelf.entries) and shelf.entries[place].alert.fingerprint == fingerprint
            entry = self._entry(shelf, fingerprint, moment)
            if entry is None or entry.ends <= moment.now:
                if stands:
                    del shelf.entries[place]
                continue
            shelf.good_until = min(shelf.good_until, entry.ends)
            if stands:
                shelf.entries[place] = entry
            else:
                shelf.entries.insert(place, entry)

    def _renew(self, shelf: Shelf, moment: Moment) -> None:
        """All alerts of a shelf are looked at."""
        self._patch(shelf, moment)
        now, good_until = moment.now, moment.good_until
        shelf.entries = [entry for entry in shelf.entries if entry.ends > now]
        for entry in shelf.entries:
            good_until = min(good_until, entry.ends)
            muting = moment.muting(entry.alert)
            if muting is not entry.muting and muting != entry.muting:
                entry.mute(muting, self._texts)
        shelf.seal, shelf.good_until = moment.seal, good_until

    def _entry(self, shelf: Shelf, fingerprint: str, moment: Moment) -> Entry | None:
        """The entry of an alert that came or changed, as it is now; None if the alert is forgotten."""
        alert = self._engine.alerts.get(fingerprint)
        if alert is None:
            shelf.known.discard(fingerprint)
            self._entries.pop(fingerprint, None)
            return None
        shelf.known.add(fingerprint)
        entry = self._entries.get(fingerprint)
        if entry is not None and alert.ends <= moment.now:
            entry.ends = alert.ends
            return entry
        names = self._engine.receivers_of.get(fingerprint, ())
        if entry is not None and entry.alert is alert and entry.names is names:
            return entry
        if entry is None or entry.names is not names:
            self._stale_rows.update(dict.fromkeys(self._engine.membership.get(fingerprint, ())))
        muting = moment.muting(alert)
        if entry is None:
            entry = self._entries[fingerprint] = new_entry(alert, names, muting, self._texts)
        else:
            entry.write(alert, names, muting, self._texts)
        return entry


class _Choice:
    """Which entries are asked for."""

    def __init__(self, selection: Selection) -> None:
        self._selection = selection
        self._sieve = Sieve(selection.matchers) if selection.matchers else None
        self._receivers: dict[tuple[str, ...], bool] = {}
        self._by_labels_alone = msgspec.structs.replace(selection, matchers=()).everything

    def among(self, entries: list[Entry]) -> list[Entry]:
        """Those that are."""
        if self._sieve is not None:
            entries = self._sieve.among(entries)
        return entries if self._by_labels_alone else [entry for entry in entries if self._wanted(entry)]

    def _wanted(self, entry: Entry) -> bool:
        selection = self._selection
        if selection.receiver is not None:
            named = self._receivers.get(entry.names)
            if named is None:
                named = any(selection.receiver.fullmatch(name) for name in entry.names)
                self._receivers[entry.names] = named
            if not named:
                return False
        if (entry.silenced and not selection.silenced) or (entry.inhibited and not selection.inhibited):
            return False
        return selection.active or entry.silenced or entry.inhibited


def _fingerprint_of(entry: Entry) -> str:
    return entry.alert.fingerprint
