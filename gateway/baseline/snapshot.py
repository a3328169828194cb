"""Baselines on disk: one file, replaced as a whole, read back whole.

Layout, little endian: 8 bytes magic, uint32 format version, uint32 record size, uint64 record count, uint64 watermark
(Unix ms), uint32 CRC32C of everything after the header, uint32 count of frozen series (zero before version 7), and
since version 8 uint32 size of what is kept of a frozen series and uint32 digest of both layouts (`layout_digest`): a
file whose fields stand otherwise is refused even where sizes agree. Then count series keys (16 bytes each: the caller's
128-bit digest of a label blob), count deadlines (uint32), and count records. Of the series whose learning is frozen
there follow the numbers of their records (uint32) and what is kept of them (gateway.baseline.freeze.KEPT). Series are
found again by key, never by id: ids are handed out anew by each process.
"""

from __future__ import annotations

import io
import os
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Final

import crc32c
import numpy as np
from numpy.typing import NDArray

from gateway.baseline.detector import Baseline
from gateway.baseline.freeze import KEPT
from gateway.baseline.record_copies import taken
from gateway.errors import StateError, UnknownVersion
from gateway.telemetry.readable import map_readable
from gateway.telemetry.state_file import make_file, open_regular, put_in_place
from kernels.series_state import STATE

MAGIC: Final = b"GWBASELN"
VERSION: Final = 8
_ORDER_3: Final = """
    last_ms raw_ms raw previous first_ms interval silence_steps count generation levels slope reference candidate
    fallback slow slow_before slow_before_s fallback_s losses short_dev long_dev candidate_dev stride step onset
    season_then usual_dev recent_dev q q_dev log_short log_long log_usual log_dev run_sum run_side run_count calm
    quiet zero_run held repeats longest_hole longest_repeat zero_share active score began_ms opened_ms severity open
    chosen log_known recent hour_now muted hour_samples hours block_s day_s muted_s peak peak_mean peak_top log_sum
    error_sum origin pending today yesterday week recent_score known_days learned_s gaps gap_excess season_gain
    loss_with loss_without unit cell_sum cell_now cell_count log_hours day_hours seen cells
"""
"""Fields of version 3 in their order; version 4 has the same ones in another, versions 5 and 6 one more each, and
those since the same."""
_SINCE_5: Final = ("busy",)
_SINCE_4: Final = ("novel", *_SINCE_5)
"""They stand where version 4 had nothing."""
_SINCE_3: Final = ("usual_dev", "recent_dev", "recent_score")
_ONLY_2: Final = {"longest_hole": "alerts", "run_sum": "day_usual"}
"""Fields of version 2 that are no more, by the field they stood before: one was never read, one is worked out."""
_FORMER: Final[dict[int, np.dtype[Any]]] = {
    7: STATE,
    6: STATE,
    5: np.dtype([(name, STATE[name]) for name in STATE.names or () if name not in _SINCE_5], align=True),
    4: np.dtype([(name, STATE[name]) for name in STATE.names or () if name not in _SINCE_4], align=True),
    3: np.dtype([(name, STATE[name]) for name in _ORDER_3.split()], align=True),
    2: np.dtype(
        [
            field
            for name in _ORDER_3.split()
            for field in ((_ONLY_2.get(name, ""), np.dtype(np.float32)), (name, STATE[name]))
            if field[0] and field[0] not in _SINCE_3
        ],
        align=True,
    ),
}
"""Records of former versions."""
_HEADER: Final = struct.Struct("<8sIIQQII")
_LAYOUTS: Final = struct.Struct("<II")
"""Behind the header, since version 8."""


def layout_digest(*layouts: np.dtype[Any]) -> int:
    """32 bits of the names, types and places of all fields."""
    digest: int = crc32c.crc32c(repr([layout.descr for layout in layouts]).encode())
    return digest


_DIGEST: Final = layout_digest(STATE, KEPT)


