"""One fault after another, with a calm between two, and one question: what share of the time was a sample taken?

The other scenarios look at one fault and at what it does; this one looks at a long run in which a part of the system
fails every few seconds: a process of the gateway is killed or stands still, VictoriaMetrics is killed or away. The
gateway itself stays: a machine or a whole program that dies is no part of it.

The prober repeats nothing. A sample that waits for the next process of the data plane and is then acknowledged was
taken; how long the longest wait was stands beside the share.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Final

from loadtest.faults_process import signalled
from loadtest.faults_target import FAULTS as TARGET_FAULTS
from loadtest.scene import Fault, Scene

ALLOWED_SHARE: Final = 1e-4
"""Of all probes: 99.99 %. Of fewer than ten thousand none may be refused."""
_ROTATION: Final[dict[str, Callable[[Scene], None]]] = {
    "data plane killed": signalled("data", signal.SIGKILL, 1),
    "VictoriaMetrics stopped": TARGET_FAULTS["vm-down"].inject,
    "control plane killed": signalled("control", signal.SIGKILL, 1),
    "data plane stopped": signalled("data", signal.SIGSTOP, 1),
    "VictoriaMetrics answers 5xx": TARGET_FAULTS["vm-5xx"].inject,
    "VictoriaMetrics silent": TARGET_FAULTS["vm-silent"].inject,
}


def _rotate(scene: Scene) -> None:
    began = time.monotonic()
    for _ in range(scene.load.rounds):
        for inject in _ROTATION.values():
            inject(scene)
            time.sleep(2.0 * scene.seconds)
    probes = list(scene.prober.probes)
    refused = sum(probe.status != 200 for probe in probes)
    scene.detail["minutes"] = round((time.monotonic() - began) / 60.0, 1)
    scene.detail["refused_probes"] = refused
    scene.expect(refused <= ALLOWED_SHARE * len(probes), f"{refused} of {len(probes)} probes were refused")


FAULTS: Final[dict[str, Fault]] = {"availability": Fault("one fault after another, 99.99 % wanted", _rotate)}
