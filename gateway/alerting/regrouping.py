"""What people do to incident groups: merge, split, and take it back. Each act teaches the co-occurrence model.

Rules of the subject:
  * A merge says that the groups should have been one. For that, each alert needs one link across the line: the model is
    taught the strongest pair of each key, the more, the less it believed in it (by RATE times what was missing to
    certainty). A split says that no link across the line should have held: every pair that was believed in is taught
    down in the same way. Pairs of which the model was right are not moved, so that nothing is counted twice.
  * Groups that were split are not joined again by the correlation itself.
  * An act can be undone while its groups are remembered: its alerts go back, as far as nobody has moved them since, and
    the model's opinion is taken back. Nothing is removed from the history.
  * Who was told what stays as it is: alerts that were told in one notification end in it.
"""

from __future__ import annotations

import math
from typing import Any, Final

import msgspec

from gateway.alerting.cooccurrence import pair_of
from gateway.alerting.correlation import Correlator
from gateway.alerting.evidence import weigh
from gateway.alerting.incident_group import Act, IncidentGroup, Member
from gateway.alerting.store import INCIDENT_ACT
from gateway.errors import Conflict, NotFound, RequestError

RATE: Final = 4.0
"""Log odds by which a pair moves that was believed to be certain of the opposite."""
NEAR: Final = 30.0
"""Seconds. What a merge teaches of a pair is what was missing beside nearness in time."""
MAX_SIDE: Final = 12
"""Keys of each side of an act that are compared, the latest first."""
_BELIEVED: Final = 0.2
MAX_MOVED: Final = 20_000
KEEP_ACTS: Final = 500


