"""Three times as much as the gateway can take: what becomes of what it does take.

First the maximum is measured with few connections that wait for their answers, then requests are offered at three
times that rate, from many more connections than fit into the bound on bytes in flight; a refused request is not
repeated. The gateway gets one processor to itself and the senders the others, or their work would be measured too.
"""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from loadtest.fault_table import Line
from loadtest.generator.sender import Senders
from loadtest.generator.template import Protocol
from loadtest.generator.work import Outcome, Work
from loadtest.measure import DRAIN_SECONDS, at, verdict_of
from loadtest.prober import Prober, held_probes
from loadtest.processes import LoadTestError, await_true, resident_bytes
from loadtest.programs import Gateway, VictoriaMetrics
from loadtest.scene import Load

TITLE: Final = "three times the capacity offered"
GOODPUT_SHARE: Final = 0.9
_TIMES: Final = 3.0
_IN_FLIGHT: Final = 8 * 2**20
SETTINGS: Final = ("ingest.max_request_bytes=1MiB", f"ingest.max_in_flight_bytes={_IN_FLIGHT}")
_GRPC_THREADS: Final = ("ingest.grpc_threads=64",)


def play(directory: Path, load: Load, quick: bool, protocol: Protocol = "otlp-http") -> Line:
    """The scenario. Raises LoadTestError."""
    processors = sorted(os.sched_getaffinity(0))
    if len(processors) < 2:
        raise LoadTestError("overload needs two processors: one for the gateway, one for its senders")
    store = VictoriaMetrics(directory / "victoria-metrics")
    gateway = Gateway(directory / "gateway", store.url, (*SETTINGS, *_GRPC_THREADS))
    seconds = 3.0 if quick else max(10.0, load.seconds)
    common = Work(
        protocol, "http://127.0.0.1:1/", series=192_000, batch=2_000, seconds=seconds, connections=8, step_ms=15_000,
        numbered=True, patience=60.0, warm_rounds=1,
    )  # fmt: skip
    prober = Prober(f"http://127.0.0.1:{gateway.http_port}")
    try:
        os.sched_setaffinity(0, processors[:1])  # what is started now inherits it
        gateway.start()
        os.sched_setaffinity(0, processors[1:])
        store.start()
        common = at(common, gateway)
        most = _send(replace(common, ledger_dir=directory / "ledger-most"), gateway)
        maximum = most.points / most.wall_seconds
        quiet = resident_bytes(gateway.role_pids()["data"])
        watch = _Watch(gateway)
        prober.start()
        watch.start()
        work = replace(
            common, connections=96, rate=_TIMES * maximum, patience=0.0, latency_from_sending=True, warm_rounds=0,
            ledger_dir=directory / "ledger",
        )  # fmt: skip
        outcome = _send(work, gateway, drain=False)
        watch.stop()
        prober.stop()
        drained = await_true(lambda: gateway.pending() == 0, DRAIN_SECONDS, "everything handed on")
        # Both runs use the same series; the second one's samples are told apart by their times.
        verdict = verdict_of(work, store.url)
        probes = held_probes(store.url)
    finally:
        os.sched_setaffinity(0, processors)
        prober.stop()
        gateway.stop()
        store.kill()
    return _line(outcome, maximum, watch, quiet, verdict.lost, verdict.held, verdict.repeated, prober, probes, drained)


def _send(work: Work, gateway: Gateway, *, drain: bool = True) -> Outcome:
    senders = Senders(work)
    try:
        senders.build()
        senders.warm_up()
        senders.start()
        outcome = senders.wait()
    finally:
        senders.kill()
    if drain:
        await_true(lambda: gateway.pending() == 0, DRAIN_SECONDS, "everything handed on")
    return outcome


class _Watch:
    """Memory and bytes in flight, ten times a second."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway, self._stop = gateway, threading.Event()
        self._thread = threading.Thread(target=self._run, name="overload-watch")
        self.most_resident = 0
        self.most_in_flight = 0.0

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        pid = self._gateway.role_pids()["data"]
        while not self._stop.is_set():
            self.most_resident = max(self.most_resident, resident_bytes(pid))
            try:
                in_flight = self._gateway.metric("gateway_ingest_in_flight_bytes")
            except OSError:
                in_flight = 0.0
            self.most_in_flight = max(self.most_in_flight, in_flight)
            time.sleep(0.1)


def _line(
    outcome: Outcome, maximum: float, watch: _Watch, quiet: int, lost: int, held: int, repeated: int, prober: Prober,
    probes: Any, drained: float,
) -> Line:  # fmt: skip
    figures = outcome.figures()
    goodput = outcome.points / outcome.wall_seconds
    refused = outcome.given_up
    offered = (outcome.acknowledged + refused) * outcome.work.batch / outcome.wall_seconds
    missing = sum(number not in probes for number in prober.acknowledged)
    seen = prober.report()
    failures = [
        text
        for text, holds in {
            f"goodput {goodput / maximum:.2f} of the maximum": goodput >= GOODPUT_SHARE * maximum,
            f"only {offered / maximum:.2f} of the maximum was offered": offered >= 2.0 * maximum,
            "nothing was refused": refused > 0,
            "refusals without a wait": outcome.asked_to_wait >= refused,
        }.items()
        if not holds
    ]
    return Line(
        "overload", TITLE, outcome.acknowledged + refused, outcome.points + len(prober.acknowledged),
        held + len(prober.acknowledged) - missing, lost + missing, passed=not failures and not lost and not missing,
        repeated=repeated, recovery_seconds=round(drained, 2), refused_share=seen["refused_share"],
        longest_refusal_seconds=seen["longest_without_acknowledgement_seconds"],
        detail={
            "failures": failures,
            "maximum_points_per_second": round(maximum),
            "goodput_points_per_second": round(goodput),
            "goodput_share": round(goodput / maximum, 3),
            "offered_times_maximum": round(offered / maximum, 2),
            "refused_requests": refused,
            "named_a_wait": outcome.asked_to_wait,
            "first_refusal": outcome.first_refusal[:160],
            **{name: figures.get(name) for name in ("protocol", "ack_p50_ms", "ack_p99_ms", "ack_p100_ms")},
            "most_in_flight_bytes": round(watch.most_in_flight),
            "limit_in_flight_bytes": _IN_FLIGHT,
            "resident_quiet_bytes": quiet,
            "resident_most_bytes": watch.most_resident,
        },
    )  # fmt: skip
