"""Silences: matchers that mute alerts for a span of time.

Rules of the subject:
  * A silence holds in [starts, ends): the start belongs to it, the end does not.
  * It is asked when a notification is due, never when an alert arrives.
  * An edit keeps the id where its meaning for the past does not change (comment, author, end; of a pending one also the
    start). Changed matchers, or a changed start of one that is active, expire the old silence and make a new id.
  * Expiring an active silence sets its end to now; a pending one gets both ends set to now. Expiring twice changes
    nothing.
  * Expired silences are kept for RETENTION, so that people can look at them and make them anew; where there would be
    more than `most`, the longest expired are forgotten earlier.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Final

import msgspec

from gateway.alerting.journal import Journal
from gateway.alerting.matcher import Matcher, excess
from gateway.alerting.moments import NEVER, SECOND
from gateway.alerting.sieve import Seal, SieveIndex
from gateway.alerting.store import SILENCE
from gateway.errors import NotFound, RequestError

MILLISECOND: Final = SECOND // 1000
RETENTION: Final = 120 * 3600 * SECOND
MAX_TEXT: Final = 16 * 1024
"""Characters of a silence: matchers, comment and author together. With the number of silences it bounds the memory
that a person who may operate can take."""
DEFAULT_MOST: Final = 10_000


class Silence(msgspec.Struct, frozen=True, kw_only=True):
    """One silence; moments in nanoseconds."""

    id: str
    matchers: tuple[Matcher, ...]
    starts: int
    ends: int
    updated: int
    created_by: str = ""
    comment: str = ""

    def state(self, now: int) -> str:
        """pending, active or expired."""
        if now < self.starts:
            return "pending"
        return "active" if now < self.ends else "expired"


class Silences:
    """All silences; changes go to the journal. `version` grows with every change."""

    def __init__(
        self,
        journal: Journal,
        new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
        *,
        most: int = DEFAULT_MOST,
    ) -> None:
        """most: how many may be kept, expired ones among them; 0 = as many as are made."""
        self._journal = journal
        self._most = most
        self._new_id = new_id
        self._all: dict[str, Silence] = {}
        self.version = 0
        self._index = SieveIndex(())
        self._seal: Seal = ()
        self._index_of: tuple[int, int, int] = (-1, 0, 0)
        """The version that `_index` was made for, and the moments between which it holds."""

    def load(self, silence: Silence) -> None:
        """At start."""
        self._all[silence.id] = silence
        self.version += 1

    def get(self, silence_id: str) -> Silence:
        """Raises NotFound."""
        silence = self._all.get(silence_id)
        if silence is None:
            raise NotFound(f"silence {silence_id} not found")
        return silence

    def set(self, wanted: Silence, now: int) -> str:
        """Creates (empty id) or edits; gives the id it has now. Raises NotFound, RequestError."""
        check(wanted)
        if wanted.ends <= now:
            raise RequestError("silence invalid: end time can't be in the past")
        old = self.get(wanted.id) if wanted.id else None
        if old is not None and _same_meaning(old, wanted, now):
            self._store(msgspec.structs.replace(wanted, updated=now))
            return wanted.id
        if old is not None and old.state(now) != "expired":
            self.expire(old.id, now)
        self._make_room(now)
        # Milliseconds are what clients are shown and send back with an edit.
        starts = max(wanted.starts, now) // MILLISECOND * MILLISECOND
        made = msgspec.structs.replace(wanted, id=self._new_id(), starts=starts, updated=now)
        self._store(made)
        return made.id

    def expire(self, silence_id: str, now: int) -> bool:
        """Ends it now; False if it had ended. Raises NotFound."""
        silence = self.get(silence_id)
        state = silence.state(now)
        if state == "expired":
            return False
        starts = now if state == "pending" else silence.starts
        self._store(msgspec.structs.replace(silence, starts=starts, ends=now, updated=now))
        return True

    def _make_room(self, now: int) -> None:
        """Forgets the one that expired first where one more would be too many. Raises RequestError if all hold."""
        if self._most == 0 or len(self._all) < self._most:
            return
        expired = [silence for silence in self._all.values() if silence.ends <= now]
        if not expired:
            raise RequestError(
                f"silence invalid: there are {len(self._all)} silences that have not expired, and"
                f" alerting.max_silences is {self._most}; expire some, or raise it"
            )
        self._forget(min(expired, key=lambda silence: silence.ends).id)
        self.version += 1

    def _forget(self, silence_id: str) -> None:
        del self._all[silence_id]
        self._journal.drop(SILENCE, silence_id)

    def _store(self, silence: Silence) -> None:
        self._all[silence.id] = silence
        self.version += 1
        self._journal.put(SILENCE, silence.id, silence)

    def active(self, now: int) -> list[Silence]:
        """Those that hold now."""
        return [silence for silence in self._all.values() if silence.starts <= now < silence.ends]

    def muting(self, labels: Mapping[str, str], now: int) -> list[str]:
        """Sorted ids of the silences that mute this label set now."""
        return self.index(now).matching(labels)

    def index(self, now: int) -> SieveIndex:
        """Those that hold now, as a whole; the same object until one begins, ends or changes."""
        version, since, until = self._index_of
        if version != self.version or not since <= now < until:
            moments = [moment for silence in self._all.values() for moment in (silence.starts, silence.ends)]
            since = max((moment for moment in moments if moment <= now), default=-NEVER)
            until = min((moment for moment in moments if moment > now), default=NEVER)
            active = self.active(now)
            self._index = SieveIndex((silence.id, silence.matchers) for silence in active)
            seal = tuple((silence.id, silence.updated) for silence in active)
            self._seal = self._seal if seal == self._seal else seal
            self._index_of = (self.version, since, until)
        return self._index

    def seal(self, now: int) -> Seal:
        """Those that hold now; the same object as long as they are the same, so that it is compared at once."""
        self.index(now)
        return self._seal

    def prune(self, now: int) -> int:
        """Forgets those that ended longer than RETENTION ago; gives their number."""
        old = [silence.id for silence in self._all.values() if silence.ends + RETENTION < now]
        for silence_id in old:
            self._forget(silence_id)
        return len(old)

    def __iter__(self) -> Iterator[Silence]:
        return iter(self._all.values())

    def __len__(self) -> int:
        return len(self._all)


def check(silence: Silence) -> None:
    """Raises RequestError for a silence that nobody can mean."""
    if not silence.matchers:
        raise RequestError("silence invalid: at least one matcher required")
    if too_much := excess(silence.matchers):
        raise RequestError(f"silence invalid: {too_much}")
    # One that excludes something ("a!=b") says enough: so has it Alertmanager.
    if all(matcher.is_equal and matcher.matches({}) for matcher in silence.matchers):
        raise RequestError("silence invalid: at least one matcher must not match the empty string")
    written = sum(len(matcher.name) + len(matcher.value) for matcher in silence.matchers)
    if written + len(silence.comment) + len(silence.created_by) > MAX_TEXT:
        raise RequestError(f"silence invalid: matchers, comment and author are longer than {MAX_TEXT} characters")
    if not silence.ends:
        raise RequestError("silence invalid: an end is required")
    if silence.ends < silence.starts:
        raise RequestError("silence invalid: end time must not be before start time")
    if silence.ends == silence.starts:
        raise RequestError("silence invalid: start time must not be equal to end time")


def _same_meaning(old: Silence, new: Silence, now: int) -> bool:
    if sorted(old.matchers) != sorted(new.matchers):
        return False
    state = old.state(now)
    if state == "active":
        return new.starts == old.starts and new.ends >= now
    return state == "pending" and new.starts >= now
