"""`gateway alerting …`: a report of the recorded history, and a changed configuration over it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from gateway.alerting.analytics import analyse
from gateway.alerting.analytics_report import markdown, page
from gateway.alerting.channels import with_extra_receivers
from gateway.alerting.configuration import Configuration, load_configuration
from gateway.alerting.moments import SECOND, format_moment, parse_duration
from gateway.alerting.recorded import RecordedStore, open_recorded
from gateway.alerting.replay import compare
from gateway.alerting.told_otherwise import Comparison, Difference, Way
from gateway.config import LoadedConfig
from gateway.errors import ConfigError, GatewayError
from gateway.supervision import load_or_exit
from gateway.web.query_parameters import parse_time

EXIT_REFUSED = 1
_DAYS = 7
_SHOWN_LABELS = 4

GatewayConfig = Annotated[
    Path | None, typer.Option("--gateway-config", help="The gateway's TOML file; says where the data directory is.")
]
DataDir = Annotated[Path | None, typer.Option("--data-dir", help="Data directory; wins over the TOML file.")]
FromOption = Annotated[str, typer.Option("--from", help='Unix seconds, ISO 8601 or relative as "-24h".')]
ToOption = Annotated[str, typer.Option("--to", help="As --from.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(no_args_is_help=True, help="What alerting did, and what it would do otherwise.")
    app.add_typer(group, name="alerting")

    @group.command("report")
    def report(
        gateway_config: GatewayConfig = None,
        data_dir: DataDir = None,
        since: FromOption = f"-{_DAYS}d",
        until: ToOption = "now",
        form: Annotated[str, typer.Option("--format", help="markdown, html or json.")] = "markdown",
        timezone: Annotated[str, typer.Option("--timezone", help="Zone of the busiest hours.")] = "UTC",
    ) -> None:
        """Alerts, noise, times and notifications from the recorded history, also while the gateway runs.

        Examples:

          gateway alerting report --from -30d

          gateway alerting report --format html > report.html
        """
        try:
            start, end = _span(since, until)
            if form not in ("markdown", "html", "json"):
                raise ConfigError(f'"{form}" is no format', key="--format", expected="markdown, html or json")
            try:
                zone = ZoneInfo(timezone)
            except (ZoneInfoNotFoundError, ValueError, OSError):
                raise ConfigError(f'"{timezone}" is no time zone', key="--timezone", expected="Europe/Berlin") from None
            store = _open(load_or_exit(gateway_config, []), data_dir)
            try:
                found = analyse(store, start, end, zone=zone, zone_name=timezone)
            finally:
                store.close()
        except GatewayError as error:
            raise _refused(error) from None
        if form == "json":
            typer.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
        else:
            typer.echo(markdown(found) if form == "markdown" else page(found), nl=False)

    @group.command("replay")
    def replay(
        config: Annotated[Path, typer.Option("--config", "-c", help="The changed alertmanager.yml.")],
        gateway_config: GatewayConfig = None,
        data_dir: DataDir = None,
        since: FromOption = f"-{_DAYS}d",
        until: ToOption = "now",
        against: Annotated[
            Path | None,
            typer.Option("--against", help="Compare with this alertmanager.yml instead of with the record."),
        ] = None,
        tolerance: Annotated[str, typer.Option("--tolerance", help="Times closer than this are the same.")] = "30s",
        limit: Annotated[int, typer.Option("--limit", min=1, help="Lines of the table.")] = 100,
        as_json: Annotated[bool, typer.Option("--json", help="Everything as JSON.")] = False,
    ) -> None:
        """Run a changed alertmanager.yml over the recorded history and show what would have been sent differently.

        Examples:

          gateway alerting replay --config new.yml --from -24h

          gateway alerting replay --config new.yml --against alertmanager.yml --json
        """
        try:
            start, end = _span(since, until)
            try:
                tolerated = parse_duration(tolerance)
            except ValueError as error:
                raise ConfigError(str(error), key="--tolerance") from None
            loaded = load_or_exit(gateway_config, [])
            changed = _configuration(config, loaded)
            other = None if against is None else _configuration(against, loaded)
            store = _open(loaded, data_dir)
            try:
                found = compare(store, changed, start, end, tolerance=tolerated, against=other)
            finally:
                store.close()
        except GatewayError as error:
            raise _refused(error) from None
        if as_json:
            typer.echo(json.dumps(shown(found), indent=2))
        else:
            _print(found, limit)


def shown(found: Comparison) -> dict[str, Any]:
    """The comparison as JSON values; moments as RFC 3339."""

    def ways(told: dict[str, Way]) -> dict[str, Any]:
        return {name: {"first": format_moment(way.first), "times": way.times} for name, way in told.items()}

    return {
        "from": format_moment(found.since),
        "to": format_moment(found.until),
        "alerts": found.firings,
        "not_replayed": found.not_replayed,
        "notifications": {"before": found.before, "after": found.after},
        "differences": [
            {
                "fingerprint": one.fingerprint,
                "labels": one.labels,
                "began": format_moment(one.began),
                "kinds": list(one.kinds),
                "before": ways(one.before),
                "after": ways(one.after),
            }
            for one in found.differences
        ],
    }


def _print(found: Comparison, limit: int) -> None:
    console = Console()
    console.print(f"{format_moment(found.since)} to {format_moment(found.until)}: {found.firings} alerts", markup=False)
    if found.not_replayed:
        console.print(f"{found.not_replayed} recorded events could not be replayed: their alert was not firing.")
    totals = Table("Receiver", "Notifications before", "After", title="Notifications")
    for name in sorted(found.before.keys() | found.after.keys()):
        totals.add_row(_plain(name), str(found.before.get(name, 0)), str(found.after.get(name, 0)))
    console.print(totals)
    if not found.differences:
        console.print("Every alert would have been told as it was.")
        return
    table = Table("Began", "Alert", "Difference", "Before", "After", title="Alerts told differently")
    for one in found.differences[:limit]:
        table.add_row(format_moment(one.began), _name(one), ", ".join(one.kinds), _ways(one.before), _ways(one.after))
    console.print(table)
    if len(found.differences) > limit:
        console.print(f"… and {len(found.differences) - limit} more; --limit or --json shows them.")


def _name(one: Difference) -> str:
    others = [f"{name}={value}" for name, value in one.labels.items() if name != "alertname"]
    more = " …" if len(others) > _SHOWN_LABELS else ""
    return _plain(f"{one.labels.get('alertname', '')} {' '.join(others[:_SHOWN_LABELS])}{more}".strip())


def _ways(told: dict[str, Way]) -> str:
    return _plain("\n".join(f"{name} {format_moment(way.first, 0)} x{way.times}" for name, way in told.items()) or "-")


def _plain(text: str) -> str:
    """Text of others: no markup of the console, no control characters."""
    return "".join(c if c.isprintable() or c == "\n" else "�" for c in text).replace("[", "\\[")


def _span(since: str, until: str) -> tuple[int, int]:
    start, end = (round(parse_time(text, name) * SECOND) for text, name in ((since, "--from"), (until, "--to")))
    if not 0 <= start < end:
        raise ConfigError("the span is empty", key="--from", expected="a moment before --to")
    return start, min(end, time.time_ns() + SECOND)


def _configuration(path: Path, loaded: LoadedConfig) -> Configuration:
    return with_extra_receivers(load_configuration(path), loaded.config.alerting)


def _open(loaded: LoadedConfig, data_dir: Path | None) -> RecordedStore:
    return open_recorded(data_dir or Path(loaded.config.server.data_dir))


def _refused(error: GatewayError) -> typer.Exit:
    typer.echo(str(error), err=True)
    return typer.Exit(EXIT_REFUSED)
