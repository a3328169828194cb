"""What became of earlier alerts: the last few firings of each key, and how they ended.

Kept in memory from the history, at the start and as it is written: at most PER_KEY firings of MAX_KEYS keys. What
people said belongs to the firing during which they said it, or to the one that ended last within COMMENT_AFTER.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from gateway.alerting.cooccurrence import key_of
from gateway.alerting.journal import Journal, Listener
from gateway.alerting.moments import SECOND
from gateway.alerting.store import Store

PER_KEY: Final = 8
MAX_KEYS: Final = 5_000
MAX_ENDED: Final = 20_000
MAX_OPEN: Final = 200_000
MAX_SAID: Final = 5
MAX_TEXT: Final = 500
COMMENT_AFTER: Final = 86400 * SECOND
LOOK_BACK: Final = 30 * 86400 * SECOND
MAX_EVENTS: Final = 50_000
KINDS: Final = ("firing", "ended", "resolved by hand", "comment", "acknowledged")


class PastAlert(msgspec.Struct, gc=False):
    """One firing. Moments in nanoseconds."""

    fingerprint: str
    key: str
    began: int
    ended: int = 0
    how: str = ""
    """"by hand", "reported" or "not reported again"."""
    by: str = ""
    """Who resolved or acknowledged it."""
    note: str = ""
    """What was said when it was resolved by hand."""
    said: tuple[str, ...] = ()
    """Comments."""

    @property
    def lesson(self) -> str:
        """What helped, in the words of who said it last; "" if nobody said anything."""
        return self.note or (self.said[-1] if self.said else "")


class PastAlerts:
    """Follows a journal."""

    def __init__(self, journal: Journal) -> None:
        self._open: dict[str, PastAlert] = {}
        self._ended: OrderedDict[str, PastAlert] = OrderedDict()
        self._by_key: OrderedDict[str, deque[PastAlert]] = OrderedDict()
        for kind in KINDS:
            journal.listeners.setdefault(kind, []).append(self._listener(kind))

    def _listener(self, kind: str) -> Listener:
        def listen(now: int, fingerprint: str, detail: Mapping[str, Any]) -> None:
            self.take(now, kind, fingerprint, detail)

        return listen

    def load(self, store: Store, now: int) -> None:
        """What the history holds; waits for the disk."""
        events = store.history(kinds=KINDS, since=now - LOOK_BACK, limit=MAX_EVENTS)
        for event in reversed(events):
            self.take(event.time, event.kind, event.fingerprint, msgspec.json.decode(event.detail))

    def take(self, now: int, kind: str, fingerprint: str, detail: Mapping[str, Any]) -> None:
        """One event of the history."""
        if kind == "firing":
            if len(self._open) < MAX_OPEN:
                self._open[fingerprint] = PastAlert(fingerprint, key_of(detail["labels"]), now)
        elif kind == "ended":
            past = self._open.pop(fingerprint, None)
            if past is not None:
                past.ended, past.how = now, past.how or detail.get("why", "")
                self._keep(past)
        else:
            self._said(now, kind, fingerprint, detail)

    def _said(self, now: int, kind: str, fingerprint: str, detail: Mapping[str, Any]) -> None:
        past = self._open.get(fingerprint)
        if past is None:
            past = self._ended.get(fingerprint)
            if past is None or past.ended < now - COMMENT_AFTER:
                return
        text = str(detail.get("text") or detail.get("note") or "")[:MAX_TEXT]
        if kind == "resolved by hand":
            past.how, past.by, past.note = "by hand", str(detail.get("by", "")), text
        elif kind == "acknowledged":
            past.by = past.by or str(detail.get("by", ""))
        if text and kind != "resolved by hand":
            past.said = (*past.said, text)[-MAX_SAID:]

    def _keep(self, past: PastAlert) -> None:
        self._ended.pop(past.fingerprint, None)
        self._ended[past.fingerprint] = past
        if len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)
        firings = self._by_key.pop(past.key, None)
        if firings is None:
            firings = deque(maxlen=PER_KEY)
        firings.append(past)
        self._by_key[past.key] = firings
        if len(self._by_key) > MAX_KEYS:
            self._by_key.popitem(last=False)

    def of_key(self, key: str) -> list[PastAlert]:
        """Firings that ended, newest first."""
        return list(reversed(self._by_key.get(key, ())))

    def lesson(self, key: str) -> PastAlert | None:
        """The latest firing of a key of which somebody said what helped."""
        return next((past for past in self.of_key(key) if past.lesson), None)
