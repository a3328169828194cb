"""The analytics as a report for people: Markdown, or one HTML page that needs nothing else."""

from __future__ import annotations

import html
from collections.abc import Iterable
from typing import Final

import msgspec

from gateway.alerting.analytics import BRIEF, Analytics, Row, Tally, Times
from gateway.alerting.moments import SECOND

WEEKDAYS: Final = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
BUSIEST: Final = 5
_CHART_WIDTH: Final = 900
_CHART_HEIGHT: Final = 120
_STYLE: Final = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #1c2430; }
table { border-collapse: collapse; margin: 0.5rem 0 1.5rem; }
th, td { border-bottom: 1px solid #d5dae2; padding: 0.25rem 0.75rem; text-align: right; }
th:first-child, td:first-child { text-align: left; overflow-wrap: anywhere; }
svg { background: #f5f7fa; } rect { fill: #3566b0; }
"""


class Section(msgspec.Struct, frozen=True):
    """A heading, sentences, and a table."""

    title: str
    sentences: tuple[str, ...] = ()
    header: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


def markdown(found: Analytics) -> str:
    """The report as Markdown."""
    lines = [f"# {_title(found)}", ""]
    for section in sections(found):
        lines += [f"## {section.title}", ""]
        for sentence in section.sentences:
            lines += [_markdown_text(sentence), ""]
        if section.rows:
            lines.append(_markdown_row(section.header))
            lines.append("|---" + "|---:" * (len(section.header) - 1) + "|")
            lines += [_markdown_row(row) for row in section.rows]
            lines.append("")
    return "\n".join(lines)


def page(found: Analytics) -> str:
    """The report as HTML."""
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        f"<title>{html.escape(_title(found))}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{html.escape(_title(found))}</h1>",
    ]
    for section in sections(found):
        parts.append(f"<h2>{html.escape(section.title)}</h2>")
        parts += [f"<p>{html.escape(sentence)}</p>" for sentence in section.sentences]
        if section.title == "Over time":
            parts.append(_chart([bucket.tally.alerts for bucket in found.over_time]))
        if section.rows:
            parts.append("<table>" + _html_row("th", section.header))
            parts += [_html_row("td", row) for row in section.rows]
            parts.append("</table>")
    parts.append("</body></html>\n")
    return "\n".join(parts)


def sections(found: Analytics) -> list[Section]:
    """What the report says, in order."""
    return [
        _overview(found),
        *(
            Section(f"By {kind}", (), _ROW_HEADER, tuple(map(_row, rows)))
            for kind, rows in (
                ("team", found.teams),
                ("service", found.services),
                ("rule", found.rules),
                ("severity", found.severities),
            )
        ),
        Section(
            "By receiver",
            (),
            _RECEIVER_HEADER,
            tuple(
                (
                    row.integration,
                    str(row.delivered),
                    *(str(row.reasons.get(why, 0)) for why in ("first", "changed", "resolved", "repeat")),
                    str(row.failed_attempts),
                    str(row.refused),
                    _length(row.lag.p50 if row.lag else None),
                    _length(row.lag.p90 if row.lag else None),
                )
                for row in found.receivers
            ),
        ),
        Section(
            "Loudest alerts",
            (),
            ("Labels", "Times"),
            tuple((_labels(loud.labels), str(loud.alerts)) for loud in found.loudest),
        ),
        Section("Busiest hours", (f"Time zone: {found.timezone}.",), ("Hour", "Alerts"), tuple(_busiest(found))),
        Section(
            "Over time",
            (f"One line per {_length(found.step_seconds)}; lines without alerts and notifications are left out.",),
            ("From", "Alerts", "Notifications", "Acknowledged", "Noise", "To resolve p50"),
            tuple(
                (
                    bucket.start,
                    str(bucket.tally.alerts),
                    str(bucket.notifications),
                    str(bucket.tally.acknowledged),
                    _noise(bucket.tally),
                    _p50(bucket.tally.to_resolve),
                )
                for bucket in found.over_time
                if bucket.tally.alerts or bucket.notifications
            ),
        ),
    ]


def _overview(found: Analytics) -> Section:
    total = found.total
    noise = total.noise
    if noise.share is None:
        judged = "Noise share: not known, as nobody acted on any alert here or none that was told has ended."
    else:
        judged = (
            f"Noise share: {noise.share:.0%} ({noise.nobody_acted} of {noise.told_and_ended} alerts that were told and "
            "ended had nobody acting on them)."
        )
    rows = [
        ("Alerts", str(total.alerts)),
        ("… told to somebody", str(total.told)),
        ("… suppressed and never told", str(total.suppressed)),
        *((f"… … by {reason}", str(count)) for reason, count in found.suppressed_by.items()),
        ("… acknowledged", str(total.acknowledged)),
        ("… acted on in any way", str(total.acted_on)),
        ("… ended", str(total.ended)),
        (f"… ended within {_length(BRIEF // SECOND)}", str(total.brief)),
        ("Notifications delivered", str(found.notifications)),
        ("Time to acknowledgement p50 / p90", f"{_p50(total.to_acknowledge)} / {_p90(total.to_acknowledge)}"),
        ("Time to resolution p50 / p90", f"{_p50(total.to_resolve)} / {_p90(total.to_resolve)}"),
    ]
    return Section("Overview", (judged,), ("", "Count"), tuple(rows))


_RECEIVER_HEADER: Final = (
    "Integration",
    "Delivered",
    "First",
    "Changed",
    "Resolved",
    "Repeat",
    "Failed attempts",
    "Refused",
    "Lag p50",
    "Lag p90",
)
_ROW_HEADER: Final = (
    "Name",
    "Alerts",
    "Told",
    "Notifications",
    "Acknowledged",
    "Noise",
    "To acknowledge p50",
    "To resolve p50",
)


def _row(row: Row) -> tuple[str, ...]:
    tally = row.tally
    return (
        row.name or "(none)",
        str(tally.alerts),
        str(tally.told),
        str(row.notifications),
        str(tally.acknowledged),
        _noise(tally),
        _p50(tally.to_acknowledge),
        _p50(tally.to_resolve),
    )


def _busiest(found: Analytics) -> Iterable[tuple[str, str]]:
    cells = [
        (count, day, hour) for day, hours in enumerate(found.by_weekday_and_hour) for hour, count in enumerate(hours)
    ]
    for count, day, hour in sorted(cells, key=lambda cell: (-cell[0], cell[1], cell[2]))[:BUSIEST]:
        if count:
            yield f"{WEEKDAYS[day]} {hour:02d}:00", str(count)


def _title(found: Analytics) -> str:
    return f"Alerting from {found.start} to {found.end}"


def _noise(tally: Tally) -> str:
    return "–" if tally.noise.share is None else f"{tally.noise.share:.0%}"


def _p50(times: Times | None) -> str:
    return _length(times.p50 if times else None)


def _p90(times: Times | None) -> str:
    return _length(times.p90 if times else None)


def _length(seconds: float | None) -> str:
    if seconds is None:
        return "–"
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.1f}".removesuffix(".0") + f" {unit}"
    return f"{seconds:.1f}".removesuffix(".0") + " s"


def _labels(labels: dict[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in labels.items())


_MARKDOWN: Final = str.maketrans({c: f"\\{c}" for c in "\\`*_{}[]<>#|~"} | {"\n": " ", "\r": " "})


def _markdown_text(text: str) -> str:
    """Text of others as text: no markup, no cell border, one line."""
    return text.translate(_MARKDOWN)


def _markdown_row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(_markdown_text(cell) for cell in cells)} |"


def _html_row(tag: str, cells: tuple[str, ...]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _chart(counts: list[int]) -> str:
    most = max(counts, default=0)
    if not most:
        return ""
    width = _CHART_WIDTH / len(counts)
    bars = "".join(
        f'<rect x="{n * width:.1f}" y="{_CHART_HEIGHT * (1 - count / most):.1f}" width="{width * 0.9:.2f}" '
        f'height="{_CHART_HEIGHT * count / most:.1f}"/>'
        for n, count in enumerate(counts)
        if count
    )
    return (
        f'<svg viewBox="0 0 {_CHART_WIDTH} {_CHART_HEIGHT}" width="100%" role="img" '
        f'aria-label="Alerts over time, at most {most} in one step">{bars}</svg>'
    )
