"""Correlation: every alert that fires belongs to one incident group, its own or that of alerts with the same cause.

Rules of the subject:
  * A new alert is compared with the latest member of each key in the open groups that could be meant: those at its own
    place, at places near it in the topology, and those holding keys it fired with before. It joins the group with the
    strongest evidence if that is above zero (`evidence`), else it opens a group.
  * Where a second group has evidence above BRIDGE as well, and no person has separated the two, they become one.
  * Alerts that began more than `window` apart are not compared, unless they are of one key and the other still fires.
  * An alert that begins again while its group is open returns to it, wherever a person has put it.
  * A group closes when its last alert ended `linger` ago. KEEP_CLOSED closed groups are remembered, for people to merge
    and split afterwards; that teaches as well.
Work per alert is bounded: MAX_CANDIDATES groups (`incident_index`), MAX_HEADS members of each. It decides nothing about
routes by itself: see `incident_notices`. What people do to groups is in `regrouping`.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import deque
from collections.abc import Iterable
from typing import Final

from gateway.alerting.alert import Alert
from gateway.alerting.anomaly_alert import NAME
from gateway.alerting.cooccurrence import Cooccurrence, KeyCount, PairCount, key_of
from gateway.alerting.cooccurrence_records import keep_changes, load_model
from gateway.alerting.engine import Engine
from gateway.alerting.evidence import DEFAULT_WEIGHTS, Evidence, Weights, weigh
from gateway.alerting.incident_group import GroupState, IncidentGroup, Member
from gateway.alerting.incident_index import IncidentIndex
from gateway.alerting.moments import NEVER, SECOND
from gateway.alerting.store import INCIDENT_GROUP, INCIDENT_MEMBER
from gateway.alerting.topology import Topology, place_of
from gateway.selfmetrics import counter, gauge

MAX_HEADS: Final = 12
AT_ONCE: Final = 60 * SECOND
BRIDGE: Final = 1.0
MAX_BRIDGED: Final = 500
"""Members of a group that is merged by itself at most."""
KEEP_CLOSED: Final = 300
KEEP_MEMBERS: Final = 200
"""Members of a closed group that are remembered."""
FLUSH_SECONDS: Final = 10
"""What the model counted is written this often; what people said at once."""
_SUMMARY: Final = 200

_JOINED = counter("alerting_correlated_alerts", "Alerts by what the correlation did with them.", ["result"])
_OPEN = gauge("alerting_incident_groups", "Open incident groups.")
_PAIRS = gauge("alerting_cooccurrence_pairs", "Pairs of alert keys that the co-occurrence model holds.")


class Correlator:
    """See the head of the file. Wired into an engine; `window` and `linger` are nanoseconds."""

    def __init__(
        self,
        engine: Engine,
        *,
        window: int = 900 * SECOND,
        linger: int = 900 * SECOND,
        topology: Topology | None = None,
        weights: Weights = DEFAULT_WEIGHTS,
    ) -> None:
        self.engine, self.window, self.linger, self.weights = engine, window, linger, weights
        self.topology = topology or Topology()
        self.model = Cooccurrence(min(window, 300 * SECOND))
        self.groups: dict[str, IncidentGroup] = {}
        self._of: dict[str, str] = {}
        """Fingerprint → the open group it is in."""
        self._index = IncidentIndex(self.topology, self.model)
        self._closing: list[tuple[int, str]] = []
        self._closed: deque[str] = deque()
        self._next_flush = NEVER
        engine.hooks.watchers.append(self._on_change)
        engine.hooks.timers.append(self)

    # Asking

    def group_of(self, fingerprint: str) -> IncidentGroup | None:
        """The open group that holds an alert."""
        name = self._of.get(fingerprint)
        return None if name is None else self.groups[name]

    def member(self, fingerprint: str) -> Member | None:
        """An alert's part in its open group."""
        group = self.group_of(fingerprint)
        return None if group is None else group.members[fingerprint]

    def find(self, name: str) -> IncidentGroup | None:
        """A group by id, following merges."""
        for _ in range(100):
            group = self.groups.get(name)
            if group is None or not group.state.merged_into:
                return group
            name = group.state.merged_into
        return None

    def open_groups(self) -> list[IncidentGroup]:
        """Groups that alerts can join."""
        return [group for group in self.groups.values() if group.open]

    # Alerts

    def _on_change(self, kind: str, alert: Alert, now: int) -> None:
        if kind == "firing":
            self.assign(alert, now)
        elif kind == "ended":
            self._end(alert, now)

    def assign(self, alert: Alert, now: int) -> Member:
        """The alert's part in its group; it is put into one if it is in none."""
        known = self.member(alert.fingerprint)
        if known is not None:
            if known.ended:
                group = self.groups[known.group]
                group.set_ended(known, 0)
                known.starts, known.times = alert.starts, known.times + 1
                group.put(known)
                self._keep(known)
            return known
        member = _member_of(alert, now)
        self.topology.see_places((member.place,), now)
        found = self._candidates(member, now)
        self.model.see(member.key, now)
        self._next_flush = min(self._next_flush, now + FLUSH_SECONDS * SECOND)
        if found:
            best, evidence = found[0]
            self._join(best, member, evidence, now)
            for other, _ in [entry for entry in found[1:] if entry[1].score >= BRIDGE]:
                self._bridge(best, other, alert, now)
        else:
            group = self.new_group(f"{alert.fingerprint}{now}", now)
            member.group = member.thread = group.id
            self._put(group, member)
        _JOINED.labels("joined" if found else "alone").inc()
        return member

    def _join(self, group: IncidentGroup, member: Member, evidence: Evidence, now: int) -> None:
        member.group = member.thread = group.id
        member.score, member.why = round(evidence.score, 2), evidence.words
        self._put(group, member)
        group.state.changed = now  # on disk that follows from the member: see `load`
        self.engine.journal.event(
            now,
            "correlated",
            fingerprint=member.fingerprint,
            incident_group=group.id,
            why=member.why,
            score=member.score,
        )

    def _end(self, alert: Alert, now: int) -> None:
        member = self.member(alert.fingerprint)
        if member is None or member.ended:
            return
        group = self.groups[member.group]
        group.set_ended(member, max(alert.ends, 1))
        self._keep(member)
        if not group.active:
            heapq.heappush(self._closing, (now + self.linger, group.id))

    # Finding the group

    def _candidates(self, member: Member, now: int) -> list[tuple[IncidentGroup, Evidence]]:
        """Groups with evidence above zero, strongest first."""
        at_once = self._at_once(member)
        if at_once is not None:
            return [at_once]
        found = []
        for name in self._index.candidates(member):
            group = self.groups[name]
            evidence = self._affinity(member, group, now)
            if evidence is not None and evidence.score > 0.0:
                found.append((group, evidence))
        found.sort(key=lambda entry: (-entry[1].score, entry[0].state.opened))
        return found

    def _at_once(self, member: Member) -> tuple[IncidentGroup, Evidence] | None:
        """The group where the same rule fires on the same service for less than AT_ONCE: nothing else is asked then."""
        home = self._index.latest(member.key) if member.place.service else ""
        if not home:
            return None
        group = self.groups[home]
        head = group.head(member.key)
        if head is None or not head.active or abs(member.starts - head.starts) > AT_ONCE:
            return None
        return group, Evidence(self.weights.service, (f"the same rule on the same service, {member.place.service}",))

    def _affinity(self, member: Member, group: IncidentGroup, now: int) -> Evidence | None:
        best: Evidence | None = None
        for other in group.heads(MAX_HEADS):
            gap = abs(member.starts - other.starts)
            if gap > self.window and not (other.key == member.key and other.active):
                continue
            evidence = weigh(member, other, self.topology, self.model, now, self.weights)
            if best is None or evidence.score > best.score:
                best = evidence
        return best

    # Changing groups; also for `regrouping`

    def new_group(self, seed: str, now: int) -> IncidentGroup:
        """Opens an empty group; the same seed gives the same id."""
        name = f"ig-{hashlib.blake2b(seed.encode('utf-8', 'surrogatepass'), digest_size=6).hexdigest()}"
        group = IncidentGroup(GroupState(id=name, opened=now, changed=now))
        self.groups[name] = group
        self.keep_state(group)
        _OPEN.inc()
        return group

    def move(self, fingerprint: str, source: IncidentGroup, target: IncidentGroup) -> None:
        """Takes a member from one group into another. Of two firings of one alert, the later one is kept."""
        member = self._take_out(source, fingerprint)
        older = target.members.get(fingerprint)
        if older is not None:
            if older.joined > member.joined:
                return
            self._take_out(target, fingerprint)
        member.group = target.id
        self._put(target, member)

    def _take_out(self, group: IncidentGroup, fingerprint: str) -> Member:
        member = group.take_out(fingerprint)
        self.engine.journal.drop(INCIDENT_MEMBER, _record_key(member))
        self._index.take_out(group, member)
        if self._of.get(fingerprint) == group.id:
            del self._of[fingerprint]
        return member

    def set_merged(self, group: IncidentGroup, into: str, now: int) -> None:
        """An emptied group gives way to another."""
        group.state.merged_into, group.state.closed, group.state.changed = into, now, now
        self.keep_state(group)
        self._closed.append(group.id)
        _OPEN.dec()

    def reopen(self, group: IncidentGroup, now: int) -> None:
        """A group that was merged or closed can be joined again, and closes again when nothing in it fires."""
        if group.open:
            return
        group.state.merged_into, group.state.closed, group.state.changed = "", 0, now
        if group.id in self._closed:
            self._closed.remove(group.id)
        for member in group.members.values():
            if self._of.setdefault(member.fingerprint, group.id) == group.id:
                self._index.enter(group.id, member)
        _OPEN.inc()
        self.keep_state(group)
        self.see_whether_over(group, now)

    def see_whether_over(self, group: IncidentGroup, now: int) -> None:
        """Lets a group without active alerts close after `linger`."""
        if group.open and not group.active:
            heapq.heappush(self._closing, (now + self.linger, group.id))

    def _bridge(self, one: IncidentGroup, other: IncidentGroup, alert: Alert, now: int) -> None:
        older, younger = sorted((one, other), key=lambda group: (group.state.opened, group.id))
        if not one.open or not other.open or len(younger.members) > MAX_BRIDGED:
            return
        if other.id in one.state.apart or one.id in other.state.apart:
            return
        for fingerprint in list(younger.members):
            self.move(fingerprint, younger, older)
        older.state.apart = sorted({*older.state.apart, *younger.state.apart})
        older.state.changed = now
        self.keep_state(older)
        self.set_merged(younger, older.id, now)
        self.engine.journal.event(
            now, "incident groups joined", incident_group=older.id, other=younger.id, because_of=alert.fingerprint
        )

    def _put(self, group: IncidentGroup, member: Member) -> None:
        group.put(member)
        if group.open:
            if member.active or member.fingerprint not in self._of:
                self._of[member.fingerprint] = group.id
            self._index.enter(group.id, member)
        self._keep(member)

    def _keep(self, member: Member) -> None:
        self.engine.journal.put(INCIDENT_MEMBER, _record_key(member), member)

    def keep_state(self, group: IncidentGroup) -> None:
        """Writes a group's own record."""
        self.engine.journal.put(INCIDENT_GROUP, group.id, group.state)

    # Time

    def next_due(self) -> int:
        """See Timer."""
        return min(self._next_flush, self._closing[0][0] if self._closing else NEVER)

    def tick(self, now: int) -> None:
        """See Timer."""
        while self._closing and self._closing[0][0] <= now:
            _, name = heapq.heappop(self._closing)
            group = self.groups.get(name)
            if group is not None and group.open and not group.active:
                last = max((member.ended for member in group.members.values()), default=0)
                if min(last, now) + self.linger <= now:
                    self._close(group, now)
                else:
                    heapq.heappush(self._closing, (min(last, now) + self.linger, name))
        if self._next_flush <= now:
            self._next_flush = NEVER
            self.keep_model()

    def _close(self, group: IncidentGroup, now: int) -> None:
        group.state.closed = now
        self.keep_state(group)
        _OPEN.dec()
        for member in list(group.members.values()):
            self._index.leave(group.id, member)
            if self._of.get(member.fingerprint) == group.id:
                del self._of[member.fingerprint]
        for fingerprint in list(group.members)[KEEP_MEMBERS:]:
            self.engine.journal.drop(INCIDENT_MEMBER, _record_key(group.take_out(fingerprint)))
        self._closed.append(group.id)
        while len(self._closed) > KEEP_CLOSED:
            self._forget(self._closed.popleft())

    def _forget(self, name: str) -> None:
        group = self.groups.pop(name, None)
        if group is None:
            return
        self.engine.journal.drop(INCIDENT_GROUP, name)
        for member in group.members.values():
            self.engine.journal.drop(INCIDENT_MEMBER, _record_key(member))

    # Keeping

    def keep_model(self) -> None:
        """Puts what the model has changed into the journal."""
        keep_changes(self.model, self.engine.journal)
        _PAIRS.set(len(self.model))

    def load(
        self,
        groups: Iterable[GroupState],
        members: Iterable[Member],
        keys: Iterable[tuple[str, KeyCount]],
        pairs: Iterable[tuple[str, PairCount]],
        now: int,
    ) -> None:
        """At start, before the engine loads its alerts."""
        for state in groups:
            self.groups[state.id] = IncidentGroup(state)
        for member in sorted(members, key=lambda m: m.joined):
            group = self.groups.get(member.group)
            if group is None:
                self.engine.journal.drop(INCIDENT_MEMBER, _record_key(member))
                continue
            group.put(member)
            group.state.changed = max(group.state.changed, member.joined)
            self.topology.see_places((member.place,), now)
            if group.open:
                self._of[member.fingerprint] = group.id
                self._index.enter(group.id, member)
        closed = sorted((g.state.closed, g.id) for g in self.groups.values() if not g.open)
        self._closed = deque(name for _, name in closed)
        load_model(self.model, keys, pairs)
        _OPEN.set(len(self.open_groups()))

    def after_load(self, now: int) -> None:
        """At start, after the engine has loaded: what is no longer there has ended; what is in no group gets one."""
        alerts = self.engine.alerts
        for name, home in list(self._of.items()):
            member = self.groups[home].members[name]
            if name not in alerts and not member.ended:
                self.groups[home].set_ended(member, now)
                self._keep(member)
        for alert in alerts.values():
            if alert.active(now) and alert.fingerprint not in self._of:
                self.assign(alert, now)
        for group in self.open_groups():
            self.see_whether_over(group, now)


def _member_of(alert: Alert, now: int) -> Member:
    name = alert.name or "an alert without name"
    if alert.name == NAME:
        name = f"anomaly of {alert.labels.get('metric', 'a series')}"
    annotations = alert.annotations
    summary = annotations.get("summary") or annotations.get("message") or annotations.get("description") or ""
    return Member(
        fingerprint=alert.fingerprint,
        group="",
        thread="",
        key=key_of(alert.labels),
        name=name,
        place=place_of(alert.labels),
        severity=alert.labels.get("severity", ""),
        summary=summary[:_SUMMARY],
        starts=alert.starts,
        joined=now,
    )


def _record_key(member: Member) -> str:
    return f"{member.group}|{member.fingerprint}"
