"""The evidence of an alert as a short text, so that a verdict on it can teach the pattern model later.

Half-precision numbers, base64: which floors the value was beyond (1 a run, 2 the days, 4 the variation), then the
features in the order of kernels.evidence.FEATURE_NAMES. A text of another length is of another version.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.series_state import EVIDENCE


def evidence_text(transition: Any) -> str:
    """Of a record of kernels.series_state.TRANSITION; empty where no model was asked."""
    if not transition["proposed"]:
        return ""
    numbers = np.concatenate([[transition["proposed"]], transition["evidence"]]).astype("<f2")
    return base64.b64encode(numbers.tobytes()).decode()


def evidence_of(text: str) -> tuple[bool, NDArray[np.float32]] | None:
    """(whether a run brought it, float32[EVIDENCE]), or None where the text says nothing or is of another version."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    if len(raw) != 2 * (1 + EVIDENCE):
        return None
    numbers = np.frombuffer(raw, "<f2").astype(np.float32)
    if not np.isfinite(numbers).all():
        return None
    return bool(int(numbers[0]) & 1), numbers[1:]
