"""Scorecard: what alerts earn against labels, event by event.

The rules, for one series. Times are Unix seconds.

- *Alert*: exceedances merged while the alert is open; a re-opening within `merge_s` of its end belongs to the same
  alert.
- An alert is *true* if it starts within a labelled event ± `tolerance_samples` samples, else *false*.
- An event is *found* if an alert starts within its tolerance, or if an alert that is still true covers it.
- A true alert that is open `unresolved_s` (or `unresolved_samples` samples, if longer) after its event has ended counts
  as a new false alert, and again every `recount_s`: an alert that never resolves detects nothing. From there on it is
  not true any more and finds no further events.
- *Delay*: from the start of the event (or its `clock`, for slow faults) to the start of the alert; a miss counts as
  the event's end.
- Warm-up is not scored: events that start in it are dropped, and so is an opening that started in it, if it resolves
  as soon after the warm-up as after an event; else it counts as an alert that starts there.
- *Neutral* spans carry no label (a masked part of a recording): an alert that starts there counts neither way, and
  the time there is neither normal nor anomalous.

Labels are never input of a detector; only this module reads them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Final

import numpy as np
from numpy.typing import NDArray

DAY_S: Final = 86400.0


@dataclass(frozen=True, slots=True)
class Event:
    """One labelled event: first and last labelled sample. `clock`: where its delay begins, if later than `start`."""

    start: float
    end: float
    clock: float | None = None
    kind: str = ""


@dataclass(frozen=True, slots=True)
class Opening:
    """A stretch of time in which an alert is open: from the sample at which it fires to the one that resolves it."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Alert:
    """Openings that belong together, in order of time."""

    openings: tuple[Opening, ...]

    @property
    def start(self) -> float:
        """When the alert is sent."""
        return self.openings[0].start

    @property
    def end(self) -> float:
        """When its last opening resolves."""
        return self.openings[-1].end


@dataclass(frozen=True, slots=True)
class Rules:
    """The constants of the protocol."""

    merge_s: float = 1800.0
    tolerance_samples: float = 5.0
    unresolved_s: float = 1800.0
    unresolved_samples: float = 5.0
    recount_s: float = 3600.0


@dataclass(slots=True)
class Judged:
    """One event and what became of it; `delay_s` of a miss is the time to the event's end."""

    event: Event
    found: bool
    delay_s: float


@dataclass(slots=True)
class Scorecard:
    """What the alerts of one series, or of several added up, earned."""

    series: int = 0
    events: list[Judged] = field(default_factory=list)
    true_alerts: int = 0
    false_alerts: int = 0
    """Alerts that are not true, re-counts of unresolved ones included."""
    unresolved: int = 0
    """Of the false alerts, those counted because a true alert did not resolve."""
    neutral_alerts: int = 0
    scored_s: float = 0.0
    normal_s: float = 0.0
    normal_in_alert_s: float = 0.0
    true_starts: list[Opening] = field(default_factory=list)
    """Where the true alerts are."""
    false_starts: list[Opening] = field(default_factory=list)
    """Where the false alerts are; those that are not resolved are in `unresolved_from`."""
    unresolved_from: list[Opening] = field(default_factory=list)
    """Where true alerts were not resolved in time."""

    @property
    def false_spans(self) -> list[Opening]:
        """Where it is false in either way, for people to look at."""
        return self.false_starts + self.unresolved_from

    @property
    def found(self) -> int:
        """Events found."""
        return sum(judged.found for judged in self.events)

    @property
    def recall(self) -> float:
        """Events found / events; NaN without events."""
        return self.found / len(self.events) if self.events else math.nan

    @property
    def alerts(self) -> int:
        """All alerts that count, re-counts included."""
        return self.true_alerts + self.false_alerts

    @property
    def false_share(self) -> float:
        """Alerts that are not true / all alerts; NaN without alerts."""
        return self.false_alerts / self.alerts if self.alerts else math.nan

    @property
    def false_per_series_day(self) -> float:
        """False alerts per series and day of scored time."""
        return self.false_alerts / (self.scored_s / DAY_S) if self.scored_s else math.nan

    @property
    def normal_in_alert_share(self) -> float:
        """Share of the normal time that is spent in alert."""
        return self.normal_in_alert_s / self.normal_s if self.normal_s else math.nan

    @property
    def mean_delay_min(self) -> float:
        """Mean delay in minutes, misses counted as their event's end; NaN without events."""
        return fmean(judged.delay_s for judged in self.events) / 60 if self.events else math.nan

    @property
    def median_delay_min(self) -> float:
        """Median delay in minutes of the events that were found; NaN if none was."""
        found = [judged.delay_s for judged in self.events if judged.found]
        return median(found) / 60 if found else math.nan

    def add(self, other: Scorecard) -> None:
        """Counts another series in."""
        self.series += other.series
        self.events += other.events
        self.true_alerts += other.true_alerts
        self.false_alerts += other.false_alerts
        self.unresolved += other.unresolved
        self.neutral_alerts += other.neutral_alerts
        self.scored_s += other.scored_s
        self.normal_s += other.normal_s
        self.normal_in_alert_s += other.normal_in_alert_s
        self.true_starts += other.true_starts
        self.false_starts += other.false_starts
        self.unresolved_from += other.unresolved_from


