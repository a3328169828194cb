"""Three times as much as the gateway can take: what becomes of what it does take.

First the maximum is measured with few connections that wait for their answers, then requests are offered at three
times that rate, from many more connections than fit into the bound on bytes in flight; a refused request is not
repeated. The gateway gets one processor to itself and the senders the others, or their work would be measured too.

Nothing is scored: series that come five times a second and of which two rounds in three are refused do fall silent, all
200,000 at once, and what that costs is no measure of admission. Without scoring the maximum is the higher one, so a
refusal weighs more.

Other programs may use that processor too, so time is counted as what the gateway had of it: what its processes used,
from the first request until everything is handed on, and in the overload also what they left idle while requests were
offered. The maximum is points a second of use alone, so idling counts against the goodput and never for it. How long it
takes until everything is handed on is VictoriaMetrics' affair, which has half a processor in this scene; what the
gateway uses merely by running, measured beforehand with the same questions asked of it, is left out for that time.

Both are measured alike: while requests are offered a prober sends, and memory and bytes in flight are looked at;
afterwards the gateway is asked for nothing but what is pending. A prober that went on would keep something pending, its
own samples, and what it costs would be counted for as long.

What a processor does in a second is not the same all the time, on a machine that others use less than ever. So maximum
and overload take turns, each goodput is compared with the mean of the maxima before and after it, and the median of
those shares is judged.
"""

from __future__ import annotations

import contextlib
import os
import statistics
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from gateway.pipeline.feed import QUEUE_BYTES
from loadtest.fault_table import Line
from loadtest.generator.sender import Senders
from loadtest.generator.template import Protocol
from loadtest.generator.work import Outcome, Work
from loadtest.ledger import Verdict
from loadtest.measure import DRAIN_SECONDS, at, verdict_of
from loadtest.prober import Prober, held_probes
from loadtest.processes import LoadTestError, await_true, cpu_seconds
from loadtest.programs import Gateway, VictoriaMetrics
from loadtest.scene import Load
from loadtest.soak import resident

TITLE: Final = "three times the capacity offered"
TITLES: Final[dict[str, tuple[Protocol, str]]] = {
    "overload": ("otlp-http", TITLE),
    "overload-grpc": ("otlp-grpc", f"{TITLE}, over gRPC"),
}
"""Name of the scenario → protocol and title."""
GOODPUT_SHARE: Final = 0.9
_TIMES: Final = 3.0
_IN_FLIGHT: Final = 8 * 2**20
_SENDERS: Final = 2
_LOOK_SECONDS: Final = 1.0
"""Between two questions to the gateway: what they cost it is neither goodput nor refusal."""
ROUNDS: Final = 5
"""Overloads, each with a maximum before and after it."""
_PROBES: Final = 1_000_000
"""More than one prober sends."""
_REST_SECONDS: Final = 8.0
_LEAST_OFFERED: Final = 2.0
"""Of the maximum: what the senders must have reached for the run to be one of overload."""
_MOST_IN_FLIGHT: Final = 1.5 * _IN_FLIGHT
"""Decoded rows are counted beside the bodies, but a request is not refused for them."""
_MOST_GROWTH: Final = 2 * _IN_FLIGHT + 2 * QUEUE_BYTES + 32 * 2**20
"""Bytes that the data plane may grow by: requests, the two queues of durable frames, and buffers of the decoders."""
_LONGEST_SECONDS: Final = 5.0
"""That an accepted request may take."""
SETTINGS: Final = (
    "ingest.max_request_bytes=1MiB", f"ingest.max_in_flight_bytes={_IN_FLIGHT}", "detection.enabled=false",
)  # fmt: skip
_GRPC_THREADS: Final = ("ingest.grpc_threads=64",)


def play(name: str, directory: Path, load: Load, quick: bool) -> Line:
    """The scenario of this name. Raises LoadTestError."""
    protocol = TITLES[name][0]
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        raise LoadTestError("overload needs two processors: one for the gateway, one for its senders")
    store = VictoriaMetrics(directory / "victoria-metrics")
    gateway = Gateway(directory / "gateway", store.url, (*SETTINGS, *_GRPC_THREADS))
    seconds = 3.0 if quick else max(10.0, load.seconds)
    common = Work(
        protocol, "http://127.0.0.1:1/", series=192_000, batch=2_000, seconds=seconds, connections=8,
        numbered=True, patience=60.0, warm_rounds=1,
    )  # fmt: skip
    maxima: list[_Phase] = []
    overloads: list[_Phase] = []
    verdicts: list[Verdict] = []
    try:
        os.sched_setaffinity(0, processors[:1])  # what is started now inherits it
        gateway.start()
        os.sched_setaffinity(0, processors[1:])
        store.start()
        common = at(common, gateway)
        rest = _use_at_rest(gateway)
        pid = gateway.role_pids()["data"]
        for turn in range(1 if quick else ROUNDS):
            calm = replace(common, ledger_dir=directory / f"ledger-most-{turn}", warm_rounds=int(not maxima))
            maxima.append(_send(calm, gateway, processors[0], len(maxima) + len(overloads)))
            work = replace(
                common, connections=96, senders=_SENDERS, rate=_TIMES * maxima[-1].points_per_second(rest),
                patience=0.0, latency_from_sending=True, warm_rounds=0, ledger_dir=directory / f"ledger-{turn}",
            )  # fmt: skip
            overloads.append(_send(work, gateway, processors[0], len(maxima) + len(overloads)))
            # All use the same series; the samples of this one are told from earlier ones by their times.
            verdicts.append(verdict_of(work, store.url, alone=False))
        calm = replace(common, ledger_dir=directory / "ledger-most-last", warm_rounds=0)
        maxima.append(_send(calm, gateway, processors[0], len(maxima) + len(overloads)))
        same = gateway.role_pids().get("data") == pid
        probes = held_probes(store.url)
    finally:
        os.sched_setaffinity(0, processors)
        gateway.stop()
        store.kill()
    return _line(name, maxima, overloads, rest, verdicts, probes, same)


