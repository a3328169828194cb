"""`python -m loadtest`: load and faults against the real program.

Without a command: one measured run with a ledger, some kills, every fault. Figures go to standard output, one JSON
line each; progress and verdicts to standard error. The exit status is 1 when something acknowledged was lost or
refused for good, 2 when the test could not be made.
"""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from loadtest import drain, faults, kill9, measure, peers, peers_build, restart, soak, workers
from loadtest.generator.work import ENCODINGS, Work
from loadtest.processes import LoadTestError
from loadtest.progress import say
from loadtest.scene import QUICK, Load

EVERYTHING = (["run", "--ledger"], ["kill9", "--kills", "5", "--rate", "30000"], ["faults", "--seconds", "5"])
"""What runs when no command is given."""


def _share(text: str) -> float:
    return float(text.removesuffix("%")) / 100 if text.endswith("%") else float(text)


def _work_options(parser: argparse.ArgumentParser, **defaults: object) -> None:
    group = parser.add_argument_group("the work")
    group.add_argument("--protocol", choices=sorted(ENCODINGS), default=defaults.get("protocol", "otlp-http"))
    group.add_argument("--encoding", help="none, gzip, zstd or snappy; default: the protocol's plainest")
    group.add_argument("--series", type=int, default=defaults.get("series", 80_000))
    group.add_argument("--batch", type=int, default=defaults.get("batch", 8_000), help="points in a request")
    group.add_argument("--requests", type=int, default=0, help="end after so many")
    group.add_argument("--seconds", type=float, default=0.0, help="end after so long (default: 10, without --requests)")
    group.add_argument("--rate", type=float, default=0.0, help="points a second, open loop; 0 = as fast as answered")
    group.add_argument("--connections", type=int, default=defaults.get("connections", 4))
    group.add_argument("--senders", type=int, default=1, help="sender processes")
    group.add_argument("--churn", type=_share, default=0.0, help="share of series replaced a minute of sample time")
    group.add_argument(
        "--step",
        type=float,
        default=defaults.get("step", 15.0),
        help="seconds between samples of a series; 0 = wall clock",
    )
    group.add_argument("--warm", type=int, default=defaults.get("warm", 2), help="rounds before the measured run")


