"""An alert: a label set that somebody says is wrong, from a start to an end.

Rules of the subject:
  * The label set is the identity; its fingerprint is 64-bit FNV-1a over the sorted pairs, each name and value
    followed by the byte 0xFF (Prometheus `model.LabelSet.Fingerprint`), written as 16 hexadecimal digits.
  * An alert is active while now < ends; an end that came with the alert always rules over one that was only assumed.
  * A new report for the same label set replaces the old one, except that overlapping reports are merged.
Alerts are immutable: a change makes a new object, so a reader in another thread sees one consistent state.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import msgspec

from gateway.alerting.moments import NEVER

ALERT_NAME: Final = "alertname"
MAX_PAIRS: Final = 512
MAX_NAME: Final = 1024
MAX_LABEL_TEXT: Final = 64 * 1024
MAX_ANNOTATION_TEXT: Final = 1024 * 1024
"""An alert beyond these is refused: its fingerprint, its routes and every notification would cost all others their
time."""
_LABEL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_FNV_OFFSET: Final = 14695981039346656037
_FNV_PRIME: Final = 1099511628211
_MASK: Final = 0xFFFFFFFFFFFFFFFF


class Alert(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One alert. Moments are nanoseconds since the epoch. It holds texts only, so the cycle collector skips it."""

    fingerprint: str
    labels: dict[str, str]
    """Sorted by name, no empty values."""
    annotations: dict[str, str] = {}
    starts: int
    ends: int
    updated: int
    assumed_end: bool = False
    """The end was not given but is `updated` plus the resolve timeout."""
    generator_url: str = ""
    origin: str = "api"
    """Who reported it: api, anomaly, pagerduty, opsgenie, webhook."""

    def active(self, now: int) -> bool:
        """Whether the alert is firing at `now`; the end itself is no longer part of it."""
        return now < self.ends

    @property
    def name(self) -> str:
        """The label `alertname`, or "" without one."""
        return self.labels.get(ALERT_NAME, "")


def fingerprint(labels: Mapping[str, str]) -> str:
    """16 hexadecimal digits, equal to Prometheus' fingerprint of the same labels."""
    text = bytearray()
    for name in sorted(labels):
        text += name.encode("utf-8", "surrogatepass")
        text.append(0xFF)
        text += labels[name].encode("utf-8", "surrogatepass")
        text.append(0xFF)
    state = _FNV_OFFSET
    for byte in text:
        state = ((state ^ byte) * _FNV_PRIME) & _MASK
    return f"{state:016x}"


def merge(old: Alert, new: Alert) -> Alert:
    """What two overlapping reports of one label set say together."""
    if new.updated < old.updated:
        old, new = new, old
    starts = min(old.starts, new.starts)
    ends = new.ends
    if not new.active(new.updated):
        # Both ended: the later end that somebody named wins.
        if not old.active(new.updated) and old.ends > new.ends:
            ends = old.ends
    elif old.ends > new.ends and not old.assumed_end and old.ends != NEVER:
        ends = old.ends
    if (starts, ends) == (new.starts, new.ends):
        return new
    return msgspec.structs.replace(new, starts=starts, ends=ends)


def combine(old: Alert | None, new: Alert) -> Alert:
    """The alert to keep when `new` arrives and `old` is what we hold."""
    if old is None:
        return new
    overlaps = old.starts < new.ends < old.ends or old.starts < new.starts < old.ends
    return merge(old, new) if overlaps else new


def problem_of(labels: Mapping[str, str], annotations: Mapping[str, str], starts: int, ends: int) -> str | None:
    """Why such an alert is refused, or None."""
    if not labels:
        return "at least one label pair required"
    if ends < starts:
        return "start time must be before end time"
    if len(labels) + len(annotations) > MAX_PAIRS:
        return f"more than {MAX_PAIRS} labels and annotations"
    if sum(map(len, labels.values())) > MAX_LABEL_TEXT:
        return f"the values of the labels are longer than {MAX_LABEL_TEXT} characters together"
    if sum(map(len, annotations.values())) > MAX_ANNOTATION_TEXT:
        return f"the annotations are longer than {MAX_ANNOTATION_TEXT} characters together"
    for kind, pairs in (("label", labels), ("annotation", annotations)):
        for name, value in pairs.items():
            if len(name) > MAX_NAME:
                return f"invalid {kind} set: a name is longer than {MAX_NAME} characters"
            if _LABEL_NAME.fullmatch(name) is None and (not name or not _is_utf8(name)):
                return f"invalid {kind} set: invalid name {name!r}"
            if not _is_utf8(value):
                return f"invalid {kind} set: invalid value {value!r}"
    return None


def made(
    labels: Mapping[str, str],
    annotations: Mapping[str, str],
    *,
    starts: int,
    ends: int,
    now: int,
    assumed_end: bool = False,
    generator_url: str = "",
    origin: str = "api",
) -> Alert:
    """An alert as somebody reports it now: sorted, without empty labels; raises ValueError with the reason if there is
    no such alert."""
    labels = {name: labels[name] for name in sorted(labels) if labels[name]}
    annotations = dict(sorted(annotations.items()))
    problem = problem_of(labels, annotations, starts, ends)
    if problem is not None:
        raise ValueError(problem)
    return Alert(
        fingerprint=fingerprint(labels),
        labels=labels,
        annotations=annotations,
        starts=starts,
        ends=ends,
        updated=now,
        assumed_end=assumed_end,
        generator_url=generator_url,
        origin=origin,
    )


def in_pieces(alerts: Sequence[Alert], most: int, text: int) -> Iterator[Sequence[Alert]]:
    """In order, each piece of at most `most` alerts and of about `text` characters of labels and annotations."""
    start = size = 0
    for number, alert in enumerate(alerts, 1):
        size += sum(map(len, alert.labels.values())) + sum(map(len, alert.annotations.values()))
        if number - start == most or size > text:
            yield alerts[start:number]
            start, size = number, 0
    if start < len(alerts):
        yield alerts[start:]


def _is_utf8(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


SortKey = tuple[bool, str, bool, str, int, tuple[tuple[tuple[int, ...], str], ...]]


def sort_key(alert: Alert) -> SortKey:
    """Order inside a notification (Alertmanager `AlertSlice` and `model.LabelSet.Before`): by job, by instance, without
    them last; then fewer labels first; then by the first label that differs: one that has it not before one that has
    it, else by its value."""
    labels = alert.labels
    job, instance = labels.get("job"), labels.get("instance")
    names = tuple(labels)
    shape = _SHAPES.get(names)
    if shape is None:
        if len(_SHAPES) > _MOST_SHAPES:
            _SHAPES.clear()
        shape = _SHAPES[names] = tuple(_falling(name) for name in names)
    return (
        job is None,
        job or "",
        instance is None,
        instance or "",
        len(names),
        tuple(zip(shape, labels.values(), strict=True)),
    )


_MOST_SHAPES: Final = 10_000
_SHAPES: dict[tuple[str, ...], tuple[tuple[int, ...], ...]] = {}
"""Names of a label set → what stands for them in a sort key."""


def _falling(name: str) -> tuple[int, ...]:
    """Sorts names the other way round: of two label sets of one size, the one whose next name comes first in the
    alphabet has a label that the other lacks, and comes after it."""
    return (*(-byte for byte in name.encode("utf-8", "surrogatepass")), 1)
