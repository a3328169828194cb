"""One recording, one detector: from rows to a scorecard. The rules themselves are gateway.baseline.scorecard."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from bench.detection.detectors import Detector, Scored
from bench.detection.recordings import Recording
from gateway.baseline.scorecard import Event, Rules, Scorecard, judge, openings_of, scored_span


def scored_time(recording: Recording) -> tuple[float, float]:
    """First and last scored moment of a recording."""
    return scored_span(float(recording.times_s.min()), float(recording.times_s.max()), recording.warm_up_s)


def judge_recording(recording: Recording, scored: Scored, events: Sequence[Event] | None = None) -> Scorecard:
    """The scorecard of one recording. `events`: other events than the recording's own."""
    start, end = scored_time(recording)
    return judge(
        recording.events if events is None else events,
        openings_of(scored.times_s, scored.alert),
        interval_s=recording.interval_s,
        scored_from=start,
        scored_to=end,
        rules=Rules(merge_s=recording.merge_s),
        neutral=recording.neutral,
    )


def of_members(cards: Sequence[Scorecard]) -> Scorecard:
    """One scorecard for recordings that share their labels, each sending its own alerts.

    An event is found by whichever member's alert comes first; the alerts of all members count.
    """
    total = Scorecard()
    for card in cards:
        total.add(card)
    # Every member was asked for the same events, in the same order.
    total.events = [
        min(same, key=lambda j: (not j.found, j.delay_s)) for same in zip(*(c.events for c in cards), strict=True)
    ]
    return total


def run(recording: Recording, detector: Detector) -> Scored:
    """Feed a recording to a detector. Labels are not passed on."""
    return detector(recording.times_s, recording.values, recording.kind, recording.interval_s)


def score_by_row(scored: Scored) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Raw score of the rows that were in the input, in their order."""
    return np.nan_to_num(scored.score[~scored.extra], nan=0.0, posinf=1e12)