def _work(options: argparse.Namespace, *, ledger: Path | None = None) -> Work:
    encoding = options.encoding or ENCODINGS[options.protocol][0]
    seconds = options.seconds or (0.0 if options.requests else 10.0)
    return Work(
        options.protocol, "http://127.0.0.1:1/", series=options.series, batch=options.batch,
        requests=options.requests, seconds=seconds, rate=options.rate, connections=options.connections,
        senders=options.senders, encoding=encoding, churn_per_minute=options.churn,
        step_ms=int(options.step * 1000), warm_rounds=options.warm, numbered=ledger is not None, ledger_dir=ledger,
    )  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--directory", type=Path, help="where logs and data go, kept afterwards (default: temporary)")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    one = commands.add_parser("run", help="one piece of work, measured")
    _work_options(one)
    one.add_argument("--ledger", action="store_true", help="number every sample and read all of them back afterwards")
    one.add_argument("--workers", type=int, default=1, help="compare so many workers with one, in alternating runs")
    one.add_argument("--runs", type=int, default=5, help="with --workers: turns; medians are reported")
    one.add_argument(
        "--profile", type=Path, help="write a profile of the data plane: .svg or .txt (raw) by py-spy, .data by perf"
    )
    one.add_argument("--set", dest="settings", action="append", default=[], help="a gateway setting, section.key=value")
    kills = commands.add_parser("kill9", help="kill -9 at random moments while sending; ledger verdict")
    _work_options(kills, series=10_000, batch=500, warm=0)
    kills.add_argument("--kills", type=int, default=20)
    kills.add_argument("--seed", type=int, default=1)
    kills.add_argument(
        "--set", dest="settings", action="append", default=[], help="a gateway setting, section.key=value"
    )
    long = commands.add_parser("soak", help="hours with churn: memory slope of every process, ledger verdict")
    _work_options(long, series=20_000, batch=500, warm=0, step=0.0)
    long.set_defaults(rate=5_000.0, churn=0.02)
    long.add_argument("--hours", type=float, default=2.0)
    long.add_argument("--settle", type=float, default=1800.0, help="seconds that the slope leaves out at the beginning")
    long.add_argument("--report", type=Path, help="only compute the slopes of this memory.csv")
    long.add_argument(
        "--set", dest="settings", action="append", default=[], help="a gateway setting, section.key=value"
    )
    side = commands.add_parser("peers", help="the same work on the gateway and on peers, side by side")
    side.add_argument("--runs", type=int, default=5, help="alternating runs; medians are reported")
    side.add_argument("--only", action="append", default=[], help="a piece of work by name; --list names them")
    side.add_argument("--scale", type=float, default=1.0, help="more or fewer points in every run")
    side.add_argument("--list", action="store_true")
    away = commands.add_parser("drain", help="how fast a backlog is handed on after an outage, beside vmagent")
    _work_options(away)
    away.set_defaults(rate=200_000.0)
    away.add_argument("--outage", type=float, default=600.0, help="seconds without VictoriaMetrics")
    away.add_argument("--runs", type=int, default=1)
    again = commands.add_parser("restart", help="seconds until ready with many series known, beside vmagent")
    _work_options(again, series=1_000_000, batch=5_000)
    again.add_argument("--runs", type=int, default=3)
    wrong = commands.add_parser("faults", help="faults injected while sending; one table")
    wrong.add_argument("--only", action="append", default=[], help="a fault by name; --list names them")
    wrong.add_argument("--seconds", type=float, default=10.0, help="of sending around each fault")
    wrong.add_argument("--rate", type=float, default=20_000.0, help="points a second, sent meanwhile")
    wrong.add_argument("--rounds", type=int, default=1, help="how often `availability` lets each of its faults happen")
    wrong.add_argument("--quick", action="store_true", help="few injections, little load: every scenario once, briefly")
    wrong.add_argument("--document", type=Path, help="write the table there, in Markdown")
    wrong.add_argument("--report", type=Path, nargs="+", help="only show the table of lines recorded in these files")
    wrong.add_argument("--list", action="store_true")
    commands.add_parser("build-peers", help="build current vmagent, VictoriaMetrics and Collector with Go into .peers")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    parser = _parser()
    options = parser.parse_args(words)
    if options.command is None:
        return max(main([*words, *command]) for command in EVERYTHING)
    if options.command == "build-peers":
        return peers_build.build()
    if getattr(options, "list", False):
        works = {name: work.title for name, work in peers.WORKS.items()}
        for name, title in (works if options.command == "peers" else faults.titles()).items():
            print(f"{name:28} {title}")
        return 0
    if getattr(options, "report", None) and options.command == "faults":
        return faults.report(options.report, options.document)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started is ended
    directory = options.directory or Path(tempfile.mkdtemp(prefix="loadtest-"))
    try:
        if options.command == "run":
            if options.workers > 1:
                settings = tuple(options.settings)
                return workers.workers(directory, _work(options), settings, options.workers, options.runs)
            work = _work(options, ledger=directory / "ledger" if options.ledger else None)
            return measure.run(directory, work, tuple(options.settings), options.profile)
        if options.command == "kill9":
            return kill9.kill9(directory, _work(options), options.kills, options.seed, tuple(options.settings))
        if options.command == "soak" and options.report:
            return 0 if all(one["flat"] for one in soak.report(options.report, options.settle)) else 1
        if options.command == "soak":
            settings = tuple(options.settings) or soak.SETTINGS
            return soak.soak(directory, _work(options), options.hours, options.settle, settings)
        if options.command == "drain":
            work = replace(_work(options), requests=0, seconds=2 * options.outage + 600.0)
            return drain.drain(directory, work, options.outage, options.runs)
        if options.command == "restart":
            return restart.restart(directory, _work(options), options.runs)
        if options.command == "peers":
            return peers.peers(directory, options.only, options.runs, options.scale)
        load = QUICK if options.quick else Load(rate=options.rate, seconds=options.seconds)
        load = replace(load, rounds=max(1, options.rounds))
        return faults.faults(directory, options.only, load, quick=options.quick, document=options.document)
    except (LoadTestError, ValueError, RuntimeError, TimeoutError, OSError) as error:
        say(f"could not be done: {error}")
        say(f"logs: {directory}")
        options.directory = directory
        return 2
    finally:
        if options.directory is None:
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