def openings_of(times_s: NDArray[np.float64], alert: NDArray[np.bool_]) -> list[Opening]:
    """Openings from rows: `alert` is true from the row at which the alert fires until the row that resolves it.

    times_s: float64[n]; rows that run backward in time are put in order first. An alert open at the last row ends
    there.
    """
    if len(times_s) == 0:
        return []
    order = np.argsort(times_s, kind="stable")
    times, flags = times_s[order], alert[order].astype(np.int8)
    edges = np.diff(flags, prepend=np.int8(0))
    starts = times[edges == 1]
    ends = times[edges == -1]
    if len(ends) < len(starts):
        ends = np.append(ends, times[-1])
    return [Opening(float(start), float(end)) for start, end in zip(starts, ends, strict=True)]


def merge(openings: Iterable[Opening], merge_s: float) -> list[Alert]:
    """Alerts as they are sent: a re-opening at most `merge_s` after the end of an alert continues it."""
    groups: list[list[Opening]] = []
    for opening in sorted(openings, key=lambda o: o.start):
        if groups and opening.start - groups[-1][-1].end <= merge_s:
            groups[-1].append(opening)
        else:
            groups.append([opening])
    return [Alert(tuple(group)) for group in groups]


def _overlap(openings: Sequence[Opening], spans: Sequence[Opening]) -> float:
    """Seconds that two sorted lists of disjoint spans share."""
    total, j = 0.0, 0
    for opening in openings:
        while j < len(spans) and spans[j].end <= opening.start:
            j += 1
        k = j
        while k < len(spans) and spans[k].start < opening.end:
            total += min(opening.end, spans[k].end) - max(opening.start, spans[k].start)
            k += 1
    return total


def _union(spans: Iterable[Opening]) -> list[Opening]:
    """The same time as disjoint spans in order."""
    out: list[Opening] = []
    for span in sorted(spans, key=lambda o: o.start):
        if span.end <= span.start:
            continue
        if out and span.start <= out[-1].end:
            out[-1] = Opening(out[-1].start, max(out[-1].end, span.end))
        else:
            out.append(span)
    return out


def _complement(spans: Sequence[Opening], start: float, end: float) -> list[Opening]:
    """What `spans` (disjoint, in order) leave free of [start, end]."""
    out, at = [], start
    for span in spans:
        if span.start > at:
            out.append(Opening(at, min(span.start, end)))
        at = max(at, span.end)
    if at < end:
        out.append(Opening(at, end))
    return [o for o in out if o.end > o.start]


