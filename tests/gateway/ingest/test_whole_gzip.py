"""One member in one go, and nothing else."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.ingest.whole_gzip import AVAILABLE, gunzip


def test_the_installed_package_shows_its_library():
    assert AVAILABLE


@settings(max_examples=100, deadline=None)
@given(st.binary(min_size=1, max_size=3000), st.integers(0, 9), st.sampled_from([bytes, bytearray, memoryview]))
def test_one_member_is_taken(content, level, kind):
    assert gunzip(kind(gzip.compress(content, level)), len(content)) == content


@pytest.mark.parametrize(
    "behind",
    [gzip.compress(b"points"), b"\0", b"x", gzip.compress(b"more")[-8:]],
    ids=["the same again", "a zero", "a letter", "a footer"],
)
def test_a_body_with_anything_behind_its_member_is_left_to_others(behind):
    """Two members of the same content among them, whose footers are alike."""
    assert gunzip(gzip.compress(b"points") + behind, 6) is None


@settings(max_examples=150, deadline=None)
@given(st.binary(min_size=1, max_size=300), st.data())
def test_what_is_damaged_or_of_another_size_is_not_taken(content, data):
    packed = bytearray(gzip.compress(content))
    assert gunzip(packed, len(content) + 1) is None
    assert gunzip(packed, len(content) - 1) is None
    cut = data.draw(st.integers(0, len(packed) - 1))
    assert gunzip(packed[:cut], len(content)) is None
    at = data.draw(st.integers(len(packed) - 8, len(packed) - 1))  # checksum and length
    packed[at] ^= data.draw(st.integers(1, 255))
    assert gunzip(packed, len(content)) is None