@dataclass(slots=True)
class BaselineSnapshot:
    """Records of k series. keys: uint8[k, 16]; deadlines: uint32[k]; records: STATE[k]; watermark_ms.

    frozen: int64[m], the rows whose learning is frozen, and kept: KEPT[m], what they knew before.
    """

    keys: NDArray[np.uint8]
    deadlines: NDArray[np.uint32]
    records: NDArray[Any]
    watermark_ms: int
    frozen: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))
    kept: NDArray[Any] = field(default_factory=lambda: np.empty(0, KEPT))

    @classmethod
    def empty(cls) -> BaselineSnapshot:
        """Of no series."""
        return cls(np.empty((0, 16), np.uint8), np.empty(0, np.uint32), np.empty(0, STATE), 0)

    def only(self, rows: NDArray[np.int64]) -> BaselineSnapshot:
        """These rows, in this order, each once; a copy."""
        frozen, kept = self.frozen, self.kept
        if len(frozen):
            places = np.full(len(self.records), -1, np.int64)
            places[rows] = np.arange(len(rows))
            still = places[frozen] >= 0
            frozen, kept = places[frozen[still]], kept[still]
        return BaselineSnapshot(
            self.keys[rows], self.deadlines[rows], taken(self.records, rows), self.watermark_ms, frozen, kept
        )


def take(baseline: Baseline, sids: NDArray[np.uint32], keys: NDArray[np.uint8]) -> BaselineSnapshot:
    """Copy the records of the given series ids; keys: uint8[k, 16], one for each id."""
    records, deadlines = baseline.records(sids)
    frozen = baseline.frozen_rows(sids)
    return BaselineSnapshot(
        np.ascontiguousarray(keys, np.uint8),
        deadlines,
        records,
        baseline.watermark_ms,
        frozen,
        baseline.frozen.records(sids[frozen]),
    )


def write(path: Path, snapshot: BaselineSnapshot) -> None:
    """Replace the file at `path`; after return it is on disk. Raises OSError."""
    temporary = write_unsynced(
        path,
        [snapshot.keys],
        snapshot.deadlines,
        [snapshot.records],
        snapshot.watermark_ms,
        snapshot.frozen,
        [snapshot.kept],
    )
    put_in_place(temporary, path)


def write_unsynced(
    path: Path,
    keys: Iterable[NDArray[np.uint8]],
    deadlines: NDArray[np.uint32],
    records: Iterable[NDArray[Any]],
    watermark_ms: int,
    frozen: NDArray[np.int64],
    kept: Iterable[NDArray[Any]],
) -> Path:
    """Write all but the durability, to a temporary file beside `path`, which is returned. Raises OSError.

    keys: pieces that are uint8[k, 16] together; deadlines: uint32[k]; records: pieces that are k STATE records
    together, so that neither need be in memory whole; frozen: int64[m]; kept: pieces that are KEPT[m] together. The
    file lies in the page cache when this returns; `put_in_place` waits for the disk.
    """
    temporary = path.with_name(path.name + ".tmp")
    with io.FileIO(make_file(temporary), "wb") as file:
        file.write(b"\0" * (_HEADER.size + _LAYOUTS.size))
        crc = count = 0
        parts: Iterator[NDArray[Any]] = chain(keys, (deadlines,), records, (frozen.astype(np.uint32),), kept)
        for part in parts:
            data = memoryview(part.view(np.uint8).reshape(-1).data)
            crc = crc32c.crc32c(data, crc)
            _write_all(file, data)
            count += len(part) if part.dtype == STATE else 0
        file.seek(0)
        file.write(_HEADER.pack(MAGIC, VERSION, STATE.itemsize, count, watermark_ms, crc, len(frozen)))
        file.write(_LAYOUTS.pack(KEPT.itemsize, _DIGEST))
    return temporary


def _write_all(file: io.FileIO, data: memoryview) -> None:
    while len(data):
        data = data[file.write(data) :]


