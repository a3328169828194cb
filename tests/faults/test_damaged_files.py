"""Damaged files through a whole start of the data plane; `python -m loadtest.faults_files` does every byte."""

from __future__ import annotations

import shutil
import struct
from pathlib import Path

import msgspec
import pytest
from crc32c import crc32c

from gateway.errors import StateError, UnknownVersion
from gateway.log.offsets import Offset, OffsetFile
from gateway.log.segment import segment_path
from loadtest.faults_files import ROWS, STARTS, cut, damage_everywhere, flip, make_small_log
from tests.faults.plane import running_plane, send, settled, values_in_log


@pytest.mark.parametrize("damage", [cut, flip])
@pytest.mark.parametrize(
    ("pattern", "from_scratch", "step"),
    [
        ("log/edge-0/*.seg", True, 83),
        ("log/edge-0/*.seg", False, 397),
        ("state/*.offset", False, 41),
        ("state/*.snapshot", False, 499),
    ],
)
async def test_damage_anywhere_is_survived_and_counted(tmp_path: Path, damage, pattern, from_scratch, step) -> None:
    verdict = await damage_everywhere(tmp_path, pattern, damage, step, from_scratch=from_scratch)
    assert verdict.injected >= 3
    assert verdict.rows_invented == 0
    assert verdict.rows_lost_uncounted == 0
    if from_scratch and damage is flip:
        assert verdict.rows_lost_and_counted > 0, "damage was injected into rows"


async def test_a_missing_segment_is_counted_and_the_rest_is_read(tmp_path: Path) -> None:
    await make_small_log(tmp_path)
    shutil.rmtree(tmp_path / "state")
    segment_path(tmp_path / "log", 0, 2).unlink()
    async with running_plane(tmp_path) as plane:
        await send(plane, 1000, 2)
        status = await settled(plane)
        assert status["log"]["lost_rows"] == {"missing_segment": ROWS}
        assert status["accepted_points"] == STARTS * ROWS + 2
        assert status["scored_points"] == (STARTS - 1) * ROWS + 2
    assert values_in_log(tmp_path) == [0, 1, 2, 3, 8, 9, 10, 11, 1000, 1001]


async def test_swapped_and_copied_segments_are_read_in_their_true_order(tmp_path: Path) -> None:
    sent = await make_small_log(tmp_path)
    first, second = (segment_path(tmp_path / "log", 0, n) for n in (1, 2))
    held = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(held)
    shutil.copy(second, second.with_name("0000000000000099.seg"))
    async with running_plane(tmp_path) as plane:
        await send(plane, 1000, 1)
        assert (await settled(plane))["log"]["lost_rows"] == {}
    assert values_in_log(tmp_path) == [*sent, 1000]


async def test_a_lost_log_does_not_number_rows_again(tmp_path: Path) -> None:
    await make_small_log(tmp_path)
    shutil.rmtree(tmp_path / "log")
    async with running_plane(tmp_path) as plane:
        await send(plane, 1000, 2)
        status = await settled(plane)
        assert status["accepted_points"] == STARTS * ROWS + 2
        assert status["scored_points"] == STARTS * ROWS + 2


def _raise_version(path: Path, at: int, crc_at: int, covered: slice) -> None:
    data = bytearray(path.read_bytes())
    struct.pack_into("<I", data, at, 99)
    struct.pack_into("<I", data, crc_at if crc_at >= 0 else len(data) + crc_at, crc32c(bytes(data[covered])))
    path.write_bytes(data)


@pytest.mark.parametrize("kind", ["segment", "offset", "snapshot"])
async def test_files_of_a_newer_version_are_refused_and_kept(tmp_path: Path, kind: str) -> None:
    await make_small_log(tmp_path)
    state = tmp_path / "state"
    if kind == "segment":
        path = segment_path(tmp_path / "log", 0, 2)
        _raise_version(path, 8, 60, slice(0, 60))
    elif kind == "offset":
        path = state / "scorer-0.offset"
        _raise_version(path, 8, -4, slice(0, -4))
    else:
        path = next(state.glob("*.snapshot"))
        data = bytearray(path.read_bytes())
        struct.pack_into("<I", data, 8, 99)
        path.write_bytes(data)
    before = path.read_bytes()
    with pytest.raises(UnknownVersion, match="written by a newer gateway"):
        async with running_plane(tmp_path):
            pass
    assert path.read_bytes() == before, "nothing of a newer program is thrown away"


async def test_a_damaged_hash_key_says_what_to_do(tmp_path: Path) -> None:
    await make_small_log(tmp_path)
    (tmp_path / "hash.key").write_text("half")
    with pytest.raises(StateError, match="remove it to make a new one"):
        async with running_plane(tmp_path):
            pass
    (tmp_path / "hash.key").unlink()
    async with running_plane(tmp_path) as plane:
        await send(plane, 1000, 1)
        assert (await settled(plane))["scored_points"] == STARTS * ROWS + 1


def test_an_offset_that_names_a_snapshot_that_is_gone_is_set_aside(tmp_path: Path) -> None:
    from gateway.pipeline.baseline_store import BaselineStore
    from gateway.telemetry.frame import LogPosition

    payload = msgspec.json.encode({"snapshot": "baseline-0-000000007.snapshot", "counts": {"next_row": 5}})
    OffsetFile(tmp_path / "scorer-0.offset").commit(Offset(LogPosition(1, 64), 5, payload))
    assert BaselineStore(tmp_path, 0, (1, 2)).load()[0] is None
    assert (tmp_path / "scorer-0.damaged").exists()
