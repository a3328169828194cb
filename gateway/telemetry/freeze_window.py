"""Maintenance windows as the control plane publishes them to the data plane: when which series are not learned from.

The control plane replaces the file, whole, whenever windows change; the data plane looks at it. It holds no rules of
recurrence but the spans that follow from them, a few days back (rows may be read late) and ahead (the control plane may
be away), and no more than MOST_BYTES.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec

from gateway.errors import StateError
from gateway.telemetry.state_file import read_checked, write_checked

FILE_NAME: Final = "freeze-windows.state"
VERSION: Final = 1
MOST_WINDOWS: Final = 256
"""In one file; each is matched with every series once."""
MOST_BYTES: Final = 4 * 2**20
EARLIEST_MS: Final = 0
LATEST_MS: Final = 253_402_300_800_000
"""Between these, 1970 and the year 10000, spans lie: far from where arithmetic on 64 bits ends."""
_LONGEST_PREFIX: Final = 8
"""Bytes by which the length of a list may grow."""
_MAGIC: Final = b"GWFREEZE"


Moment = Annotated[int, msgspec.Meta(ge=EARLIEST_MS, le=LATEST_MS)]
"""Unix milliseconds."""


class LabelCondition(msgspec.Struct, frozen=True, array_like=True):
    """One condition on one label as alerts have it (see gateway.pipeline.freeze_matcher); absent labels are "".

    operator: one of = != =~ !~; expressions are Alertmanager's, matched whole.
    """

    name: str
    operator: str
    value: str


class FreezeWindow(msgspec.Struct, frozen=True):
    """Series that meet all conditions are not learned from within the spans: [start, end)."""

    id: str
    conditions: tuple[LabelCondition, ...]
    spans: tuple[tuple[Moment, Moment], ...]


class _Content(msgspec.Struct):
    windows: Annotated[list[FreezeWindow], msgspec.Meta(max_length=MOST_WINDOWS)]


def encode_fitting(windows: Sequence[FreezeWindow]) -> tuple[bytes, int]:
    """(a payload that `write_windows` takes and readers take whole; how many windows it has no room for). Those that
    come first have the room first; one that is too large leaves it to those behind it."""
    fitting: list[FreezeWindow] = []
    room = MOST_BYTES - len(encode_windows([])) - _LONGEST_PREFIX
    for window in windows:
        size = len(msgspec.msgpack.encode(window))
        if size <= room and len(fitting) < MOST_WINDOWS:
            fitting.append(window)
            room -= size
    return encode_windows(fitting), len(windows) - len(fitting)


def encode_windows(windows: Sequence[FreezeWindow]) -> bytes:
    """The payload of a file."""
    return msgspec.msgpack.encode(_Content(list(windows)))


def write_windows(path: Path, payload: bytes) -> None:
    """Replace the file by what `encode_windows` gave. Raises OSError; StateError for more than MOST_BYTES."""
    if len(payload) > MOST_BYTES:
        raise StateError(f"{path}: maintenance windows of {len(payload)} bytes; {MOST_BYTES} is the limit")
    write_checked(path, _MAGIC, VERSION, [payload])


def read_payload(path: Path) -> bytes | None:
    """What `write_windows` wrote; None where there is no file. Raises StateError (UnknownVersion), OSError."""
    found = read_checked(path, _MAGIC, VERSION, limit=MOST_BYTES)
    return None if found is None else found[1]


def read_windows(path: Path) -> list[FreezeWindow] | None:
    """The windows; None where there is no file. Raises StateError (UnknownVersion), OSError."""
    payload = read_payload(path)
    if payload is None:
        return None
    try:
        return msgspec.msgpack.decode(payload, type=_Content).windows
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise StateError(f"{path}: {error}") from error
