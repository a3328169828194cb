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

Both runs are measured alike: while requests are offered a prober sends, and memory and bytes in flight are looked at;
afterwards the gateway is asked for nothing but what is pending. A prober that went on would keep something pending, its
own samples, and what it costs would be counted for as long.
"""

from __future__ import annotations

import contextlib
import os
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
_PROBES: Final = 1_000_000
"""More than the prober of the maximum sends."""
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
    probers = [Prober(f"http://127.0.0.1:{gateway.http_port}", first) for first in (0, _PROBES)]
    try:
        os.sched_setaffinity(0, processors[:1])  # what is started now inherits it
        gateway.start()
        os.sched_setaffinity(0, processors[1:])
        store.start()
        common = at(common, gateway)
        rest = _use_at_rest(gateway)
        pid = gateway.role_pids()["data"]
        calm = replace(common, ledger_dir=directory / "ledger-most")
        most = _send(calm, gateway, processors[0], _Watch(gateway, pid), probers[0])
        if not most.used:
            raise LoadTestError("the gateway's processor time cannot be read")
        maximum = most.outcome.points / most.used_beyond(rest)
        quiet = resident(pid)[1]
        work = replace(
            common, connections=96, senders=_SENDERS, rate=_TIMES * maximum, patience=0.0, latency_from_sending=True,
            warm_rounds=0, ledger_dir=directory / "ledger",
        )  # fmt: skip
        watch = _Watch(gateway, pid)
        over = _send(work, gateway, processors[0], watch, probers[1])
        same = gateway.role_pids().get("data") == pid
        # Both runs use the same series; the second one's samples are told apart by their times.
        verdict = verdict_of(work, store.url, alone=False)
        probes = held_probes(store.url)
    finally:
        os.sched_setaffinity(0, processors)
        gateway.stop()
        store.kill()
    return _line(name, most, over, rest, watch, quiet, verdict, probers, probes, same)


@dataclass(frozen=True, slots=True)
class _Phase:
    """A run of the senders. All in seconds: `used` by the gateway until it had handed everything on, `sending` of that
    while requests were offered, `idle` of its processor in the same time, `drained` until everything was handed on."""

    outcome: Outcome
    used: float
    sending: float
    idle: float
    drained: float

    def used_beyond(self, rest: float) -> float:
        """`used` without what `rest`, seconds of it a second, had made of the time until everything was handed on."""
        return self.used - rest * self.drained


def _use_at_rest(gateway: Gateway) -> float:
    """Processor seconds a second that the gateway uses while it is asked what is pending and has nothing to do."""
    began, used = time.monotonic(), cpu_seconds(gateway.pid)
    while time.monotonic() - began < _REST_SECONDS:
        gateway.pending()
        time.sleep(_LOOK_SECONDS)
    return (cpu_seconds(gateway.pid) - used) / (time.monotonic() - began)


def _send(work: Work, gateway: Gateway, processor: int, watch: _Watch, prober: Prober) -> _Phase:
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
    return _Phase(outcome, cpu_seconds(gateway.pid) - used, sending, idle, drained)


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


def _line(
    name: str, most: _Phase, over: _Phase, rest: float, watch: _Watch, quiet: int, verdict: Verdict,
    probers: Sequence[Prober], probes: Mapping[int, int], same: bool,
) -> Line:  # fmt: skip
    outcome = over.outcome
    figures = outcome.figures()
    maximum = most.outcome.points / most.used_beyond(rest)
    goodput = outcome.points / (over.used_beyond(rest) + over.idle)
    refused = outcome.given_up
    had = over.sending + over.idle
    offered = outcome.work.rate * outcome.wall_seconds / had
    answered = (outcome.acknowledged + refused) * outcome.work.batch / had
    longest = float(figures.get("ack_p100_ms", 0.0)) / 1e3
    grown = watch.most_resident - quiet
    acknowledged = [number for prober in probers for number in prober.acknowledged]
    missing = sum(number not in probes for number in acknowledged)
    seen = probers[-1].report()
    failures = [
        text
        for text, holds in {
            f"goodput {goodput / maximum:.2f} of the maximum": goodput >= GOODPUT_SHARE * maximum,
            f"only {offered / maximum:.2f} of the maximum was offered": offered >= _LEAST_OFFERED * maximum,
            # Over gRPC what there is no room for is held back by HTTP/2 and need not be refused.
            "nothing was refused": refused > 0 or name == "overload-grpc",
            f"{refused - outcome.asked_to_wait} refusals without a wait": outcome.asked_to_wait >= refused,
            f"an accepted request took {longest:.1f} s": longest <= _LONGEST_SECONDS,
            f"memory grew by {grown / 2**20:.0f} MiB": grown <= _MOST_GROWTH,
            f"{watch.most_in_flight:.0f} bytes were in flight": watch.most_in_flight <= _MOST_IN_FLIGHT,
            "the data plane was started again": same,
        }.items()
        if not holds
    ]
    lost = verdict.lost + missing
    return Line(
        name, TITLES[name][1], outcome.acknowledged + refused, outcome.points + len(acknowledged),
        verdict.held + len(acknowledged) - missing, lost, passed=not failures and not lost,
        repeated=verdict.repeated, recovery_seconds=round(over.drained, 2), refused_share=seen["refused_share"],
        longest_refusal_seconds=seen["longest_without_acknowledgement_seconds"],
        detail={
            "failures": failures,
            "maximum_points_per_cpu_second": round(maximum),
            "goodput_points_per_cpu_second": round(goodput),
            "goodput_share": round(goodput / maximum, 3),
            "offered_times_maximum": round(offered / maximum, 2),
            "answered_times_maximum": round(answered / maximum, 2),
            "used_at_rest": round(rest, 4),
            **{
                f"{phase}_{what}": round(value, 2)
                for phase, run in (("most", most), ("over", over))
                for what, value in (
                    ("points", run.outcome.points), ("used_seconds", run.used), ("used_sending_seconds", run.sending),
                    ("idle_seconds", run.idle), ("drained_seconds", run.drained),
                )
            },
            "sending_seconds": round(outcome.wall_seconds, 2),
            "refused_requests": refused,
            "named_a_wait": outcome.asked_to_wait,
            "first_refusal": outcome.first_refusal[:160],
            **{name: figures.get(name) for name in ("protocol", "ack_p50_ms", "ack_p99_ms", "ack_p100_ms")},
            "most_in_flight_bytes": round(watch.most_in_flight),
            "limit_in_flight_bytes": _IN_FLIGHT,
            "anonymous_quiet_bytes": quiet,
            "anonymous_most_bytes": watch.most_resident,
        },
    )  # fmt: skip
