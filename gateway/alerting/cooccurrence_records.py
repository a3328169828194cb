"""The co-occurrence model as records: one a key, one a pair, and under the empty key since when it counts."""

from __future__ import annotations

from collections.abc import Iterable

from gateway.alerting.cooccurrence import Cooccurrence, KeyCount, PairCount
from gateway.alerting.journal import Journal
from gateway.alerting.store import COOCCURRENCE_KEY, COOCCURRENCE_PAIR


def keep_changes(model: Cooccurrence, journal: Journal) -> None:
    """Put what has changed since the last time into the journal."""
    for key in model.changed_keys:
        journal.put(COOCCURRENCE_KEY, key, model.key_record(key))
    for pair in model.changed_pairs:
        journal.put(COOCCURRENCE_PAIR, "\n".join(pair), model.pair_record(pair))
    if model.changed_keys:
        journal.put(COOCCURRENCE_KEY, "", KeyCount(at=model.since))
    model.changed_keys.clear()
    model.changed_pairs.clear()


def load_model(
    model: Cooccurrence, keys: Iterable[tuple[str, KeyCount]], pairs: Iterable[tuple[str, PairCount]]
) -> None:
    """At start: what the store holds."""
    for key, known in keys:
        if key:
            model.load_key(key, known)
        else:
            model.since = known.at
    for text, told in pairs:
        one, _, other = text.partition("\n")
        model.load_pair((one, other), told)
