"""`python -m bench`: every benchmark, one after another. Figures are JSON lines on standard output.

Each runs in a process of its own, with its own defaults; what it prints besides figures goes to standard error.
Options behind `--` go to the benchmarks: `python -m bench --only pipeline -- --batch 500`.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from typing import Final

BENCHES: Final = {
    "otlp_decode": "OTLP metrics decoder, one core",
    "remote_write_decode": "remote write 1.0 and 2.0 decoders",
    "remote_write_encode": "remote write encoder",
    "first_seen": "series seen for the first time: labels, index, sender, bounds",
    "series_index": "series identity and the log",
    "log_append": "appending to the log, with and without fsync",
    "first_detector": "index with one EWMA behind it, 800,000 series",
    "baseline_score": "scoring, one core, one million series",
    "pipeline": "cost of every stage, µs a point",
    "regression": "stages against a fixed loop; fails when one has become slower",
    "content_encoding": "undoing the content encodings of requests",
    "http_transport": "HTTP receiver alone",
    "grpc_transport": "gRPC transport alone",
    "memory": "bytes a series, all processes, one million series (minutes, 2 GB)",
    "alerting": "alert router",
    "console": "console in Chromium with 100,000 series, 10,000 anomalies and alerts (needs chromium)",
    "correlation": "incident groups against the truth of made scenarios",
    "detection": "detection: scorecards over recordings and injected faults (long)",
}
LONG: Final = ("detection", "memory")
"""Left out unless named: they take more than some minutes. `make bench-detection` runs them."""


def main() -> int:
    """Run them; returns the exit status: 1 when one failed."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="repeatable; --list names them")
    parser.add_argument("--list", action="store_true", help="names and subjects")
    words = sys.argv[1:]
    passed_on = words[words.index("--") + 1 :] if "--" in words else []
    options = parser.parse_args(words[: words.index("--")] if "--" in words else words)
    if options.list:
        for name, subject in BENCHES.items():
            print(f"{name:22} {subject}")
        return 0
    unknown = [name for name in options.only if name not in BENCHES]
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(BENCHES)}")
    chosen = options.only or [name for name in BENCHES if name not in LONG]
    failed = [name for number, name in enumerate(chosen, 1) if not _run(name, passed_on, f"{number} of {len(chosen)}")]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _run(name: str, passed_on: list[str], place: str) -> bool:
    print(f"[{place}] {name}: {BENCHES[name]}", file=sys.stderr, flush=True)
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", f"bench.{name}", *passed_on], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        try:
            json.loads(line)
        except ValueError:
            sys.stderr.write(line)
        else:
            sys.stdout.write(line)
            sys.stdout.flush()
    status = process.wait()
    print(f"[{place}] {name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    return status == 0


if __name__ == "__main__":
    sys.exit(main())
