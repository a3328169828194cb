"""Asks every 100 ms whether the gateway takes a sample, as an outsider would see it.

    prober = Prober("http://127.0.0.1:4318"); prober.start(); …; prober.stop(); prober.report()

`python -m loadtest.prober URL --seconds 60` does it against a running gateway and prints one JSON line. A probe that is
refused or not answered is not repeated: the report says what a sender without patience would have seen.
"""

from __future__ import annotations

import argparse
import http.client
import json
import threading
import time
from collections import Counter
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from loadtest.processes import get
from tests.e2e.otlp import gauge_request

INTERVAL: Final = 0.1
_TIMEOUT: Final = 5.0


@dataclass(frozen=True, slots=True)
class Probe:
    """One request. at: seconds since the start; status 0: no answer."""

    number: int
    at: float
    took: float
    status: int


class Prober:
    """Sends from its own thread. acknowledged: the numbers (values of the series `probe`) that were taken."""

    def __init__(self, url: str, first: int = 0) -> None:
        """first: number of the first probe, so that those of several probers can be told apart."""
        place = urlsplit(url)
        self._host, self._port = place.hostname or "127.0.0.1", place.port or 4318
        self._first = first
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prober")
        self.probes: list[Probe] = []
        self.began_last_acknowledged = 0.0
        """Monotonic time at which the last acknowledged probe was begun."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the probe under way. Idempotent."""
        self._stop.set()
        if self._thread.ident is not None and self._thread.is_alive():
            self._thread.join()

    @property
    def acknowledged(self) -> list[int]:
        """Values that were acknowledged."""
        return [p.number for p in self.probes if p.status == 200]

    def _run(self) -> None:
        began = time.monotonic()
        number = self._first
        while not self._stop.is_set():
            at = time.monotonic() - began
            status = self._ask(number)
            if status == 200:
                self.began_last_acknowledged = began + at
            self.probes.append(Probe(number, at, time.monotonic() - began - at, status))
            number += 1
            self._stop.wait(max(0.0, at + INTERVAL - (time.monotonic() - began)))

    def _ask(self, number: int) -> int:
        body = gauge_request("prober", "probe", [(time.time_ns(), float(number), {})])
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT)
        try:
            connection.request("POST", "/v1/metrics", body, {"Content-Type": "application/x-protobuf"})
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def report(self) -> dict[str, Any]:
        """Probes, share refused, longest time without an acknowledgement, latency of those taken (median, worst)."""
        taken = sorted(p.took for p in self.probes if p.status == 200)
        longest, since = 0.0, 0.0
        for probe in self.probes:
            if probe.status == 200:
                longest = max(longest, probe.at + probe.took - since)
                since = probe.at + probe.took
        if self.probes:
            longest = max(longest, self.probes[-1].at - since)
        return {
            "probes": len(self.probes),
            "refused_share": round(1.0 - len(taken) / max(1, len(self.probes)), 5),
            "longest_without_acknowledgement_seconds": round(longest, 3),
            "median_seconds": round(taken[len(taken) // 2], 4) if taken else None,
            "worst_seconds": round(taken[-1], 4) if taken else None,
        }


def held_probes(url: str) -> Counter[int]:
    """Values of the series `probe` that the VictoriaMetrics at `url` holds, and how often. Raises OSError."""
    get(f"{url}/internal/force_flush", timeout=60.0)
    found: Counter[int] = Counter()
    for line in get(f"{url}/api/v1/export?match[]=probe&start=1&end=2000000000000", timeout=60.0).splitlines():
        found.update(int(value) for value in json.loads(line)["values"])
    return found


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--seconds", type=float, default=60.0)
    given = parser.parse_args()
    prober = Prober(given.url)
    prober.start()
    time.sleep(given.seconds)
    prober.stop()
    print(json.dumps(prober.report()))


if __name__ == "__main__":
    main()
