"""The work of a run, in pieces that processes can share: a loading unit of a labelled set, or a slice with faults."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bench.detection import calibration
from bench.detection.datasets import DATA_SETS
from bench.detection.detectors import Detector, Scored
from bench.detection.fusion import fuse
from bench.detection.incident_groups import Sent, sent_of
from bench.detection.incidents import incident
from bench.detection.injections import Fault, Slice, inject
from bench.detection.nab_score import FileScores, window_rows
from bench.detection.protocol import judge_recording, of_members, run, score_by_row
from bench.detection.recordings import Recording
from bench.detection.silent import CASES, CONTEXT, try_case
from bench.detection.spread import robust_sigma
from bench.detection.vus_pr import period_of, vus_pr
from gateway.baseline.scorecard import Event, Judged, Opening, Scorecard, merge, openings_of

Floats = NDArray[np.float64]
SNIPPETS_PER_PIECE = 4


@dataclass(slots=True)
class Snippet:
    """A stretch around a miss or a false alert, for a plot. `badness` ranks it within its set."""

    category: str
    title: str
    badness: float
    times_s: Floats
    values: Floats
    expected: Floats
    lower: Floats
    upper: Floats
    score: Floats
    alert: NDArray[np.bool_]
    events: list[Event]
    at: Opening


@dataclass(slots=True)
class Piece:
    """What one piece of work brought back."""

    dataset: str
    name: str
    card: Scorecard
    vus: list[float] = field(default_factory=list)
    group_vus: dict[str, float] = field(default_factory=dict)
    nab: tuple[FileScores, FileScores] | None = None
    """Raw scores, and alert starts only (0/1)."""
    calibration: Floats | None = None
    snippets: list[Snippet] = field(default_factory=list)
    faults: list[tuple[Fault, Judged]] = field(default_factory=list)
    twin: Scorecard | None = None
    points: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    """False alerts by the reason the detector gave."""
    silent: list[tuple[str, bool]] = field(default_factory=list)
    """Cases that must stay silent, and whether they did not."""
    sent: list[Sent] = field(default_factory=list)
    twin_sent: list[Sent] = field(default_factory=list)
    """Alerts that count, for bench.detection.incident_groups."""
    members_found: float = 0.0
    """Of a correlated incident: share of its series that alerted."""


def _snippet(category: str, title: str, badness: float, scored: Scored, at: Opening, events: list[Event],
             step: float) -> Snippet:  # fmt: skip
    before, after = 240 * step, max(60 * step, min(at.end - at.start, 400 * step))
    order = np.argsort(scored.times_s, kind="stable")
    times = scored.times_s[order]
    rows = order[np.searchsorted(times, at.start - before) : np.searchsorted(times, at.start + 2 * after + 120 * step)]
    return Snippet(
        category, title, badness, scored.times_s[rows], scored.values[rows], scored.expected[rows], scored.lower[rows],
        scored.upper[rows], scored.score[rows], scored.alert[rows], events, at,
    )  # fmt: skip


def _visibility(recording: Recording, start: float, end: float) -> float:
    """How far a stretch stands out of the hours before it, in local robust σ: how bad it is to miss it."""
    before = (recording.times_s >= start - 240 * recording.interval_s) & (recording.times_s < start)
    inside = (recording.times_s >= start) & (recording.times_s <= end)
    past, now = recording.values[before], recording.values[inside]
    past, now = past[np.isfinite(past)], now[np.isfinite(now)]
    if len(past) < 10 or len(now) == 0:
        return 0.0
    return float(np.median(np.abs(now - np.median(past[-60:])))) / robust_sigma(past)


def _worst(recording: Recording, scored: Scored, card: Scorecard) -> list[Snippet]:
    misses = [
        (_visibility(recording, j.event.start, j.event.end), Opening(j.event.start, j.event.end), j.event.kind)
        for j in card.events
        if not j.found
    ]
    falses = []
    for opening in card.false_spans:
        rows = (scored.times_s >= opening.start - 1) & (scored.times_s <= opening.end + 1)
        falses.append((float(scored.score[rows].max(initial=0.0)), opening, _reason_at(scored, opening)))
    out = []
    for category, found in (("miss", misses), ("false", falses)):
        for badness, at, note in sorted(found, key=lambda f: -f[0])[:SNIPPETS_PER_PIECE]:
            near = [e for e in recording.events if abs(e.start - at.start) < 2000 * recording.interval_s]
            title = f"{recording.dataset} {recording.name} {note}"
            out.append(_snippet(category, title, badness, scored, at, near, recording.interval_s))
    return out


def _reason_at(scored: Scored, opening: Opening) -> str:
    names = [name for time, name in scored.reasons if opening.start - 1 <= time <= opening.end + 1]
    return names[0] if names else "unresolved"


def _reasons(scored: Scored, card: Scorecard) -> dict[str, int]:
    counts: dict[str, int] = {}
    for opening in card.false_spans:
        name = _reason_at(scored, opening)
        counts[name] = counts.get(name, 0) + 1
    return counts


def _vus(recording: Recording, score: Floats) -> list[float]:
    out = []
    for first, last in recording.vus_slices:
        rows = slice(first, last)
        if (recording.labels[rows] == 1).any():
            out.append(vus_pr(recording.labels[rows], score[rows], period_of(recording.values[rows])))
    return out


def labelled_unit(root: Path, dataset: str, key: str, detector: Detector) -> list[Piece]:
    """One loading unit of a labelled set: a piece per series, or one for the group its series make."""
    recordings = DATA_SETS[dataset].load(root, key)
    if not recordings:
        return []
    scored = [run(recording, detector) for recording in recordings]
    if recordings[0].group:
        return [_group(recordings, scored)]
    pieces = []
    for recording, one in zip(recordings, scored, strict=True):
        card = judge_recording(recording, one)
        score = score_by_row(one)
        piece = Piece(dataset, recording.name, card, vus=_vus(recording, score), points=len(recording.values))
        piece.sent = sent_of(card, dataset, recording.name)
        if dataset == "nab":
            windows = window_rows(recording.times_s, [(e.start, e.end) for e in recording.events])
            sent = np.array([a.start for a in merge(openings_of(one.times_s, one.alert), recording.merge_s)])
            starts = np.isin(recording.times_s, sent).astype(np.float64)
            piece.nab = (FileScores(score, windows), FileScores(starts, windows))
        piece.calibration = calibration.exceedances(recording, one)
        piece.snippets = _worst(recording, one, card)
        piece.reasons = _reasons(one, card)
        pieces.append(piece)
    return pieces


def _group(recordings: Sequence[Recording], scored: Sequence[Scored]) -> Piece:
    """A machine, pod or plant: its alerts together, its scores fused."""
    cards = [judge_recording(recording, one) for recording, one in zip(recordings, scored, strict=True)]
    card = of_members(cards)
    first = recordings[0]
    piece = Piece(first.dataset, first.group, card, points=sum(len(r.values) for r in recordings))
    for recording, one_card in zip(recordings, cards, strict=True):
        piece.sent += sent_of(one_card, recording.dataset, recording.name, recording.group)
    if first.vus_slices and first.dataset != "nezha":
        scores = np.array([score_by_row(one) for one in scored])
        # The period of a machine is that of its first series that has one.
        a, b = first.vus_slices[0]
        period = period_of(first.values[a:b])
        for name, fused in fuse(scores, a).items():
            piece.group_vus[name] = vus_pr(first.labels[a:b], fused[a:b], period)
    totals = [t for r, s in zip(recordings, scored, strict=True) if (t := calibration.exceedances(r, s)) is not None]
    piece.calibration = np.sum(totals, axis=0) if totals else None
    for opening in card.false_spans:
        for one in scored:
            names = [name for time, name in one.reasons if opening.start - 1 <= time <= opening.end + 1]
            if names:
                piece.reasons[names[0]] = piece.reasons.get(names[0], 0) + 1
                break
    piece.snippets = _group_snippets(recordings, scored, card)
    return piece


def _group_snippets(recordings: Sequence[Recording], scored: Sequence[Scored], card: Scorecard) -> list[Snippet]:
    out = []
    spots = [("miss", Opening(j.event.start, j.event.end)) for j in card.events if not j.found][:SNIPPETS_PER_PIECE]
    spots += [("false", opening) for opening in card.false_spans[:SNIPPETS_PER_PIECE]]
    for category, at in spots:

        def peak(k: int, at: Opening = at) -> float:
            rows = (scored[k].times_s >= at.start - 1) & (scored[k].times_s <= max(at.end, at.start + 1) + 1)
            return float(scored[k].score[rows].max(initial=0.0))

        k = max(range(len(scored)), key=peak)
        near = [e for e in recordings[k].events if abs(e.start - at.start) < 2000 * recordings[k].interval_s]
        badness = _visibility(recordings[k], at.start, at.end) if category == "miss" else peak(k)
        title = f"{recordings[k].dataset} {recordings[k].name}"
        out.append(_snippet(category, title, badness, scored[k], at, near, recordings[k].interval_s))
    return out


def injected_slice(root: Path, piece: Slice, seed: int, detector: Detector) -> list[Piece]:
    """A slice with faults and its twin without."""
    injected = inject(root, piece, seed)
    if injected is None:
        return []
    scored = run(injected.recording, detector)
    card = judge_recording(injected.recording, scored)
    by_label = {judged.event: judged for judged in card.events}
    faults = [(fault, by_label[fault.label]) for fault in injected.faults if fault.label in by_label]
    twin_scored = run(injected.twin, detector)
    twin = judge_recording(injected.twin, twin_scored)
    snippets = _worst(injected.recording, scored, card)
    critical = {fault.label.start for fault, _ in faults if fault.critical}
    snippets = [s for s in snippets if s.category == "false" or s.at.start in critical]
    out = Piece(f"injected/{piece.dataset}", injected.recording.name, card, faults=faults, twin=twin,
                points=len(injected.recording.values) + len(injected.twin.values))  # fmt: skip
    out.snippets = snippets
    out.sent = sent_of(card, piece.dataset, injected.recording.name)
    out.twin_sent = sent_of(twin, piece.dataset, injected.twin.name)
    out.reasons = _reasons(scored, card)
    twin_reasons = _reasons(twin_scored, twin)
    for name, count in twin_reasons.items():
        out.reasons[f"twin {name}"] = count
    return [out]


def silent_cases(root: Path, piece: Slice, seed: int, detector: Detector) -> list[Piece]:
    """Every case that must stay silent, on one slice."""
    out = Piece("silent", f"{piece.dataset}/{piece.key}", Scorecard())
    for name in (*CASES, *CONTEXT):
        alerted = try_case(name, root, piece, seed, detector)
        if alerted is not None:
            out.silent.append((name, alerted))
    return [out]


def correlated(root: Path, number: int, seed: int, detector: Detector) -> list[Piece]:
    """One incident over many series: found by whichever alerts first."""
    made = incident(root, number, seed)
    if made is None:
        return []
    label = made.fault.label
    judged = []
    for member in made.members:
        card = judge_recording(member, run(member, detector), [label])
        judged += card.events
    best = min(judged, key=lambda j: (not j.found, j.delay_s))
    out = Piece("incident", f"{made.fault.kind} {number}", Scorecard(), faults=[(made.fault, best)],
                points=sum(len(m.values) for m in made.members))  # fmt: skip
    out.members_found = sum(j.found for j in judged) / len(judged)
    return [out]
