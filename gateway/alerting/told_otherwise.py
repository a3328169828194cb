"""What two replays, or a replay and the record, told differently, per occurrence of an alert."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from gateway.alerting.moments import NEVER
from gateway.alerting.recording import LOOKBACK, Firing, Sent


class Way(msgspec.Struct, frozen=True):
    """How one receiver heard of one occurrence."""

    first: int
    times: int
    """Notifications inside of the span with the alert as firing."""


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One occurrence that would have been told otherwise."""

    fingerprint: str
    labels: dict[str, str]
    began: int
    kinds: tuple[str, ...]
    """newly told, no longer told, other receiver, other time, more often, less often."""
    before: dict[str, Way]
    after: dict[str, Way]


class Comparison(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. Notifications are counted by way."""

    since: int
    until: int
    firings: int
    before: dict[str, int]
    after: dict[str, int]
    differences: list[Difference]
    not_replayed: int = 0
    """What people did to alerts that were not firing in the replay: begun before the kept history, or ended by then."""


def differences(
    firings: Iterable[Firing], before: list[Sent], after: list[Sent], since: int, until: int, tolerance: int
) -> Comparison:
    """What was told otherwise, per occurrence, in order of time."""
    found: list[Difference] = []
    old, new = _by_alert(before), _by_alert(after)
    following: dict[str, int] = {}
    count = 0
    for firing in reversed(list(firings)):
        stop = following.get(firing.fingerprint, NEVER)
        following[firing.fingerprint] = firing.began
        if firing.began >= until or stop <= since or (firing.noted < since - LOOKBACK):
            continue
        ways = [_ways(told.get(firing.fingerprint, []), firing.began, stop, since, until) for told in (old, new)]
        count += firing.began >= since or bool(ways[0] or ways[1])
        kinds = _kinds(ways[0], ways[1], tolerance)
        if kinds:
            found.append(
                Difference(
                    fingerprint=firing.fingerprint,
                    labels=firing.labels,
                    began=firing.began,
                    kinds=kinds,
                    before=ways[0],
                    after=ways[1],
                )
            )
    found.reverse()
    return Comparison(
        since=since,
        until=until,
        firings=count,
        before=_count(before, since, until),
        after=_count(after, since, until),
        differences=found,
    )


def _by_alert(sent: Iterable[Sent]) -> dict[str, list[Sent]]:
    found: dict[str, list[Sent]] = {}
    for one in sent:
        for fingerprint in one.firing:
            found.setdefault(fingerprint, []).append(one)
    return found


def _ways(told: list[Sent], began: int, stop: int, since: int, until: int) -> dict[str, Way]:
    """By way, for one occurrence in [began, stop); only ways with something inside of the span."""
    first: dict[str, int] = {}
    times: dict[str, set[int]] = {}
    for sent in told:
        if began <= sent.at < min(stop, until):
            first.setdefault(sent.way, sent.at)
            if sent.at >= since:
                times.setdefault(sent.way, set()).add(sent.at)
    return {way: Way(first[way], len(moments)) for way, moments in sorted(times.items())}


def _kinds(before: dict[str, Way], after: dict[str, Way], tolerance: int) -> tuple[str, ...]:
    if not before or not after:
        return ("newly told",) if after else ("no longer told",) if before else ()
    found: list[str] = []
    if before.keys() != after.keys():
        found.append("other receiver")
    shared = before.keys() & after.keys()
    if any(abs(before[way].first - after[way].first) > tolerance for way in shared):
        found.append("other time")
    if any(before[way].times < after[way].times for way in shared):
        found.append("more often")
    if any(before[way].times > after[way].times for way in shared):
        found.append("less often")
    return tuple(found)


def _count(sent: Iterable[Sent], since: int, until: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in sent:
        if since <= one.at < until:
            found[one.way] = found.get(one.way, 0) + 1
    return dict(sorted(found.items()))
