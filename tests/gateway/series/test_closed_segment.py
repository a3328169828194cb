"""Blobs read out of a closed segment's file, in any order."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.series import closed_segment
from gateway.series.closed_segment import ClosedSegment

CONTENT = np.random.default_rng(3).bytes(60_000)
pieces = st.lists(st.tuples(st.integers(0, 59_000), st.integers(0, 1000)), min_size=1, max_size=20)


@pytest.fixture(scope="module")
def segment(tmp_path_factory: pytest.TempPathFactory) -> ClosedSegment:
    path = tmp_path_factory.mktemp("segment") / "1.seg"
    path.write_bytes(CONTENT)
    return ClosedSegment(path)


@settings(max_examples=100, deadline=None)
@given(pieces)
def test_every_piece_is_the_file_s_own(segment: ClosedSegment, given_pieces: list[tuple[int, int]]) -> None:
    begins, sizes = (np.array(column) for column in zip(*given_pieces, strict=True))
    targets = np.cumsum(sizes) - sizes
    out = np.empty(int(sizes.sum()), np.uint8)
    segment.copy(begins.astype(np.int64), sizes.astype(np.uint32), targets.astype(np.int64), out)
    assert out.tobytes() == b"".join(CONTENT[at : at + size] for at, size in given_pieces)


def test_neighbours_are_one_read(segment: ClosedSegment, monkeypatch: pytest.MonkeyPatch) -> None:
    reads: list[int] = []
    real = os.preadv
    monkeypatch.setattr(closed_segment.os, "preadv", lambda fd, views, at: (reads.append(at), real(fd, views, at))[1])
    begins = np.array([40_000, 100, 300, 700], np.int64)
    out = np.empty(400, np.uint8)
    segment.copy(begins, np.full(4, 100, np.uint32), np.arange(0, 400, 100, dtype=np.int64), out)
    assert reads == [100, 40_000]


def test_a_file_that_is_too_short_is_an_error(segment: ClosedSegment) -> None:
    with pytest.raises(OSError, match="shorter"):
        segment.copy(
            np.array([59_990], np.int64), np.array([20], np.uint32), np.array([0], np.int64), np.empty(20, np.uint8)
        )
