"""Two tenants, one of them greedy: what the other one notices.

The quiet tenant sends at a modest steady rate, first alone and then beside a tenant that sends as much as it can over
many connections, more than fits into the bound on bytes in flight. Both are held to the same share; no rate is set.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Final

from loadtest.fault_table import Line
from loadtest.generator.sender import Senders, send
from loadtest.generator.work import Outcome, Work
from loadtest.measure import DRAIN_SECONDS, at
from loadtest.overload import SETTINGS
from loadtest.processes import await_true
from loadtest.programs import Gateway, VictoriaMetrics
from loadtest.scene import Load

TITLE: Final = "a greedy tenant beside a quiet one"
_QUIET, _GREEDY = "quiet-tenants-token", "greedy-tenants-token"


def _configuration(path: Path) -> Path:
    """Tokens of the two; a list of tables cannot be given by --set."""
    lines = []
    for name, token in (("quiet", _QUIET), ("greedy", _GREEDY)):
        digest = hashlib.sha256(token.encode()).hexdigest()
        lines.append(f'[[access.tokens]]\nname = {json.dumps(name)}\nsha256 = "{digest}"\nroles = ["admin"]\n')
    path.write_text("\n".join(lines))
    return path


def play(directory: Path, load: Load, quick: bool) -> Line:
    """The scenario. Raises LoadTestError."""
    directory.mkdir(parents=True, exist_ok=True)
    store = VictoriaMetrics(directory / "victoria-metrics")
    gateway = Gateway(directory / "gateway", store.url, SETTINGS, token=_QUIET)
    gateway.command += ["--config", str(_configuration(directory / "gateway.toml"))]
    seconds = 5.0 if quick else max(15.0, load.seconds)
    quiet = Work(
        "otlp-http", "http://127.0.0.1:1/", series=4_000, batch=200, seconds=seconds, rate=2_000.0, connections=4,
        step_ms=15_000, patience=0.0, warm_rounds=1, headers=(("Authorization", f"Bearer {_QUIET}"),),
    )  # fmt: skip
    greedy = replace(
        quiet, series=192_000, batch=2_000, seconds=3600.0, rate=0.0, connections=96, patience=600.0,
        headers=(("Authorization", f"Bearer {_GREEDY}"),),
    )  # fmt: skip
    noise: Senders | None = None
    try:
        store.start()
        gateway.start()
        alone = send(at(quiet, gateway))
        noise = Senders(at(greedy, gateway))
        noise.build()
        noise.warm_up()
        noise.start()
        beside = send(at(quiet, gateway))
        noise.stop()
        loud = noise.wait(timeout=600.0)
        await_true(lambda: gateway.pending() == 0, DRAIN_SECONDS, "everything handed on")
        status = gateway.status()
        refusals = {
            line.rpartition(" ")[0].partition("{")[2].rstrip("}"): float(line.rpartition(" ")[2])
            for line in gateway.text("/metrics").splitlines()
            if line.startswith("gateway_tenant_refusals_total{")
        }
    finally:
        if noise is not None:
            noise.kill()
        gateway.stop()
        store.kill()
    return _line(alone, beside, loud, status["accepted_points"], status["forwarded_points"], refusals)


def _line(
    alone: Outcome, beside: Outcome, loud: Outcome, accepted: int, forwarded: int, refusals: dict[str, float]
) -> Line:
    sent = beside.acknowledged + beside.given_up + beside.refused
    refused = (beside.given_up + beside.refused) / max(1, sent)
    failures = []
    if refused:
        failures.append(f"{beside.given_up} requests of the quiet tenant were refused: {beside.first_refusal[:200]}")
    if not loud.retries:
        failures.append("the greedy tenant was never refused: it was not greedy enough")
    latencies = {
        f"quiet_{name}_ack_p{share}_ms": outcome.figures().get(f"ack_p{share}_ms")
        for name, outcome in (("alone", alone), ("beside", beside))
        for share in (50, 99)
    }
    return Line(
        "noisy-tenant", TITLE, loud.retries, accepted, forwarded, max(0, accepted - forwarded), not failures,
        refused_share=round(refused, 5), complete=round(1.0 - refused, 5),
        detail={
            "failures": failures, "quiet_requests": sent, "greedy_requests": loud.acknowledged,
            "greedy_refusals": loud.retries, "refusals": refusals, **latencies,
        },
    )  # fmt: skip
