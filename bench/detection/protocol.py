"""One recording, one detector: from rows to a scorecard. The rules themselves are gateway.baseline.scorecard."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from bench.detection.datasets import Recording, runs
from bench.detection.detectors import Detector, Scored
from gateway.baseline.scorecard import Event, Opening, Rules, Scorecard, judge, openings_of, scored_span


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


def judge_group(recordings: Sequence[Recording], scored: Iterable[Scored], quorum: int = 1) -> Scorecard:
    """One scorecard for recordings that share their labels: the group is in alert while `quorum` members are."""
    openings: list[Opening] = []
    for one in scored:
        openings += openings_of(one.times_s, one.alert)
    first = recordings[0]
    start, end = scored_time(first)
    return judge(
        first.events,
        quorum_openings(openings, quorum),
        interval_s=first.interval_s,
        scored_from=start,
        scored_to=end,
        rules=Rules(merge_s=first.merge_s),
        neutral=first.neutral,
    )


def quorum_openings(openings: Sequence[Opening], quorum: int) -> list[Opening]:
    """Stretches in which at least `quorum` of the given openings are open."""
    if not openings:
        return []
    times = np.array([o.start for o in openings] + [o.end for o in openings])
    steps = np.array([1] * len(openings) + [-1] * len(openings))
    # A start sorts before an end at the same time, so that touching openings are one.
    order = np.lexsort((-steps, times))
    times, depth = times[order], np.cumsum(steps[order])
    return [Opening(float(times[a]), float(times[min(b + 1, len(times) - 1)])) for a, b in runs(depth >= quorum)]


def run(recording: Recording, detector: Detector) -> Scored:
    """Feed a recording to a detector. Labels are not passed on."""
    return detector(recording.times_s, recording.values, recording.kind, recording.interval_s)


def score_by_row(scored: Scored) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Raw score of the rows that were in the input, in their order."""
    return np.nan_to_num(scored.score[~scored.extra], nan=0.0, posinf=1e12)