@dataclass(frozen=True, slots=True)
class _Phase:
    """A run of the senders. All in seconds: `used` by the gateway until it had handed everything on, `sending` of that
    while requests were offered, `idle` of its processor in the same time, `drained` until everything was handed on.
    quiet: anonymous memory of the data plane before it, bytes."""

    outcome: Outcome
    used: float
    sending: float
    idle: float
    drained: float
    watch: _Watch
    prober: Prober
    quiet: int

    def used_beyond(self, rest: float) -> float:
        """`used` without what `rest`, seconds of it a second, had made of the time until everything was handed on."""
        return self.used - rest * self.drained

    def points_per_second(self, rest: float, *, idle: bool = False) -> float:
        """Points taken a second of the processor's time; idle: with the time that was left idle."""
        return self.outcome.points / (self.used_beyond(rest) + (self.idle if idle else 0.0))


def _use_at_rest(gateway: Gateway) -> float:
    """Processor seconds a second that the gateway uses while it is asked what is pending and has nothing to do."""
    began, used = time.monotonic(), cpu_seconds(gateway.pid)
    while time.monotonic() - began < _REST_SECONDS:
        gateway.pending()
        time.sleep(_LOOK_SECONDS)
    return (cpu_seconds(gateway.pid) - used) / (time.monotonic() - began)


def _send(work: Work, gateway: Gateway, processor: int, turn: int) -> _Phase:
    """turn: how many runs were before this one."""
    pid = gateway.role_pids()["data"]
    prober = Prober(f"http://127.0.0.1:{gateway.http_port}", turn * _PROBES)
    watch, quiet = _Watch(gateway, pid), resident(pid)[1]
    senders = Senders(work)
    try:
        senders.build()
        senders.warm_up()
        await_true(lambda: gateway.pending() == 0, DRAIN_SECONDS, "the warm-up handed on")
        used, idle = cpu_seconds(gateway.pid), _idle_seconds(processor)
        watch.start()
        prober.start()
        senders.start()
        outcome = senders.wait()
        prober.stop()
        watch.sending_ended()
        sending, idle = cpu_seconds(gateway.pid) - used, _idle_seconds(processor) - idle
        drained = await_true(lambda: gateway.pending() == 0, DRAIN_SECONDS, "everything handed on", _LOOK_SECONDS)
    finally:
        senders.kill()
        prober.stop()
        watch.stop()
    phase = _Phase(outcome, cpu_seconds(gateway.pid) - used, sending, idle, drained, watch, prober, quiet)
    if not phase.used:
        raise LoadTestError("the gateway's processor time cannot be read")
    return phase


