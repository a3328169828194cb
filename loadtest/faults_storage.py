"""Faults of the disk and of processes against the whole program, each seen by a prober that sends every 100 ms.

`python -m loadtest.faults_storage [--times N] [FAULT …]` prints one JSON line a fault: times injected, samples
acknowledged, held by the log afterwards, lost, repeated, worst recovery, and what the prober saw. The prober repeats
nothing, so what it sent and was refused is not made good. Needs a C compiler.

    power-cut      kill -9 of everything, and only what was synced remains on the disk
    disk-full      ENOSPC for every write, for half a second
    io-error       EIO for every fsync, for half a second
    read-only      EROFS for every write and every new file, for half a second
    stopped        SIGSTOP of the data plane, which the supervisor must notice
    killed         SIGKILL of the data plane
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import random
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from loadtest.disk_faults import FaultyDisk
from loadtest.fault_table import Line
from loadtest.prober import Prober
from tests.e2e.program import Gateway
from tests.faults.plane import values_in_log

Inject = Callable[[Gateway, FaultyDisk], float]
"""Injects, and gives the moment (monotonic) from which recovery counts."""
_FAULT_SECONDS = 0.5


def _power_cut(gateway: Gateway, disk: FaultyDisk) -> float:
    gateway.kill_all()
    disk.cut_power()
    back = time.monotonic()
    gateway.start()
    return back


def _goes_on(prober: Prober, before: int) -> bool:
    return len(prober.acknowledged) > before


def _failing(*, writes: int = 0, syncs: int = 0, creates: int = 0) -> Inject:
    def inject(_: Gateway, disk: FaultyDisk) -> float:
        disk.fail(writes=writes, syncs=syncs, creates=creates)
        time.sleep(_FAULT_SECONDS)
        disk.heal()
        return time.monotonic()

    return inject


def _signalled(number: int) -> Inject:
    def inject(gateway: Gateway, _: FaultyDisk) -> float:
        os.kill(gateway.children()["data"].pid, number)
        return time.monotonic()

    return inject


FAULTS: dict[str, Inject] = {
    "power-cut": _power_cut,
    "disk-full": _failing(writes=errno.ENOSPC),
    "io-error": _failing(syncs=errno.EIO),
    "read-only": _failing(writes=errno.EROFS, creates=errno.EROFS),
    "stopped": _signalled(signal.SIGSTOP),
    "killed": _signalled(signal.SIGKILL),
}


TITLES: Final = {
    "power-cut": "power cut: only what was synced remains",
    "disk-full": "ENOSPC for every write, 0.5 s",
    "io-error": "EIO for every fsync, 0.5 s",
    "read-only": "read-only data directory, 0.5 s",
    "stopped": "data plane stopped, no load but the prober",
    "killed": "data plane killed, no load but the prober",
}


def line(name: str, times: int, seed: int = 1) -> Line:
    """One fault so many times at random moments."""
    draw = random.Random(seed)
    recoveries = []
    with tempfile.TemporaryDirectory(prefix="faults-") as work:
        disk = FaultyDisk(Path(work), shadow=name == "power-cut")
        gateway = Gateway(Path(work), environment=disk.environment())
        gateway.start()
        prober = Prober(f"http://{gateway.otlp_http}")
        prober.start()
        try:
            for _ in range(times):
                time.sleep(draw.uniform(0.3, 1.5))
                ended = FAULTS[name](gateway, disk)
                before = len(prober.acknowledged)
                gateway.until(partial(_goes_on, prober, before))
                recoveries.append(time.monotonic() - ended)
            time.sleep(0.5)
        finally:
            prober.stop()
            status = gateway.stop()
        held = Counter(values_in_log(disk.data))
        acknowledged = prober.acknowledged
    seen = prober.report()
    lost = sum(1 for value in acknowledged if value not in held)
    return Line(
        f"disk-{name}", TITLES[name], times, len(acknowledged), len(acknowledged) - lost, lost, passed=lost == 0,
        repeated=sum(n - 1 for n in held.values()), recovery_seconds=round(max(recoveries), 2),
        refused_share=seen["refused_share"],
        longest_refusal_seconds=seen["longest_without_acknowledgement_seconds"],
        detail={"exit_status": status, "held_without_acknowledgement": len(held) - len(acknowledged) + lost, **seen},
    )  # fmt: skip


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("faults", nargs="*", choices=[[], *FAULTS], metavar="FAULT")
    parser.add_argument("--times", type=int, default=5)
    given = parser.parse_args()
    failed = False
    for name in given.faults or FAULTS:
        found = line(name, given.times)
        failed |= not found.passed
        print(json.dumps(found.figures()), flush=True)
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
