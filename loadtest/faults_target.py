"""Faults of VictoriaMetrics as the gateway meets them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from gateway.forward.settings import VictoriaMetricsSettings
from loadtest.bad_target import Behaviour
from loadtest.clock_shift import ShiftedClock
from loadtest.processes import LoadTestError, await_true
from loadtest.programs import PEERS_DIR
from loadtest.scene import Fault, Scene

_REPLAYS: Final = "gateway_forward_replays_total"
_ASKING_SECONDS: Final = 1.0
_DEBIAN: Final = Path("/usr/bin/victoria-metrics")


def _stopped(scene: Scene) -> None:
    scene.store.stop()
    scene.injected += 1
    time.sleep(scene.seconds)
    scene.store.start()
    scene.recover_forwarding()


def _killed(scene: Scene) -> None:
    for _ in range(3):
        taken = scene.front.taken
        await_true(lambda taken=taken: scene.front.taken > taken, 60.0, "a write taken", 0.001)  # type: ignore[misc]
        scene.store.kill()
        scene.injected += 1
        scene.store.start()
        scene.recover_forwarding()
        time.sleep(scene.seconds / 10)
    # The proxy between them hides that a connection broke, so the gateway learns of the last kill by asking for the
    # start time; until then nothing is pending, and what was killed with VictoriaMetrics is not there yet.
    time.sleep(VictoriaMetricsSettings().poll_interval + _ASKING_SECONDS)
    scene.expect(scene.gateway.metric(_REPLAYS) > 0, "no restart of VictoriaMetrics was noticed")
    scene.recover_forwarding()


def _down_for_an_hour(scene: Scene) -> None:
    clock = ShiftedClock(scene.directory)
    scene.store.stop()
    for _ in range(4):
        scene.injected += 1
        clock.step(900.0)
        time.sleep(scene.seconds / 4)
    scene.store.start()
    scene.recover_forwarding()


def _while(behaviour: Callable[[], Behaviour]) -> Callable[[Scene], None]:
    """Behave so for the scenario's time."""

    def inject(scene: Scene) -> None:
        bad = behaviour()
        scene.front.behaviour = bad
        time.sleep(scene.seconds)
        await_true(lambda: bad.answered_wrongly > 0, 60.0, "a write treated so")
        scene.front.behaviour = Behaviour()
        scene.injected += bad.answered_wrongly
        scene.recover_forwarding()

    return inject


def _answers(statuses: tuple[int, ...], times: int) -> Callable[[Scene], None]:
    """A burst of `times` such answers for each status, and recovery after each."""

    def inject(scene: Scene) -> None:
        for status in statuses:
            bad = Behaviour(status=status, times=times)
            scene.front.behaviour = bad
            await_true(lambda bad=bad: bad.times == 0, 60.0, f"{times} answers {status}")  # type: ignore[misc]
            scene.front.behaviour = Behaviour()
            scene.injected += bad.answered_wrongly
            scene.recover_forwarding()

    return inject


def old_version() -> Path | None:
    """The Debian package's, if it stands beside a newer one. Raises LoadTestError."""
    if not _DEBIAN.is_file() or not (PEERS_DIR / "victoria-metrics").is_file():
        raise LoadTestError("two versions are needed: the Debian package victoria-metrics and `make peers`")
    return _DEBIAN


def _other_version(scene: Scene) -> None:
    """The newer one takes over the older one's data. The way back is closed by VictoriaMetrics' own format."""
    versions = [scene.store.version]
    scene.store.stop()
    scene.injected += 1
    scene.store.become(PEERS_DIR / "victoria-metrics")
    scene.store.start()
    versions.append(scene.store.version)
    scene.recover_forwarding()
    scene.detail["versions"] = versions
    scene.expect(versions[0] != versions[1], f"both are {versions[0]}")


FAULTS: Final[dict[str, Fault]] = {
    "vm-down": Fault("VictoriaMetrics stopped", _stopped),
    "vm-kill9": Fault("VictoriaMetrics: kill -9 right after its 204", _killed),
    "vm-hour": Fault("VictoriaMetrics down for an hour of a simulated clock", _down_for_an_hour,
                     environment=ShiftedClock.prepare),
    "vm-400": Fault("VictoriaMetrics answers 400 to one block", _answers((400,), 1)),
    "vm-429": Fault("VictoriaMetrics answers 429 to everything", _while(lambda: Behaviour(status=429))),
    "vm-5xx": Fault("VictoriaMetrics answers 500 and 503 in bursts", _answers((500, 503, 500, 503), 5)),
    "vm-reset": Fault("connection reset after a write was taken", _while(lambda: Behaviour(reset_after_bytes=0))),
    "vm-slow": Fault("VictoriaMetrics answers after two seconds", _while(lambda: Behaviour(delay=2.0))),
    "vm-trickle": Fault("VictoriaMetrics reads one byte a second", _while(lambda: Behaviour(bytes_per_second=1))),
    "vm-silent": Fault("VictoriaMetrics takes writes and never answers", _while(lambda: Behaviour(silent=True))),
    "vm-version": Fault("VictoriaMetrics restarts as another version", _other_version, program=old_version),
}  # fmt: skip