def _idle_seconds(processor: int) -> float:
    """Idle time of a processor since the start of the machine, waiting for disks included. Linux, proc(5)."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{processor}":
            return (int(fields[3]) + int(fields[4])) / os.sysconf("SC_CLK_TCK")
    raise LoadTestError(f"/proc/stat does not name processor {processor}")


class _Watch:
    """Memory, and bytes in flight while requests are offered, now and then."""

    def __init__(self, gateway: Gateway, pid: int) -> None:
        self._gateway, self._pid, self._stop = gateway, pid, threading.Event()
        self._asks = True
        self._thread = threading.Thread(target=self._run, name="overload-watch")
        self.most_resident = 0
        self.most_in_flight = 0.0

    def start(self) -> None:
        self._thread.start()

    def sending_ended(self) -> None:
        """Ask the gateway nothing more: its memory is read without it."""
        self._asks = False

    def stop(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(OSError):  # gone: the verdict tells
                self.most_resident = max(self.most_resident, resident(self._pid)[1])
            if self._asks:
                with contextlib.suppress(OSError):
                    in_flight = self._gateway.metric("gateway_ingest_in_flight_bytes")
                    self.most_in_flight = max(self.most_in_flight, in_flight)
            self._stop.wait(_LOOK_SECONDS)


def goodput_shares(maxima: Sequence[float], goodputs: Sequence[float]) -> list[float]:
    """Of each goodput, in the mean of the maxima before and after it. One more maximum than goodputs."""
    return [2.0 * one / (before + after) for before, one, after in zip(maxima, goodputs, maxima[1:], strict=False)]


def _line(
    name: str, maxima: Sequence[_Phase], overloads: Sequence[_Phase], rest: float, verdicts: Sequence[Verdict],
    probes: Mapping[int, int], same: bool,
) -> Line:  # fmt: skip
    outcomes = [phase.outcome for phase in overloads]
    figures = [outcome.figures() for outcome in outcomes]
    most = [phase.points_per_second(rest) for phase in maxima]
    goodputs = [phase.points_per_second(rest, idle=True) for phase in overloads]
    shares = goodput_shares(most, goodputs)
    share = statistics.median(shares)
    refused = sum(outcome.given_up for outcome in outcomes)
    asked_to_wait = sum(outcome.asked_to_wait for outcome in outcomes)
    acknowledged = sum(outcome.acknowledged for outcome in outcomes)
    had = [phase.sending + phase.idle for phase in overloads]
    offered = [
        outcome.work.rate * outcome.wall_seconds / seconds / maximum
        for outcome, seconds, maximum in zip(outcomes, had, most, strict=False)
    ]
    answered = [
        (outcome.acknowledged + outcome.given_up) * outcome.work.batch / seconds / maximum
        for outcome, seconds, maximum in zip(outcomes, had, most, strict=False)
    ]
    longest = max(float(figure.get("ack_p100_ms", 0.0)) for figure in figures) / 1e3
    most_in_flight = max(phase.watch.most_in_flight for phase in overloads)
    quiet = overloads[0].quiet
    most_resident = max(phase.watch.most_resident for phase in overloads)
    probed = [number for phase in (*maxima, *overloads) for number in phase.prober.acknowledged]
    missing = sum(number not in probes for number in probed)
    seen = [phase.prober.report() for phase in overloads]
    failures = [
        text
        for text, holds in {
            f"goodput {share:.2f} of the maximum": share >= GOODPUT_SHARE,
            f"only {min(offered):.2f} of the maximum was offered": min(offered) >= _LEAST_OFFERED,
            # Over gRPC what there is no room for is held back by HTTP/2 and need not be refused.
            "nothing was refused": refused > 0 or name == "overload-grpc",
            f"{refused - asked_to_wait} refusals without a wait": asked_to_wait >= refused,
            f"an accepted request took {longest:.1f} s": longest <= _LONGEST_SECONDS,
            f"memory grew by {(most_resident - quiet) / 2**20:.0f} MiB": most_resident - quiet <= _MOST_GROWTH,
            f"{most_in_flight:.0f} bytes were in flight": most_in_flight <= _MOST_IN_FLIGHT,
            "the data plane was started again": same,
        }.items()
        if not holds
    ]
    lost = sum(verdict.lost for verdict in verdicts) + missing
    wrong = sum(verdict.wrong for verdict in verdicts)
    return Line(
        name, TITLES[name][1], acknowledged + refused, sum(outcome.points for outcome in outcomes) + len(probed),
        sum(verdict.held for verdict in verdicts) + len(probed) - missing, lost,
        passed=not failures and not lost and not wrong,
        repeated=sum(verdict.repeated for verdict in verdicts),
        recovery_seconds=round(max(phase.drained for phase in overloads), 2),
        refused_share=max(float(report["refused_share"]) for report in seen),
        longest_refusal_seconds=max(float(report["longest_without_acknowledgement_seconds"]) for report in seen),
        detail={
            "failures": failures,
            "goodput_share": round(share, 3),
            "goodput_shares": [round(one, 3) for one in shares],
            "maximum_points_per_cpu_second": [round(one) for one in most],
            "goodput_points_per_cpu_second": [round(one) for one in goodputs],
            "offered_times_maximum": [round(one, 2) for one in offered],
            "answered_times_maximum": [round(one, 2) for one in answered],
            "used_at_rest": round(rest, 4),
            **{
                f"{phase}_{what}": [round(value, 2) for value in values]
                for phase, runs in (("most", maxima), ("over", overloads))
                for what, values in (
                    ("points", [run.outcome.points for run in runs]),
                    ("used_seconds", [run.used for run in runs]),
                    ("used_sending_seconds", [run.sending for run in runs]),
                    ("idle_seconds", [run.idle for run in runs]),
                    ("drained_seconds", [run.drained for run in runs]),
                )
            },
            "sending_seconds": [round(outcome.wall_seconds, 2) for outcome in outcomes],
            "refused_requests": refused,
            "named_a_wait": asked_to_wait,
            "first_refusal": next((o.first_refusal[:160] for o in outcomes if o.first_refusal), ""),
            "protocol": outcomes[0].work.protocol,
            **{what: [figure.get(what) for figure in figures] for what in ("ack_p50_ms", "ack_p99_ms", "ack_p100_ms")},
            "most_in_flight_bytes": round(most_in_flight),
            "limit_in_flight_bytes": _IN_FLIGHT,
            "anonymous_quiet_bytes": quiet,
            "anonymous_most_bytes": most_resident,
        },
    )  # fmt: skip
