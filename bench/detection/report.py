"""From pieces to figures: one JSON line per set and fault type, and the Markdown tables of bench/RESULTS.md."""

from __future__ import annotations

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from bench.detection import calibration, nab_score
from bench.detection.bootstrap import false_share_interval, ratio_interval, recall_interval
from bench.detection.evaluate import Piece
from bench.detection.incident_groups import IncidentCounts, incidents_of
from bench.detection.silent import CASES, CONTEXT
from gateway.baseline.scorecard import Scorecard

BEGIN, END = "<!-- detection:begin -->", "<!-- detection:end -->"

DELAYED = ("shift", "spike", "burst", "zero")
"""Faults whose mean delay the two minutes are measured on."""


def _round(value: Any) -> Any:
    if isinstance(value, float):
        return None if not math.isfinite(value) else float(f"{value:.4g}")
    if isinstance(value, (tuple, list)):
        return [_round(v) for v in value]
    if isinstance(value, dict):
        return {k: _round(v) for k, v in value.items()}
    return value


def rounded(rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """To four digits, NaN as None."""
    return [{k: _round(v) for k, v in row.items()} for row in rows]


def figures(pieces: Sequence[Piece], *, seed: int) -> list[dict[str, Any]]:
    """All figures of a run, one row a data set and fault type."""
    by_set: dict[str, list[Piece]] = defaultdict(list)
    for piece in pieces:
        by_set[piece.dataset].append(piece)
    rows: list[dict[str, Any]] = []
    injected: list[Piece] = []
    incidents: list[dict[str, Any]] = []
    silent: list[dict[str, Any]] = []
    for name in sorted(by_set):
        if name.startswith("injected/"):
            injected += by_set[name]
        elif name == "incident":
            incidents = _incidents(by_set[name])
        elif name == "silent":
            silent = _silent(by_set[name])
        else:
            rows.append(_labelled(name, by_set[name], seed))
    if injected:
        rows += _injected(injected, seed)
    rows += incidents + silent
    return rounded(rows)


def _total(cards: Iterable[Scorecard]) -> Scorecard:
    total = Scorecard()
    for card in cards:
        total.add(card)
    return total


def _reason_counts(pieces: Sequence[Piece]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for piece in pieces:
        for name, count in piece.reasons.items():
            counts[name] += count
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def _incident_counts(pieces: Sequence[Piece]) -> IncidentCounts:
    return incidents_of((s for piece in pieces for s in piece.sent), sum(piece.card.unresolved for piece in pieces))


def _twin_incidents(pieces: Sequence[Piece]) -> IncidentCounts:
    unresolved = sum(piece.twin.unresolved for piece in pieces if piece.twin is not None)
    return incidents_of((s for piece in pieces for s in piece.twin_sent), unresolved)


def _per_day(count: int, card: Scorecard) -> float:
    return count / (card.scored_s / 86400) if card.scored_s else math.nan


def _labelled(name: str, pieces: Sequence[Piece], seed: int) -> dict[str, Any]:
    cards = [piece.card for piece in pieces]
    total = _total(cards)
    incidents = _incident_counts(pieces)
    row: dict[str, Any] = {
        "bench": "detection", "set": name, "series": len(cards), "events": len(total.events), "recall": total.recall,
        "recall_ci": recall_interval(cards, seed=seed), "alerts": total.alerts, "false_share": total.false_share,
        "false_share_ci": false_share_interval(cards, seed=seed), "incidents": incidents.true + incidents.false,
        "incident_false_share": incidents.false_share, "false_per_series_day": total.false_per_series_day,
        "unresolved": total.unresolved, "neutral_alerts": total.neutral_alerts,
        "normal_in_alert": total.normal_in_alert_share, "delay_mean_min": total.mean_delay_min,
        "delay_median_min": total.median_delay_min, "false_by_reason": _reason_counts(pieces),
    }  # fmt: skip
    vus = [v for piece in pieces for v in piece.vus]
    if vus:
        row["vus_pr"] = fmean(vus)
        row["vus_files"] = len(vus)
    for fusion in ("max", "top5", "mean", "raised"):
        values = [piece.group_vus[fusion] for piece in pieces if fusion in piece.group_vus]
        values = [v for v in values if math.isfinite(v)]
        if values:
            row[f"vus_pr_{fusion}"] = fmean(values)
    totals = [piece.calibration for piece in pieces if piece.calibration is not None]
    if totals:
        row["calibration"] = calibration.ratios(np.sum(totals, axis=0))
    nab = [piece.nab for piece in pieces if piece.nab is not None]
    if nab:
        for profile_name, profile in nab_score.PROFILES.items():
            row[f"nab_{profile_name}"], threshold = nab_score.best_score([raw for raw, _ in nab], profile)
            row[f"nab_{profile_name}_threshold"] = threshold
            row[f"nab_alerts_{profile_name}"] = nab_score.corpus_score([starts for _, starts in nab], 0.5, profile)
    return row


def _injected(pieces: Sequence[Piece], seed: int) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    total = _total(piece.card for piece in pieces)
    faults = [(piece, fault, judged) for piece in pieces for fault, judged in piece.faults]
    kinds = sorted({fault.kind for _, fault, _ in faults})
    for critical in (True, False):
        for kind in kinds:
            some = [(p, f, j) for p, f, j in faults if f.kind == kind and f.critical == critical]
            if not some:
                continue
            per_series: dict[str, list[int]] = defaultdict(lambda: [0, 0])
            for piece, _, judged in some:
                per_series[piece.dataset + piece.name][0] += judged.found
                per_series[piece.dataset + piece.name][1] += 1
            fine = [j for p, _, j in some if p.dataset in ("injected/wsd", "injected/aiops_kpi")]
            row: dict[str, Any] = {
                "bench": "detection", "set": "injected", "fault": kind, "critical": critical, "faults": len(some),
                "recall": fmean(j.found for _, _, j in some),
                "recall_ci": ratio_interval(
                    [v[0] for v in per_series.values()], [v[1] for v in per_series.values()], seed=seed
                ),
                "delay_mean_min": fmean(j.delay_s for j in fine) / 60 if fine else math.nan,
                "delay_median_min": median(j.delay_s for j in fine) / 60 if fine else math.nan,
            }  # fmt: skip
            if kind == "leak":
                row["in_time"] = fmean(
                    j.found and j.event.clock is not None and j.delay_s + j.event.clock <= (f.start + f.limit_at) / 2
                    for _, f, j in some
                )
            rows.append(row)
    critical_some = [(p, f, j) for p, f, j in faults if f.critical]
    quick_faults = [
        j for p, f, j in critical_some if f.kind in DELAYED and p.dataset in ("injected/wsd", "injected/aiops_kpi")
    ]
    by_piece: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for piece, _, judged in critical_some:
        by_piece[id(piece)][0] += judged.found
        by_piece[id(piece)][1] += 1
    incidents = _incident_counts(pieces)
    rows.append({
        "bench": "detection", "set": "injected", "fault": "all critical", "critical": True,
        "faults": len(critical_some), "recall": fmean(j.found for _, _, j in critical_some),
        "recall_ci": ratio_interval([v[0] for v in by_piece.values()], [v[1] for v in by_piece.values()], seed=seed),
        "alerts": total.alerts, "false_share": total.false_share,
        "false_share_ci": false_share_interval([p.card for p in pieces], seed=seed),
        "incidents": incidents.true + incidents.false, "incident_false_share": incidents.false_share,
        "unresolved": total.unresolved, "normal_in_alert": total.normal_in_alert_share,
        "mttd_min": fmean(j.delay_s for j in quick_faults) / 60 if quick_faults else math.nan,
        "false_by_reason": _reason_counts(pieces),
    })  # fmt: skip
    for dataset in sorted({piece.dataset for piece in pieces}):
        some_pieces = [piece for piece in pieces if piece.dataset == dataset]
        here = [j.found for p, f, j in critical_some if p.dataset == dataset]
        card = _total(piece.card for piece in some_pieces)
        twin = _total(piece.twin for piece in some_pieces if piece.twin is not None)
        rows.append({
            "bench": "detection", "set": dataset, "series": len(some_pieces), "faults": len(here),
            "recall": fmean(here) if here else math.nan, "false_share": card.false_share,
            "incident_false_share": _incident_counts(some_pieces).false_share,
            "twin_false_per_series_day": twin.false_per_series_day, "twin_series_days": twin.scored_s / 86400,
            "twin_incidents_per_series_day": _per_day(_twin_incidents(some_pieces).false, twin),
            "twin_normal_in_alert": twin.normal_in_alert_share,
        })  # fmt: skip
    twins = _total(piece.twin for piece in pieces if piece.twin is not None)
    twin_incidents = _twin_incidents(pieces)
    fine_twins = _total(
        p.twin for p in pieces if p.twin is not None and p.dataset in ("injected/wsd", "injected/aiops_kpi")
    )
    rows.append({
        "bench": "detection", "set": "twins", "series": twins.series, "series_days": twins.scored_s / 86400,
        "false_alerts": twins.false_alerts, "false_per_series_day": twins.false_per_series_day,
        "false_incidents": twin_incidents.false,
        "false_incidents_per_series_day": _per_day(twin_incidents.false, twins),
        "false_per_series_day_60s": fine_twins.false_per_series_day, "normal_in_alert": twins.normal_in_alert_share,
    })  # fmt: skip
    return rows


def _incidents(pieces: Sequence[Piece]) -> list[dict[str, Any]]:
    rows = []
    for kind in sorted(
        {fault.kind for piece in pieces for fault, _ in piece.faults}, key=lambda k: int(k.split("_")[1])
    ):
        some = [(piece, fault, judged) for piece in pieces for fault, judged in piece.faults if fault.kind == kind]
        rows.append({
            "bench": "detection", "set": "injected", "fault": kind, "critical": all(f.critical for _, f, _ in some),
            "faults": len(some), "recall": fmean(j.found for _, _, j in some),
            "delay_mean_min": fmean(j.delay_s for _, _, j in some) / 60,
            "delay_median_min": median(j.delay_s for _, _, j in some) / 60,
            "members_found": fmean(p.members_found for p, _, _ in some),
        })  # fmt: skip
    return rows


def _silent(pieces: Sequence[Piece]) -> list[dict[str, Any]]:
    cases: dict[str, list[bool]] = {name: [] for name in (*CASES, *CONTEXT)}
    for piece in pieces:
        for name, alerted in piece.silent:
            cases[name].append(alerted)
    rows: list[dict[str, Any]] = [
        {"bench": "detection", "set": "silent", "silent": name, "cases": len(found), "alerted": sum(found)}
        for name, found in cases.items()
        if found
    ]
    return rows


def _cell(value: Any, digits: int = 3) -> str:
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return "–"
    return f"{value:.{digits}f}" if isinstance(value, float) else str(value)


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(header) + " |", "|" + "|".join(" --- " for _ in header) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def _with_interval(row: dict[str, Any], key: str) -> str:
    interval = row.get(f"{key}_ci")
    text = _cell(row.get(key))
    if not interval or interval[0] is None:
        return text
    return f"{text} ({_cell(interval[0], 2)} – {_cell(interval[1], 2)})"


def markdown(rows: Sequence[dict[str, Any]], *, command: str) -> str:
    """The tables, with the command that makes them."""
    parts = [f"Made by `{command}`. In brackets: 95 % interval, bootstrap over series."]
    labelled = [r for r in rows if "events" in r]
    if labelled:
        parts.append("**Labelled recordings**, shipped settings, nothing fitted to a file\n\n" + _table(
            ("set", "series", "events", "recall", "false share", "of incidents", "false / series-day",
             "normal time in alert", "delay mean / median, min", "VUS-PR"),
            [(r["set"], _cell(r["series"]), _cell(r["events"]), _with_interval(r, "recall"),
              _with_interval(r, "false_share"), _cell(r["incident_false_share"]), _cell(r["false_per_series_day"]),
              _cell(r["normal_in_alert"], 4),
              f"{_cell(r['delay_mean_min'], 1)} / {_cell(r['delay_median_min'], 1)}",
              _cell(r.get("vus_pr", r.get("vus_pr_raised")))) for r in labelled],
        ))  # fmt: skip
    peers = [r for r in rows if "peer" in r]
    nab = [r for r in rows if "nab_standard" in r and "peer" not in r]
    if nab:
        r = nab[0]
        parts.append("**NAB score**\n\n" + _table(
            ("profile", "raw score, the benchmark's own threshold search", "alerts as sent, shipped threshold"),
            [(p, _cell(r[f"nab_{p}"], 1), _cell(r[f"nab_alerts_{p}"], 1)) for p in nab_score.PROFILES],
        ))  # fmt: skip
    if peers:
        parts.append(
            "**What others reach**: NAB on the same files with the benchmark's threshold search; VUS-PR as published, "
            "mean over other files of the same sources\n\n" + _table(
            ("set", "detector", "NAB standard / low FP / low FN", "VUS-PR"),
            [(r["set"], r["peer"], " / ".join(_cell(r[f"nab_{p}"], 1) for p in nab_score.PROFILES)
              if "nab_standard" in r else "–", _cell(r.get("vus_pr"))) for r in peers],
        ))  # fmt: skip
    calibrated = [r for r in rows if "calibration" in r]
    if calibrated:
        levels = list(calibrated[0]["calibration"])
        parts.append("**Calibration**: empirical over nominal rate of p ≤ level on clean spans\n\n" + _table(
            ("set", *levels), [(r["set"], *(_cell(r["calibration"][k], 2) for k in levels)) for r in calibrated]
        ))  # fmt: skip
    faults = [r for r in rows if r.get("set") == "injected"]
    if faults:
        parts.append("**Injected faults over real backgrounds**\n\n" + _table(
            ("fault", "critical", "faults", "recall", "delay mean / median, min (60 s data)", "note"),
            [(r["fault"], "yes" if r["critical"] else "no", _cell(r["faults"]), _with_interval(r, "recall"),
              f"{_cell(r.get('delay_mean_min', r.get('mttd_min')), 1)} / {_cell(r.get('delay_median_min'), 1)}",
              f"in time {_cell(r['in_time'], 2)}" if "in_time" in r else
              f"{_cell(r['members_found'], 2)} of its series" if "members_found" in r else
              f"false share {_with_interval(r, 'false_share')}, of incidents {_cell(r['incident_false_share'])}"
              if "false_share" in r else "") for r in faults],
        ))  # fmt: skip
    backgrounds = [r for r in rows if str(r.get("set", "")).startswith("injected/")]
    if backgrounds:
        parts.append("**By background**; untouched twins\n\n" + _table(
            ("background", "series", "critical faults", "recall", "false share", "of incidents",
             "twin: false / series-day", "incidents", "twin: time in alert"),
            [(r["set"].removeprefix("injected/"), _cell(r["series"]), _cell(r["faults"]), _cell(r["recall"]),
              _cell(r["false_share"]), _cell(r["incident_false_share"]), _cell(r["twin_false_per_series_day"], 4),
              _cell(r["twin_incidents_per_series_day"], 4), _cell(r["twin_normal_in_alert"], 4)) for r in backgrounds]
            + [("all", _cell(r["series"]), *("–",) * 4, _cell(r["false_per_series_day"], 4),
                _cell(r["false_incidents_per_series_day"], 4), _cell(r["normal_in_alert"], 4))
               for r in rows if r.get("set") == "twins"],
        ))  # fmt: skip
    forecasts = [r for r in rows if "forecast_steps" in r]
    if forecasts:
        parts.append("**Forecasts**, errors in those of the seasonal-naive one of the past (MASE)\n\n" + _table(
            ("set", "steps ahead", "forecasts", "error", "seasonal-naive", "better in", "held of 0.90",
             "interval score", "seasonal-naive"),
            [(r["set"], _cell(r["forecast_steps"]), _cell(r["forecasts"]), _cell(r["mase"]),
              _cell(r["seasonal_naive_mase"]), _cell(r["better_than_naive"], 2), _cell(r["held"]),
              _cell(r["interval_score"], 2), _cell(r["seasonal_naive_interval_score"], 2)) for r in forecasts],
        ))  # fmt: skip
    silent = [r for r in rows if "silent" in r]
    if silent:
        parts.append("**Must stay silent**\n\n" + _table(
            ("case", "cases", "with an alert of their own", "note"),
            [(r["silent"], _cell(r["cases"]), _cell(r["alerted"]), r.get("note", "")) for r in silent],
        ))  # fmt: skip
    return "\n\n".join(parts)


def write_results(path: Path, text: str) -> None:
    """Put the tables between the markers of a Markdown file, making both if they are not there."""
    old = path.read_text(encoding="utf-8") if path.is_file() else "# Results\n"
    if BEGIN not in old:
        old = old.rstrip() + f"\n\n## Detection\n\n{BEGIN}\n{END}\n"
    head, rest = old.split(BEGIN, 1)
    tail = rest.split(END, 1)[1]
    path.write_text(f"{head}{BEGIN}\n\n{text}\n\n{END}{tail}", encoding="utf-8")


def json_lines(rows: Iterable[dict[str, Any]]) -> str:
    """One line a figure."""
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
