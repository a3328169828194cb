"""What looks at scored rows beside the baselines of single series; the scorer's thread drives all of them alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from gateway.baseline.detector import Observation
from gateway.telemetry.anomaly import Anomaly
from gateway.telemetry.frame import Frame

SERVICE_LABELS: Final = ("service", "service_name", "service.name", "job")
"""Where the name of a service is looked for, in this order."""


class Watch(Protocol):
    """One of them. Records it gives back are written like those of baselines."""

    def learn(self, sids: NDArray[np.uint32], frame: Frame) -> None:
        """Series met for the first time, or again under a reused id, in this frame."""
        ...

    def observe(self, sids: NDArray[np.uint32], frame: Frame, observation: Observation) -> Sequence[Anomaly]:
        """One scored frame, sids: uint32[n]; every sid has been learned."""
        ...

    def advance(self, now_ms: int) -> Sequence[Anomaly]:
        """About once a second, with the time of the newest points."""
        ...

    def forget(self, sids: NDArray[np.uint32]) -> Sequence[Anomaly]:
        """Series that ended."""
        ...

    def save(self) -> None:
        """The baselines are written to disk now. Raises OSError, DiskFailed."""
        ...


def label_value(blob: bytes, names: Sequence[str]) -> str:
    """The value of the first of these labels that a label blob has; "" for none. Reads no other label."""
    for name in names:
        key = name.encode()
        mark = b"\x0a" + bytes([len(key)]) + key + b"\x12"
        at = blob.find(mark)
        if at < 0:
            continue
        at += len(mark)
        length = shift = 0
        while at < len(blob):
            byte = blob[at]
            at += 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        return blob[at : at + length].decode("utf-8", "replace")
    return ""