class Regrouping:
    """Acts, over a correlator."""

    def __init__(self, correlator: Correlator) -> None:
        self._correlator = correlator
        self._acts: dict[str, Act] = {}

    def load(self, act: Act) -> None:
        """At start; in any order."""
        self._acts[act.id] = act

    def acts_of(self, group: str) -> list[Act]:
        """What people did to a group, newest first."""
        found = [act for act in self._acts.values() if group == act.target or group in act.sources]
        return sorted(found, key=lambda act: -act.at)

    def merge(self, target_id: str, source_ids: list[str], who: str, now: int, note: str = "") -> Act:
        """All alerts of the sources go into the target. Raises NotFound, Conflict, RequestError."""
        target = self._group(target_id)
        if not source_ids:
            raise RequestError("name the groups that are to be merged into this one")
        sources = list({group.id: group for group in map(self._group, source_ids)}.values())
        if target in sources:
            raise RequestError("a group cannot be merged into itself")
        if sum(len(source.members) for source in sources) > MAX_MOVED:
            raise Conflict(f"more than {MAX_MOVED} alerts would be moved")
        taught = self._merge_lesson(target.heads(MAX_SIDE), [m for s in sources for m in s.heads(MAX_SIDE)], now)
        moved: dict[str, list[str]] = {}
        if any(source.active for source in sources):
            self._correlator.reopen(target, now)
        for source in sources:
            moved[source.id] = list(source.members)
            for fingerprint in moved[source.id]:
                self._correlator.move(fingerprint, source, target)
            target.state.apart = [name for name in target.state.apart if name != source.id]
            if source.open:
                self._correlator.set_merged(source, target.id, now)
            else:
                source.state.merged_into = target.id
                self._correlator.keep_state(source)
        target.state.changed = now
        self._correlator.keep_state(target)
        self._correlator.see_whether_over(target, now)
        return self._record("merge", target, moved, taught, who, now, note)

    def split(self, source_id: str, fingerprints: list[str], who: str, now: int, note: str = "") -> Act:
        """These alerts get a group of their own, `target` of the act. Raises NotFound, Conflict, RequestError."""
        source = self._group(source_id)
        wanted = list(dict.fromkeys(fingerprints))
        missing = [name for name in wanted if name not in source.members]
        if missing:
            raise NotFound(f"not in group {source.id}: {', '.join(missing[:5])}")
        if not wanted or len(wanted) == len(source.members):
            raise RequestError("name some of the group's alerts, not none and not all")
        correlator = self._correlator
        leaving = [member for member in source.heads(len(source.members)) if member.fingerprint in set(wanted)]
        staying = [member for member in source.heads(len(source.members)) if member.fingerprint not in set(wanted)]
        taught = self._split_lesson(staying[:MAX_SIDE], leaving[:MAX_SIDE], now)
        target = correlator.new_group(f"{source.id}{now}{wanted[0]}", now)
        if not source.open:
            correlator.set_merged(target, "", now)
        for name in wanted:
            correlator.move(name, source, target)
        source.state.apart = sorted({*source.state.apart, target.id})
        target.state.apart = sorted({*source.state.apart, source.id} - {target.id})
        source.state.changed = now
        correlator.keep_state(source)
        correlator.keep_state(target)
        for group in (source, target):
            correlator.see_whether_over(group, now)
        return self._record("split", target, {source.id: wanted}, taught, who, now, note)

    def undo(self, group_id: str, who: str, now: int) -> Act:
        """Takes back the last act about a group that was not taken back. Raises NotFound, Conflict."""
        act = next((act for act in self.acts_of(group_id) if not act.undone_at), None)
        if act is None:
            raise NotFound(f"nothing that could be undone about group {group_id}")
        correlator = self._correlator
        target = correlator.groups.get(act.target)
        sources = {name: correlator.groups.get(name) for name in act.sources}
        if target is None or None in sources.values():
            raise Conflict("one of the groups is no longer remembered")
        for name, fingerprints in act.sources.items():
            source = sources[name]
            assert source is not None
            if act.kind == "merge" or target.active:
                correlator.reopen(source, now)
            for fingerprint in fingerprints:
                if fingerprint in target.members:
                    correlator.move(fingerprint, target, source)
            source.state.changed = now
            source.state.apart = [other for other in source.state.apart if other != target.id]
            correlator.keep_state(source)
            correlator.see_whether_over(source, now)
        if act.kind == "split" and not target.members:
            if target.open:
                correlator.set_merged(target, next(iter(act.sources)), now)
        else:
            target.state.apart = [other for other in target.state.apart if other not in act.sources]
            correlator.keep_state(target)
            correlator.see_whether_over(target, now)
        for one, other, change in act.taught:
            correlator.model.teach(one, other, -change, now, acts=-1)
        correlator.keep_model()
        undone = msgspec.structs.replace(act, undone_at=now, undone_by=who)
        self._keep(undone)
        self._event(now, "incident group act undone", undone, by=who)
        return undone

    def _merge_lesson(self, one: list[Member], other: list[Member], now: int) -> list[tuple[str, str, float]]:
        beliefs = self._beliefs(one, other, now, NEAR)
        best: dict[str, tuple[str, str]] = {}
        for pair, belief in beliefs.items():
            for key in pair:
                if key not in best or belief > beliefs[best[key]]:
                    best[key] = pair
        return [(*pair, round(RATE * (1.0 - beliefs[pair]), 4)) for pair in dict.fromkeys(best.values())]

    def _split_lesson(self, one: list[Member], other: list[Member], now: int) -> list[tuple[str, str, float]]:
        beliefs = self._beliefs(one, other, now)
        return [(*pair, round(-RATE * belief, 4)) for pair, belief in beliefs.items() if belief > _BELIEVED]

    def _beliefs(
        self, one: list[Member], other: list[Member], now: int, longest_gap: float = math.inf
    ) -> dict[tuple[str, str], float]:
        """How much the correlation believes in each pair of keys across the line, 0 to 1."""
        correlator, found = self._correlator, dict[tuple[str, str], float]()
        for a in one:
            for b in other:
                if a.key != b.key:
                    topology, model = correlator.topology, correlator.model
                    score = weigh(a, b, topology, model, now, correlator.weights, longest_gap).score
                    pair = pair_of(a.key, b.key)
                    found[pair] = max(found.get(pair, 0.0), 1.0 / (1.0 + math.exp(-score)))
        return found

    def _record(
        self,
        kind: str,
        target: IncidentGroup,
        sources: dict[str, list[str]],
        taught: list[tuple[str, str, float]],
        who: str,
        now: int,
        note: str,
    ) -> Act:
        number = sum(1 for act in self._acts.values() if act.at == now)
        act = Act(
            id=f"{kind}-{now}-{number}",
            kind=kind,
            target=target.id,
            sources=sources,
            taught=taught,
            at=now,
            by=who,
            note=note,
        )
        self._keep(act)
        for one, other, change in taught:
            self._correlator.model.teach(one, other, change, now)
        self._correlator.keep_model()
        self._event(now, "incident groups merged" if kind == "merge" else "incident group split", act, by=who)
        return act

    def _event(self, now: int, kind: str, act: Act, **more: Any) -> None:
        self._correlator.engine.journal.event(
            now, kind, act=act.id, target=act.target, sources=act.sources, note=act.note, **more
        )

    def _keep(self, act: Act) -> None:
        self._acts[act.id] = act
        self._correlator.engine.journal.put(INCIDENT_ACT, act.id, act)
        while len(self._acts) > KEEP_ACTS:
            oldest = min(self._acts.values(), key=lambda a: a.at)
            del self._acts[oldest.id]
            self._correlator.engine.journal.drop(INCIDENT_ACT, oldest.id)

    def _group(self, name: str) -> IncidentGroup:
        group = self._correlator.find(name)
        if group is None:
            raise NotFound(f"no incident group {name}")
        return group