def read(path: Path) -> BaselineSnapshot:
    """The snapshot at `path`, its arrays views of the mapped file. Raises FileNotFoundError; StateError when it cannot
    be read, is damaged or of another layout, or no regular file. Nothing behind the header is read of a file that has
    not the length that it says."""
    try:
        with open_regular(path) as (descriptor, length):
            head = os.pread(descriptor, _HEADER.size + _LAYOUTS.size, 0)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}") from error
    if len(head) < _HEADER.size:
        raise StateError(f"{path} is shorter than its header")
    magic, version, size, count, watermark, crc, frozen_count = _HEADER.unpack_from(head)
    if magic != MAGIC:
        raise StateError(f"{path} is not a baseline snapshot")
    if version > VERSION:
        raise UnknownVersion(path, version, VERSION)
    layout = STATE if version == VERSION else _FORMER.get(version)
    if layout is None or size != layout.itemsize:
        raise StateError(f"{path} has layout {version} with records of {size} bytes; this program reads {VERSION}")
    at = _HEADER.size
    if version == VERSION:
        if len(head) < at + _LAYOUTS.size:
            raise StateError(f"{path} is shorter than its header")
        if _LAYOUTS.unpack_from(head, at) != (KEPT.itemsize, _DIGEST):
            raise StateError(f"{path} has fields of layout {version} in other places than this program")
        at += _LAYOUTS.size
    elif frozen_count:
        # Only programs that were never released wrote such files, and how each laid out what it kept is not known.
        raise StateError(f"{path} has frozen series of layout {version}, which this program cannot read")
    frozen_at = at + count * (16 + 4 + size)
    if length != frozen_at + frozen_count * (4 + KEPT.itemsize):
        raise StateError(f"{path} is cut short, or longer than it says")
    try:
        data = map_readable(path)
    except OSError as error:
        raise StateError(f"{path} cannot be read: {error.strerror}") from error
    if len(data) != length:
        raise StateError(f"{path} changes while it is read")
    if crc32c.crc32c(memoryview(data)[at:]) != crc:
        raise StateError(f"{path} is damaged: its checksum does not agree")
    keys = np.frombuffer(data, np.uint8, count * 16, at).reshape(count, 16)
    deadlines = np.frombuffer(data, np.uint32, count, at + count * 16)
    records = np.frombuffer(data, layout, count, at + count * 20)
    if layout is not STATE:
        records = _as_now(records)
    frozen = np.frombuffer(data, np.uint32, frozen_count, frozen_at).astype(np.int64)
    if frozen_count and (int(frozen.max()) >= count or len(np.unique(frozen)) != frozen_count):
        raise StateError(f"{path} names frozen series that it does not hold")
    kept = np.frombuffer(data, KEPT, frozen_count, frozen_at + 4 * frozen_count)
    return BaselineSnapshot(keys, deadlines, records, int(watermark), frozen, kept)


def _as_now(former: NDArray[Any]) -> NDArray[Any]:
    """Records of a former layout; what it did not know begins with what is nearest to it."""
    records = np.zeros(len(former), STATE)
    for name in set(former.dtype.names or ()) & set(STATE.names or ()):
        records[name] = former[name]
    if "usual_dev" not in (former.dtype.names or ()):
        records["usual_dev"] = former["long_dev"]
    return records


def restore(
    baseline: Baseline, snapshot: BaselineSnapshot, sids: NDArray[np.int64], generations: NDArray[np.uint32]
) -> None:
    """Give records back to a baseline. sids: int64[k], the id of snapshot record i, -1 where its series is gone;
    generations: uint32[k], the generation that id has now."""
    kept = np.flatnonzero(sids >= 0)
    baseline.adopt(
        sids[kept].astype(np.uint32),
        snapshot.records[kept],
        snapshot.deadlines[kept],
        generations[kept],
        snapshot.watermark_ms,
    )
    owners = sids[snapshot.frozen]
    frozen = owners[owners >= 0].astype(np.uint32)
    baseline.frozen.forget(frozen)
    baseline.frozen.load(frozen, snapshot.kept[owners >= 0])