def judge(
    events: Sequence[Event],
    openings: Sequence[Opening],
    *,
    interval_s: float,
    scored_from: float,
    scored_to: float,
    rules: Rules,
    neutral: Sequence[Opening] = (),
) -> Scorecard:
    """The scorecard of one series by the rules above.

    interval_s: the series' sampling interval in seconds; scored_from, scored_to: scored time, warm-up cut off.
    """
    tolerance = rules.tolerance_samples * interval_s
    grace = max(rules.unresolved_s, rules.unresolved_samples * interval_s)
    # An event that starts in the warm-up is known to be abnormal but cannot be scored: the time around it is neutral.
    early = [e for e in events if e.start < scored_from]
    scored = sorted((e for e in events if scored_from <= e.start <= scored_to), key=lambda e: e.start)
    unscored = _union([*neutral, *(Opening(e.start - tolerance, e.end + tolerance) for e in early)])
    card = Scorecard(series=1, scored_s=max(scored_to - scored_from, 0.0))
    first_alert: dict[int, float] = {}

    for alert in merge(_after_warm_up(openings, scored_from, grace), rules.merge_s):
        if alert.start > scored_to:
            continue
        hits = [i for i, e in enumerate(scored) if e.start - tolerance <= alert.start <= e.end + tolerance]
        if not hits:
            if any(span.start <= alert.start <= span.end for span in unscored):
                card.neutral_alerts += 1
                continue
            card.false_alerts += 1
            card.false_starts.append(Opening(alert.start, alert.end))
            continue
        card.true_alerts += 1
        card.true_starts.append(Opening(alert.start, alert.end))
        for i in hits:
            first_alert[i] = min(first_alert.get(i, math.inf), alert.start)
        _follow(alert, scored, max(scored[i].end for i in hits) + grace, tolerance, grace, rules, card, first_alert)

    for i, event in enumerate(scored):
        begin = event.start if event.clock is None else event.clock
        if i in first_alert:
            card.events.append(Judged(event, True, max(first_alert[i] - begin, 0.0)))
        else:
            card.events.append(Judged(event, False, max(event.end + interval_s - begin, 0.0)))

    abnormal = _union([*(Opening(e.start - tolerance, e.end + tolerance) for e in scored), *unscored])
    normal = _complement(abnormal, scored_from, scored_to)
    card.normal_s = sum(span.end - span.start for span in normal)
    card.normal_in_alert_s = _overlap(_union(openings), normal)
    return card


def _after_warm_up(openings: Sequence[Opening], scored_from: float, grace: float) -> list[Opening]:
    """Openings that count. Cut before they are merged, so that chatter cannot hang on to the warm-up for ever."""
    late = scored_from + grace
    return [
        opening if opening.start >= scored_from else Opening(late, opening.end)
        for opening in openings
        if opening.start >= scored_from or opening.end > late
    ]


def _follow(
    alert: Alert,
    events: Sequence[Event],
    true_until: float,
    tolerance: float,
    grace: float,
    rules: Rules,
    card: Scorecard,
    first_alert: dict[int, float],
) -> None:
    """Follows a true alert to its end: further events it covers while true, and re-counts once it is not."""
    for opening in alert.openings:
        # Events that begin while this opening is true are found by it, and keep it true.
        for i, event in enumerate(events):
            if event.start - tolerance > opening.end:
                break
            if event.end + tolerance < opening.start:
                continue
            seen = max(opening.start, event.start - tolerance)
            if seen <= true_until or opening.start >= event.start - tolerance:
                first_alert[i] = min(first_alert.get(i, math.inf), max(opening.start, alert.start))
                true_until = max(true_until, event.end + grace)
        if opening.end > true_until:
            counted = 1 + math.floor((opening.end - max(true_until, opening.start)) / rules.recount_s)
            card.false_alerts += counted
            card.unresolved += counted
            card.unresolved_from.append(Opening(max(true_until, opening.start), opening.end))
            return


def scored_span(first_s: float, last_s: float, warm_up_s: float | None = None) -> tuple[float, float]:
    """Scored part of a recording: without a warm-up of its own it is one day, but at most a tenth of the recording."""
    if warm_up_s is None:
        warm_up_s = min(DAY_S, 0.1 * (last_s - first_s))
    return first_s + warm_up_s, last_s
