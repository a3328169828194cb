"""Silences at work: made and ended by people or by time; what they muted is told once they end."""

from __future__ import annotations

from gateway.alerting.alert import Alert
from gateway.alerting.dispatch import Dispatcher
from gateway.alerting.grouping import Grouping
from gateway.alerting.journal import Journal
from gateway.alerting.moments import NEVER
from gateway.alerting.silence import Silence, Silences


class Silencing:
    """Silences wired to groups and dispatcher. A timer of the engine."""

    def __init__(self, journal: Journal, silences: Silences, grouping: Grouping, dispatcher: Dispatcher) -> None:
        self._journal, self._silences = journal, silences
        self._grouping, self._dispatcher = grouping, dispatcher
        self._ends: dict[str, int] = {}

    def load(self, silence: Silence) -> None:
        """At start, before the alerts."""
        self._silences.load(silence)
        self._ends[silence.id] = silence.ends

    def set(self, silence: Silence, now: int) -> str:
        """Creates or edits; gives its id. Raises NotFound, RequestError."""
        silence_id = self._silences.set(silence, now)
        if silence.id and silence.id != silence_id:
            self._end(silence.id, now)
        stored = self._silences.get(silence_id)
        self._ends[silence_id] = stored.ends
        self._journal.event(
            now,
            "silenced",
            id=silence_id,
            matchers=[str(matcher) for matcher in stored.matchers],
            starts=stored.starts,
            ends=stored.ends,
            by=stored.created_by,
            comment=stored.comment,
        )
        return silence_id

    def expire(self, silence_id: str, now: int) -> None:
        """Ends a silence; idempotent. Raises NotFound."""
        if self._silences.expire(silence_id, now):
            self._end(silence_id, now)

    def next_due(self) -> int:
        """The next end."""
        return min(self._ends.values(), default=NEVER)

    def tick(self, now: int) -> None:
        """Ends by time."""
        ended = [silence_id for silence_id, ends in self._ends.items() if ends <= now]
        for silence_id in ended:
            del self._ends[silence_id]
        if ended:
            self._after(now, ended)

    def _end(self, silence_id: str, now: int) -> None:
        self._ends.pop(silence_id, None)
        self._after(now, [silence_id])

    def _after(self, now: int, ended: list[str]) -> None:
        """What these muted and is still active counts as not told, so the next flush tells it."""
        gone = {f"silence {silence_id}" for silence_id in ended}
        for silence_id in ended:
            self._journal.event(now, "silence ended", id=silence_id)
        for group in self._grouping.groups.values():
            freed = {
                fingerprint
                for fingerprint, reason in group.muted.items()
                if reason in gone and self._free(group.members.get(fingerprint), now)
            }
            if freed:
                self._dispatcher.forget_told(group, freed)

    def _free(self, alert: Alert | None, now: int) -> bool:
        return alert is not None and alert.active(now) and not self._silences.muting(alert.labels, now)
