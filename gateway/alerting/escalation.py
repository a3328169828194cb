"""Escalation: while nobody acknowledges, more people are told, step by step.

Rules of the subject:
  * An escalation belongs to a group. It begins when the group is first told of firing alerts that match a policy; the
    first policy that matches any of them decides. Its steps are due at fixed moments from the beginning, kept on disk.
  * A step that is due is asked again whether it is still wanted: if nothing fires unmuted, or every firing alert is
    acknowledged, the escalation stops. An acknowledgement therefore stops every step that has not run.
  * After an absence, overdue steps run at once, each once, in their order.
  * Who was told by a step stays informed: later changes of the group and its end go to them as well.
"""

from __future__ import annotations

import msgspec

from gateway.alerting.alert import Alert
from gateway.alerting.engine import Engine
from gateway.alerting.group import Group
from gateway.alerting.moments import NEVER
from gateway.alerting.oncall import OnCall, Policy
from gateway.alerting.people import People
from gateway.alerting.store import ESCALATION


class Escalation(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one escalation. `next_step` counts through all rounds; `due` is NEVER once it has stopped."""

    group_id: str
    policy: str
    began: int
    next_step: int = 0
    due: int = NEVER
    receivers: tuple[str, ...] = ()
    """Told by steps so far."""
    stopped: str = ""
    set_back: int = 0
    """By how much the wall clock was put back since it began, nanoseconds."""


class Escalations:
    """All escalations, wired into an engine."""

    def __init__(self, engine: Engine, people: People, oncall: OnCall) -> None:
        self._engine, self._people = engine, people
        self.oncall = oncall
        self._all: dict[str, Escalation] = {}
        engine.hooks.flush_watchers.append(self.on_flush)
        engine.hooks.informers.append(self.informed)
        engine.hooks.timers.append(self)
        engine.hooks.clock_watchers.append(self._clock_went_back)

    def _clock_went_back(self, _now: int, by: int) -> None:
        """Steps are due a while after the beginning, whatever the wall clock shows."""
        for escalation in list(self._all.values()):
            due = escalation.due if escalation.due == NEVER else escalation.due - by
            self._store(msgspec.structs.replace(escalation, set_back=escalation.set_back + by, due=due))

    def load(self, escalation: Escalation) -> None:
        """At start."""
        self._all[escalation.group_id] = escalation

    def get(self, group_id: str) -> Escalation | None:
        """The escalation of a group, also a stopped one while the group fires."""
        return self._all.get(group_id)

    def informed(self, group: Group) -> tuple[str, ...]:
        """Receivers beside the route's own that hear of the group."""
        escalation = self._all.get(group.id)
        if escalation is None:
            return ()
        return tuple(name for name in escalation.receivers if name in self._engine.configuration.receivers)

    def on_flush(self, group: Group, passing: list[Alert], now: int) -> None:
        """A group was flushed: an escalation may begin or be over."""
        escalation = self._all.get(group.id)
        if escalation is None and not self.oncall.policies:
            return
        firing = [alert for alert in passing if alert.active(now)]
        if firing and (escalation is None or self._anew(escalation, firing, now)):
            policy = next((p for p in self.oncall.policies if any(p.meets(alert.labels) for alert in firing)), None)
            if policy is not None:
                self._store(
                    Escalation(
                        group_id=group.id,
                        policy=policy.name,
                        began=now,
                        due=now + policy.steps[0].wait,
                        receivers=() if escalation is None else escalation.receivers,
                    )
                )
                self._engine.journal.event(now, "escalation began", group=group.id, policy=policy.name)
        elif escalation is not None and not self._firing(group, now) and not self._owed(group):
            del self._all[group.id]
            self._engine.journal.drop(ESCALATION, group.id)

    def _firing(self, group: Group, now: int) -> bool:
        return any(alert.active(now) for alert in group.members.values())

    def _anew(self, escalation: Escalation, firing: list[Alert], now: int) -> bool:
        """Whether an escalation that is over does not speak for what fires now."""
        if escalation.due != NEVER:
            return False
        if all(alert.starts > escalation.began for alert in firing):
            return True
        return bool(escalation.stopped) and not self._people.quiet(firing, now)

    def _owed(self, group: Group) -> bool:
        """Whether somebody whom a step told still has to hear that it is over."""
        for integration in self._engine.dispatcher.integrations_of(group):
            entry = self._engine.log.get(group.key, integration.key)
            if entry is not None and entry.believed:
                return True
        return False

    def next_due(self) -> int:
        """When `tick` has something to do."""
        return min((escalation.due for escalation in self._all.values()), default=NEVER)

    def tick(self, now: int) -> None:
        """Runs the steps that are due, the earliest first."""
        for escalation in sorted(self._all.values(), key=lambda e: e.due):
            while escalation.due <= now:
                escalation = self._step(escalation, now)

    def _step(self, escalation: Escalation, now: int) -> Escalation:
        policy = next((p for p in self.oncall.policies if p.name == escalation.policy), None)
        group = self._engine.groups.get(escalation.group_id)
        why = self._why_not(group, now) if policy is not None else "the policy is gone"
        if why or policy is None or group is None:
            return self._stop(escalation, why, now)
        step = policy.steps[escalation.next_step % len(policy.steps)]
        told = self.oncall.receivers(step.targets, now)
        following = escalation.next_step + 1
        last = following >= len(policy.steps) * (policy.repeat + 1)
        after = msgspec.structs.replace(
            escalation,
            next_step=following,
            due=NEVER if last else escalation.began - escalation.set_back + due_offset(policy, following),
            receivers=tuple(dict.fromkeys((*escalation.receivers, *told))),
        )
        self._store(after)
        self._engine.journal.event(
            now, "escalated", group=group.id, policy=policy.name, step=escalation.next_step, receivers=told
        )
        self._engine.dispatcher.tell_now(group, told, now)
        return after

    def _why_not(self, group: Group | None, now: int) -> str:
        if group is None:
            return "nothing fires"
        firing = self._engine.dispatcher.unmuted_firing(group, now)
        if not firing:
            return "nothing fires unmuted"
        return self._people.quiet(firing, now)

    def _stop(self, escalation: Escalation, why: str, now: int) -> Escalation:
        self._engine.journal.event(now, "escalation stopped", group=escalation.group_id, why=why)
        stopped = msgspec.structs.replace(escalation, due=NEVER, stopped=why)
        if escalation.group_id in self._engine.groups:
            self._store(stopped)
        else:
            del self._all[escalation.group_id]
            self._engine.journal.drop(ESCALATION, escalation.group_id)
        return stopped

    def _store(self, escalation: Escalation) -> None:
        self._all[escalation.group_id] = escalation
        self._engine.journal.put(ESCALATION, escalation.group_id, escalation)


def due_offset(policy: Policy, number: int) -> int:
    """Nanoseconds from the beginning to a step, counted through the rounds."""
    waits = [step.wait for step in policy.steps]
    rounds, left = divmod(number, len(waits))
    return rounds * sum(waits) + sum(waits[: left + 1])
